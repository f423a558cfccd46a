"""A router of what was imported: its commands start, and requests reach them as they did in the other program."""

import sys

import yaml

from router.importing import recognising
from router.importing.accepting import accepted
from tests.integration.test_any_command import SERVER

SWAP = """\
macros: {{serve: "{python} serve.py ${{PORT}}"}}
models:
  writer:
    cmd: ${{serve}}
    checkEndpoint: /alive
    aliases: [gpt-4o]
    filters: {{stripParams: top_k, setParamsByID: {{"${{MODEL_ID}}:cold": {{temperature: 0}}}}}}
  speaker:
    cmd: env VOICE=warm ${{serve}}
    checkEndpoint: alive
    useModelName: voice-1
    ttl: 300
peers:
  box: {{proxy: "{peer}", models: [demo]}}
selectors:
  any: {{strategy: warm, targets: [speaker, writer]}}
"""


async def test_requests_reach_what_they_reached(tmp_path, start_router, session, fake):
    """By each name; with the fields that are left, and the name that the program knows."""
    (tmp_path / "serve.py").write_text(SERVER)
    found = recognising.imported(SWAP.format(python=sys.executable, peer=fake.url).encode(), "swap.yaml")
    assert found is not None
    made = yaml.safe_load(accepted(found))
    router = await start_router(made["backends"], routes=made["routes"])
    for asked, backend, sent in (
        ("writer", "writer", {"model": "writer", "temperature": 1}),
        ("gpt-4o", "writer", {"model": "writer", "temperature": 1}),
        ("writer:cold", "writer", {"model": "writer", "temperature": 0}),
        ("speaker", "speaker", {"model": "voice-1", "temperature": 1, "top_k": 5}),
        ("any", "speaker", {"model": "voice-1", "temperature": 1, "top_k": 5}),
    ):
        body = {"model": asked, "temperature": 1, "top_k": 5}
        async with session.post(f"{router.url}/v1/embeddings", json=body) as answer:
            assert answer.status == 200, await answer.text()
            assert ((await answer.json())["body"], answer.headers["x-router-backend"]) == (sent, backend)
    for asked in ("demo", "box/demo"):
        body = {"model": asked, "messages": [{"role": "user", "content": "Hello"}]}
        async with session.post(f"{router.url}/v1/chat/completions", json=body) as answer:
            assert (answer.status, answer.headers["x-router-backend"]) == (200, "box")
