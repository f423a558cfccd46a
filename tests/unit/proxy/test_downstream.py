"""A client's connection on the fast lane, without sockets: what it reads, when its engine is stopped, how it ends."""

import random

import pytest

from router.proxy.downstream import Client
from router.proxy.lane import GUEST_TIMEOUT, MOST_GUESTS, Lane
from router.proxy.requests import Rules
from tests.fakes.wired import BODY, CHAT, EVENT, Scene

REQUEST = b"POST %s HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n%s" % (CHAT.encode(), len(BODY), BODY)


class Transport:
    """A transport that keeps what is done with it."""

    def __init__(self):
        self.got = b""
        self.done: list[str] = []

    def write(self, data):
        """Keep it."""
        self.got += data

    def set_write_buffer_limits(self, _):
        """Do nothing."""

    def get_extra_info(self, _):
        """Give the client's address."""
        return "10.0.0.7", 5

    def get_write_buffer_size(self):
        """All was sent."""
        return 0

    def can_write_eof(self):
        """It can."""
        return True

    def is_closing(self):
        """Whether it closes."""
        return bool(self.done)

    def write_eof(self):
        """Note it."""
        self.done.append("eof")

    def close(self):
        """Note it."""
        self.done.append("close")

    def abort(self):
        """Note it."""
        self.done.append("abort")


class Door:
    """A lane with one connection, in front of one backend."""

    def __init__(self, room=10):
        self.scene = Scene("a")
        rules = Rules(random.Random(7))  # noqa: S311 -- the same ids in each run
        self.lane = Lane(self.scene.plane, rules, lambda _: None, room)  # type: ignore[arg-type, return-value]
        self.transport = Transport()
        self.client = Client(self.lane)
        self.client.connection_made(self.transport)  # type: ignore[arg-type]

    @property
    def wire(self):
        """The connection to the backend."""
        return self.scene.wire(0)

    def close(self):
        """End it."""
        self.lane.close()
        self.scene.plane.close()


@pytest.fixture
async def door():
    made = Door()
    yield made
    made.close()


@pytest.mark.parametrize("cuts", [[], [10], [len(REQUEST) - 5], [10, len(REQUEST) - 5, len(REQUEST) - 1]])
async def test_a_request_is_read_however_it_is_cut(door, cuts):
    """With its last byte it is sent on."""
    for start, end in zip([0, *cuts], [*cuts, len(REQUEST)], strict=True):
        assert door.scene.asked() == [0]
        door.client.data_received(REQUEST[start:end])
    assert door.wire.sent.endswith(BODY)
    door.wire.head()
    door.wire.body(EVENT)
    door.wire.end()
    assert EVENT in door.transport.got
    assert door.transport.done == []
    door.client.data_received(REQUEST)
    assert door.scene.asked() == [2]


async def test_a_client_that_is_slow_stops_its_engine(door):
    """Until it has caught up."""
    door.client.data_received(REQUEST)
    door.client.pause_writing()
    assert door.wire.paused
    door.client.resume_writing()
    assert not door.wire.paused


async def test_who_has_yet_to_take_the_last_answer_has_the_next_one_stopped(door):
    """And from its end on, no longer."""
    door.client.pause_writing()
    door.client.data_received(REQUEST)
    assert door.wire.paused
    door.client.resume_writing()
    assert not door.wire.paused
    door.wire.head()
    door.wire.body(EVENT)
    door.wire.end()
    door.client.data_received(REQUEST)
    assert not door.wire.paused


async def test_a_client_that_leaves_frees_its_engine_in_the_same_turn(door):
    room = door.lane.room
    door.client.data_received(REQUEST)
    door.client.connection_lost(None)
    assert door.wire.aborted
    assert door.scene.backends[0].in_flight == 0
    assert (door.lane.room, door.lane.connections) == (room + 1, set())


async def test_an_answer_that_breaks_off_ends_its_connection(door):
    """Nothing of the exchange is left: what its client does then is nobody's."""
    door.client.data_received(REQUEST)
    door.wire.head()
    door.wire.body(EVENT)
    door.wire.fail()
    assert door.transport.done == ["close"]
    assert door.client._exchange is None
    door.client.pause_writing()
    door.client.connection_lost(None)
    assert len(door.scene.records) == 1


async def test_one_connection_too_many_is_turned_away():
    """And told so, once it has asked; it is let go of when its client has noticed."""
    door = Door(room=0)
    assert door.transport.got == b""
    door.client.data_received(REQUEST)
    assert door.transport.got.startswith(b"HTTP/1.1 503 ")
    assert door.transport.done == ["eof"]
    door.client.data_received(REQUEST)
    assert door.scene.asked() == [0]
    assert door.lane.guests
    door.client.connection_lost(None)
    assert (door.lane.room, door.lane.guests) == (0, {})
    door.close()


async def test_who_is_turned_away_does_not_stay():
    """Whether it asks or not: for a moment, and no longer than until others come."""
    door = Door(room=0)
    assert not door.client.overdue(door.client._since + GUEST_TIMEOUT)
    assert door.client.overdue(door.client._since + GUEST_TIMEOUT + 0.1)
    door.client.give_up()
    assert door.transport.got.startswith(b"HTTP/1.1 503 ")
    assert door.client.overdue(door.client._since + GUEST_TIMEOUT + 0.1)
    silent = []
    for _ in range(MOST_GUESTS + 1):
        silent.append(Transport())
        Client(door.lane).connection_made(silent[-1])  # type: ignore[arg-type]
    assert door.transport.done == ["eof", "close"]
    assert silent[0].got.startswith(b"HTTP/1.1 503 ")
    assert [each.done for each in silent] == [["eof", "close"]] + [[]] * MOST_GUESTS
    door.close()


async def test_what_is_no_http_is_turned_away(door):
    door.client.data_received(b"no request\r\n\r\n")
    assert door.transport.got.startswith(b"HTTP/1.1 400 ")
    assert door.transport.done == ["eof"]
