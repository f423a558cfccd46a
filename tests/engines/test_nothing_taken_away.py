"""What an engine answers, the router does not take away: the same request asked of both, over both lanes.

The engine is asked at its own port, with its key and its own name of the model. Where it gives a good answer, so does
the router; where it refuses, the router may know better (it reads forms of paths and of bodies that engines don't).
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import NamedTuple

import psutil
import pytest
import pytest_asyncio

from tests.engines.test_contract import STARTS_WITHIN, config
from tests.integration.raw import Answer, chunked, connect
from tests.running import RunningRouter

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

CHAT: dict[str, object] = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2, "temperature": 0}
PROMPT = {"prompt": "the cat", "max_tokens": 2, "n_predict": 2, "temperature": 0}
PATHS: dict[str, dict[str, object]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": PROMPT,
    "/v1/messages": CHAT,
    "/v1/messages/count_tokens": {"messages": CHAT["messages"]},
    "/v1/responses": {"input": "Hello", "max_output_tokens": 2},
    "/chat/completions": CHAT,
    "/completions": PROMPT,
    "/completion": PROMPT,
    "/infill": {"input_prefix": "the", "input_suffix": "cat", "n_predict": 2},
    "/tokenize": {"content": "the cat", "prompt": "the cat"},
    "/detokenize": {"tokens": [5, 6]},
    "/apply-template": {"messages": CHAT["messages"]},
    "/v1/chat/completions/": CHAT,
    "//v1//chat/completions": CHAT,
    "/v1/chat/completions?api-version=1": CHAT,
    "/v1/chat/completions?": CHAT,
}
"""Paths of any engine, each with a body that it takes."""

HEADERS = {
    "usual": b"content-type: application/json\r\n",
    "no type": b"",
    "a type with its charset": b"Content-Type: application/json; charset=utf-8\r\n",
    "an odd type": b"content-type: text/plain\r\n",
    "of curl": b"content-type: application/x-www-form-urlencoded\r\naccept: */*\r\n",
    "of a browser's library": b"content-type: application/json\r\naccept-encoding: gzip, br\r\nuser-agent: x\r\n",
    "of many": b"content-type: application/json\r\n" + b"".join(b"x-%d: y\r\n" % number for number in range(60)),
}
BODIES = {
    "spaces": lambda body: json.dumps(body, indent=4).encode(),
    "escaped": lambda body: json.dumps({**body, "user": "жé😀"}).encode(),
    "not escaped": lambda body: json.dumps({**body, "user": "жé😀"}, ensure_ascii=False).encode(),
    "a field twice": lambda body: b'{"max_tokens":1,' + json.dumps(body).encode()[1:],
    "null fields": lambda body: json.dumps({**body, "stop": None, "seed": None}).encode(),
    "a stream": lambda body: json.dumps({**body, "stream": True}).encode(),
    "large": lambda body: json.dumps({**body, "user": "x" * 2_000_000}).encode(),
    "a byte order mark": lambda body: b"\xef\xbb\xbf" + json.dumps(body).encode(),
    "no model": lambda body: json.dumps({name: value for name, value in body.items() if name != "model"}).encode(),
}


READ = ("/v1/models", "/v1/models/", "/models", "/v1/models/MODEL", "/health", "/v1/health", "/health?verbose=1")
"""Paths that clients read."""

METHODS = ("HEAD", "OPTIONS", "DELETE", "PUT", "PATCH")
POSTED = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses", "/v1/embeddings", "/api/chat")
OWN = ("/props", "/slots", "/lora-adapters", "/docs", "/openapi.json", "/version", "/ping", "/load")
"""Paths that engines have for themselves, and for those who run them."""

REFUSED: dict[tuple[str, str], tuple[int, str]] = {
    **{("GET", path): (405, "takes POST, not GET") for path in POSTED},
    **{(method, path): (405, f"takes POST, not {method}") for method in METHODS[1:] for path in POSTED[:1]},
    **{(method, "/v1/models"): (405, f"takes GET, HEAD, not {method}") for method in METHODS[1:]},
    **{("GET", path): (404, f"an engine's own {path} is at /upstream/NAME{path}") for path in OWN},
    **{("DELETE", path): (404, f"There is no DELETE {path} here") for path in OWN[:2]},
    ("DELETE", "/v1/models/demo"): (405, "takes GET, HEAD, not DELETE"),
    ("GET", "/v1/responses/resp_1"): (404, "There is no GET /v1/responses/resp_1 here"),
    ("DELETE", "/v1/responses/resp_1"): (404, "There is no DELETE /v1/responses/resp_1 here"),
    ("GET", "/v1/files"): (404, "There is no GET /v1/files here"),
    ("GET", "/v1/models/nope"): (404, "'nope' does not exist"),
    ("DELETE", "/api/delete"): (400, "doesn't delete"),
}
"""What is not for clients, whatever the engine has: the status, and words of the error."""


class Server(NamedTuple):
    """Who is asked: where, under which name of the model, and what its requests' heads have more."""

    url: str
    model: str
    lines: bytes


