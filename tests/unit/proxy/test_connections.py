"""Which pool a backend has, with which key, and how many connections may be open ahead of need: none is made."""

from math import inf

import pytest

from router.core.admission import Cap
from router.core.catalog import Backend
from router.proxy.connections import Connections
from router.proxy.dialling import Address
from router.proxy.pool import MAX_IDLE, Pool
from router.proxy.resolve import Names

HERE, THERE = Address("127.0.0.1", 1), Address("127.0.0.1", 2)


@pytest.fixture
def connections():
    return Connections(Names(), 1.5)


@pytest.fixture
def warmed(monkeypatch):
    """The bounds that pools were given for connections ahead of need, with each pool."""
    given: list[tuple[Pool, int]] = []
    monkeypatch.setattr(Pool, "warm", lambda pool, most: given.append((pool, most)))
    monkeypatch.setattr(Pool, "open", 3)
    return given


def test_a_backend_has_a_pool_as_long_as_it_has_an_address(connections):
    """Another address is another pool; each backend has its own."""
    one, other = Backend("a"), Backend("a")
    assert (connections.pool(one), connections.address(one)) == (None, None)
    connections.open(one, HERE)
    connections.open(other, THERE)
    first = connections.pool(one)
    assert first is not None
    assert (connections.address(one), connections.address(other)) == (HERE, THERE)
    connections.open(one, THERE)
    assert connections.pool(one) is not first
    assert connections.address(one) == THERE
    connections.close(one)
    assert (connections.pool(one), connections.address(one)) == (None, None)
    assert connections.address(other) == THERE


def test_the_key_outlives_an_address_until_the_backend_is_forgotten(connections):
    """A pool shows the key that was set when its address was opened."""
    backend = Backend("a")
    assert connections.api_key(backend) is None
    connections.open(backend, HERE)
    assert connections.pool(backend).credentials == b""
    connections.set_key(backend, "secret")
    connections.open(backend, THERE)
    assert connections.pool(backend).credentials == b"authorization: Bearer secret\r\n"
    connections.close(backend)
    assert connections.api_key(backend) == "secret"
    connections.open(backend, HERE)
    connections.forget(backend)
    assert (connections.pool(backend), connections.api_key(backend)) == (None, None)


def test_as_many_connections_stay_idle_as_there_may_be_requests(connections):
    """Whatever the bound was when its address was opened."""
    backend = Backend("a", cap=Cap(7))
    connections.bound(backend, Cap(8))
    connections.open(backend, HERE)
    assert connections.pool(backend).most_idle == 7
    connections.bound(backend, Cap(3))
    assert connections.pool(backend).most_idle == 3
    connections.bound(backend, Cap(inf))
    assert connections.pool(backend).most_idle == MAX_IDLE


def test_connections_ahead_of_need_are_opened_where_they_are_asked_for(connections, warmed):
    """Within what is spare for all backends, those that this one has open beside."""
    slow, quick, gone = Backend("slow"), Backend("quick"), Backend("gone")
    connections.spare = 10
    connections.open(slow, HERE, ahead=4)
    connections.open(quick, THERE)
    for backend in (slow, quick, gone):
        connections.warm(backend)
    assert warmed == [(connections.pool(slow), 3 + 10 - 2 * 3)]
    assert connections.pool(slow).ahead == 4


def test_an_address_that_is_left_and_all_at_the_end_are_closed(connections, monkeypatch):
    """Their connections would stay open for ever."""
    closed: list[Pool] = []
    monkeypatch.setattr(Pool, "close", lambda pool: closed.append(pool))  # noqa: PLW0108 -- it is a method
    one, other = Backend("a"), Backend("b")
    connections.open(one, HERE)
    connections.open(other, HERE)
    first = connections.pool(one)
    connections.open(one, THERE)
    assert closed == [first]
    connections.close_all()
    assert set(closed) == {first, connections.pool(one), connections.pool(other)}
