"""What the router keeps on the disk is for its own user, whatever the umask: who asked what, keys, records, state."""

import os
import sys

import aiohttp

from tests.integration.test_any_command import SERVER
from tests.running import RunningRouter, eventually

CONFIG = """\
server: {{port: 0, keep_engines: true}}
backends:
  - name: own
    models: [demo]
    launch: {{cmd: [{python}, ./serve.py, "{{port}}"], ready: /alive, load: on_demand, memory: 64MiB}}
"""


async def test_others_of_this_machine_can_read_nothing(tmp_path):
    """Logs of the router and its engines, the lock, the secret of keys, records, sockets, versions and the database."""
    (tmp_path / "serve.py").write_text(SERVER)
    before = os.umask(0)
    try:
        async with RunningRouter(tmp_path, CONFIG.format(python=sys.executable)) as router:
            await eventually(lambda: router.url)
            async with aiohttp.ClientSession() as session:
                body = {"model": "demo", "messages": [{"role": "user", "content": "a"}]}
                async with session.post(f"{router.url}/v1/chat/completions", json=body) as answer:
                    assert answer.status == 200
            logs, state = tmp_path / "logs", tmp_path / "state"
            kept = ("access.log", "router.log", "router.lock", "engines.key", "own.log")
            await eventually(lambda: all((logs / name).exists() for name in kept))
            await eventually(lambda: [*state.rglob("*.json")] and [*(logs / "run").glob("*.json")])
            await eventually(lambda: [each for each in state.iterdir() if each.is_file()])
            found = [logs, state, *logs.rglob("*"), *state.rglob("*")]
            # A socket's own mode says nothing: its folder is shut.
            assert [each for each in found if each.stat().st_mode & 0o077 and not each.is_socket()] == []
            for each in router.engines:
                each.kill()
    finally:
        os.umask(before)