class Asked(NamedTuple):
    """An engine and the router before it."""

    engine: Server
    router: Server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asked(tmp_path_factory, model, name) -> AsyncIterator[Asked]:
    """Start the router that an engine's tests share."""
    async with RunningRouter(tmp_path_factory.mktemp(name), config(name, model)) as router:
        await router.ready(STARTS_WITHIN)
        connections = [each for process in router.engines for each in process.net_connections("tcp")]
        port = min(each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN)
        key = f"authorization: {router.key()['authorization']}\r\n".encode()
        yield Asked(Server(f"http://127.0.0.1:{port}", "demo", key), Server(router.url, "public", b""))


async def ask(server: Server, path: str, body: bytes, lines: bytes, framing: str = "length") -> Answer:
    """Ask on a connection of its own."""
    client = await connect(server.url)
    try:
        if framing == "length":
            head = b"content-length: %d\r\n" % len(body)
        else:
            head, body = b"transfer-encoding: chunked\r\n", chunked(body)
        if framing == "slow":
            head += b"trailer: x-sum\r\n"
        client.send(
            b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\n" % path.encode() + server.lines + lines + head + b"\r\n" + body
        )
        async with asyncio.timeout(60):
            return await client.answer()
    finally:
        client.leave()


async def both(asked: Asked, path: str, write, lines: bytes) -> None:
    """Where the engine gives a good answer, the router does, too, on either lane."""
    body = PATHS.get(path, CHAT)
    told = await ask(asked.engine, path, write({**body, "model": asked.engine.model}), lines)
    if told.status != 200:
        return
    for framing in ("length", "chunks", "slow"):
        ours = await ask(asked.router, path, write({**body, "model": asked.router.model}), lines, framing)
        assert ours.status == 200, (framing, ours.bytes[:600])
        kinds = [each.headers.get(b"content-type", b"").partition(b";")[0] for each in (told, ours)]
        assert kinds[0] == kinds[1]


def as_it_is(body: object) -> bytes:
    """Write JSON."""
    return json.dumps(body).encode()


async def test_an_engine_answers_what_it_is_asked_here(asked):
    """Or the others would show nothing."""
    told = await ask(
        asked.engine, "/v1/chat/completions", as_it_is({**CHAT, "model": asked.engine.model}), HEADERS["usual"]
    )
    assert told.status == 200


@pytest.mark.parametrize("path", PATHS)
async def test_paths(asked, path):
    """Those of OpenAI's API, of others, and of the engine's own."""
    await both(asked, path, as_it_is, HEADERS["usual"])


@pytest.mark.parametrize("lines", HEADERS.values(), ids=HEADERS)
async def test_headers(asked, lines):
    """As clients send them."""
    await both(asked, "/v1/chat/completions", as_it_is, lines)


@pytest.mark.parametrize("write", BODIES.values(), ids=BODIES)
async def test_bodies(asked, write):
    """As clients write them."""
    await both(asked, "/v1/chat/completions", write, HEADERS["usual"])
    await both(asked, "/v1/completions", write, HEADERS["usual"])


# Without a body


async def read(server: Server, method: str, path: str, *, behind: bool = False) -> Answer:
    """Ask without a body; `behind`: on a connection whose first request was a chat, which another lane has read."""
    client = await connect(server.url)
    try:
        if behind:
            body = as_it_is({**CHAT, "model": server.model})
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n%s%scontent-length: %d\r\n\r\n"
            client.send(head % (server.lines, HEADERS["usual"], len(body)) + body)
            assert (await client.answer()).status == 200
        client.send(b"%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s" % (method.encode(), path.encode(), server.lines))
        client.send(b"Connection: close\r\n\r\n")
        head, _, rest = (await client.rest()).partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in lines)
        return Answer(int(status.split()[1]), headers, rest, head)
    finally:
        client.leave()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", READ)
async def test_what_is_read(asked, path, method):
    """Where the engine gives it, so does the router, whatever came before on the connection."""
    told = await read(asked.engine, method, path.replace("MODEL", asked.engine.model))
    if told.status != 200:
        return
    for behind in (False, True):
        ours = await read(asked.router, method, path.replace("MODEL", asked.router.model), behind=behind)
        assert ours.status == 200, ours
        assert ours.headers[b"content-type"].partition(b";")[0] == b"application/json"
        assert bool(ours.body) is (method == "GET")
        assert int(ours.headers[b"content-length"]) > 0


@pytest.mark.parametrize(("method", "path"), REFUSED)
async def test_what_is_refused(asked, method, path):
    """In clear words, in the form of the path's API, and alike on each lane; the methods that there are stand in it."""
    status, words = REFUSED[method, path]
    answers = [await read(asked.router, method, path, behind=behind) for behind in (False, True)]
    for answer in answers:
        assert answer.status == status
        error = json.loads(answer.body)["error"]
        assert words in (error if path.startswith("/api/") else error["message"])
        assert (b"allow" in answer.headers) is (status == 405)
    first, second = ({**each.headers, b"x-request-id": b"", b"date": b""} for each in answers)
    assert first == second


@pytest.mark.parametrize("path", [POSTED[0], "/v1/models", "/props", "/v1/files"])
async def test_a_refused_head_has_no_body(asked, path):
    """It would be taken for the next answer. And a page's preflight is for pages that may ask."""
    answer = await read(asked.router, "HEAD", path)
    assert (answer.status == 200) is (path == "/v1/models")
    assert answer.body == b""
