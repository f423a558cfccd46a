"""What peers say of this router's own key, which is no word on that of its client."""

import json

import pytest

from router.proxy.heads import parse_response
from tests.fakes.wired import EVENT, LAST, Scene

KEYS = b'{"error": {"message": "The key \'secretname\' may not do that.", "code": "x"}}'


@pytest.mark.parametrize(
    ("status", "told", "code"),
    [(401, 502, "engine_failed"), (403, 502, "engine_failed"), (429, 429, "queue_full"), (404, 404, None)],
)
@pytest.mark.parametrize("is_peer", [True, False])
async def test_a_peer_that_refuses_our_key(status, told, code, is_peer):
    """The client is told which backend has failed, and no name of a key there. A server elsewhere is heard as it is."""
    scene = Scene("mac/m")
    if is_peer:
        scene.plane.directory.through[scene.backends[0]] = frozenset()
    _, client = scene.ask()
    wire = scene.wire(0)
    wire.head(status, stream=False)
    wire.body(KEYS)
    wire.end()
    (record,) = scene.records
    head, _, body = client.got.partition(b"\r\n\r\n")
    if not is_peer or code is None:
        assert (record.status, b"secretname" in body) == (status, True)
    else:
        error = json.loads(body)["error"]
        assert head.startswith(b"HTTP/1.1 %d " % told)
        assert (record.status, error["code"]) == (told, code)
        assert "'mac/m'" in error["message"]
        assert "secretname" not in error["message"]
    scene.plane.close()


async def test_another_backend_is_asked_first():
    """Where another one has the model, it answers."""
    scene = Scene("mac/m", "b")
    scene.plane.directory.through[scene.backends[0]] = frozenset()
    _, client = scene.ask()
    wire = scene.wire(0)
    wire.head(401, stream=False)
    wire.body(KEYS)
    wire.end()
    wire = scene.wire(1)
    wire.head()
    wire.body(EVENT + LAST)
    wire.end()
    assert EVENT in client.got
    assert b"secretname" not in client.got
    scene.plane.close()


@pytest.mark.parametrize("is_peer", [True, False])
async def test_what_is_left_of_our_key_there_is_no_affair_of_clients(is_peer):
    """A peer's limits count what all clients of this router use."""
    scene = Scene("mac/m")
    if is_peer:
        scene.plane.directory.through[scene.backends[0]] = frozenset()
    _, client = scene.ask()
    lines = b"X-RateLimit-Limit-Requests: 2\r\nanthropic-ratelimit-tokens-limit: 9\r\nx-else: 1"
    parsed = parse_response(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n%s\r\ntransfer-encoding: chunked\r\n\r\n" % lines
    )
    wire = scene.wire(0)
    assert parsed is not None
    assert wire.receiver is not None
    wire.receiver.on_head(parsed[0].head, 0)
    wire.body(EVENT + LAST)
    wire.end()
    assert (b"ratelimit" in client.got.lower()) is not is_peer
    assert b"x-else: 1" in client.got
    scene.plane.close()
