"""What an exchange comes to, without sockets: the engines' words are the test's."""

import pytest

from router.http1.bodies import chunk
from tests.fakes.wired import EVENT, PING, Scene


@pytest.mark.parametrize(
    ("stream", "body", "begins"),
    [(True, PING, False), (True, EVENT, True), (True, PING + EVENT, True), (True, b"", True), (False, b"no", True)],
    ids=["pings", "an event", "pings and an event", "nothing", "no stream"],
)
async def test_when_an_error_begins_that_is_told_once_another_backend_has_refused(stream, body, begins):
    """It is kept until then, and given as it came. Its pings are no beginning, as in any other answer."""
    scene = Scene("a", "b")
    _, client = scene.ask()
    for number in (0, 1):
        wire = scene.wire(number)
        wire.head(500, stream=stream)
        if body:
            wire.body(chunk(body) if stream else body)
        wire.end()
    assert client.ended == "kept"
    assert body in client.got
    (record,) = scene.records
    assert (record.status, record.attempts, record.ttft is not None) == (500, 2, begins)
    scene.plane.close()
