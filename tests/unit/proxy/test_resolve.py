import asyncio
import socket
import threading
import time
from contextlib import ExitStack

import pytest

from router.proxy import resolve
from router.proxy.resolve import Names, Resolver, UnknownNameError, connect, fixed
from tests.running import eventually


class System:
    """Stands in for the system's resolver: names that are in it, names that hang, and all others, which are unknown."""

    def __init__(self, **found: str | tuple[str, ...]) -> None:
        self.found = {name: (each,) if isinstance(each, str) else each for name, each in found.items()}
        self.hanging: set[str] = set()
        self.asked: list[str] = []
        self.go_on = threading.Event()

    def __call__(self, host: str) -> tuple[str, ...]:
        """Look up."""
        self.asked.append(host)
        if host in self.hanging:
            self.go_on.wait(60)
        if host not in self.found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.found[host]


@pytest.fixture
def system():
    """Give a resolver whose hanging look-ups end with the test."""
    with ExitStack() as stack:
        system = System(a="192.0.2.1", b="192.0.2.2")
        stack.callback(system.go_on.set)
        yield system


@pytest.fixture
def later(monkeypatch):
    """Give a function that lets the resolver's clock go on."""
    passed = 0.0
    real = time.monotonic

    def go_on(seconds: float) -> None:
        nonlocal passed
        passed += seconds

    class Time:
        @staticmethod
        def monotonic() -> float:
            return float(real() + passed)

    monkeypatch.setattr(resolve, "time", Time)
    return go_on


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", ("127.0.0.1",)),
        ("::1", ("::1",)),
        ("fe80::1%eth0", ("fe80::1%eth0",)),
        ("localhost", ("127.0.0.1", "::1")),
        ("LocalHost.", ("127.0.0.1", "::1")),
        ("llm.localhost", ("127.0.0.1", "::1")),
        ("notlocalhost", ()),
        ("gpu-box", ()),
        ("1.2.3", ()),
        ("localhost.example.org", ()),
    ],
)
async def test_addresses_and_localhost_are_never_asked_for(host, addresses):
    """They are what they are, whatever the system's resolver does."""
    assert fixed(host) == addresses
    if addresses:
        system = System()
        assert await Names(system).addresses(host, 1.0) == addresses
        assert not system.asked


async def test_a_name_is_asked_for_once(system):
    """By all who want it at the same time, and by those who come while it is fresh."""
    names = Names(system)
    assert await asyncio.gather(*(names.addresses("a", 5.0) for _ in range(50))) == [("192.0.2.1",)] * 50
    await names.addresses("a", 5.0)
    assert system.asked == ["a"]


async def test_names_that_hang_hold_up_no_other(system):
    """As many of them as may be looked up at once, but for one."""
    system.hanging = {f"hangs{number}" for number in range(9)}
    names = Names(system, most=10)
    hanging = [asyncio.create_task(names.addresses(host, 60.0)) for host in system.hanging for _ in range(3)]
    await eventually(lambda: len(system.asked) == 9)
    assert await names.addresses("a", 5.0) == ("192.0.2.1",)
    assert await names.addresses("b", 5.0) == ("192.0.2.2",)
    assert sorted(system.asked) == sorted([*system.hanging, "a", "b"])
    for each in hanging:
        each.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


async def test_no_more_names_are_looked_up_at_once_than_may_be(system, monkeypatch):
    """The next waits for the end of one."""
    monkeypatch.setattr(resolve, "HANGS", 60.0)
    system.hanging = {"a"}
    names = Names(system, most=1)
    first = asyncio.create_task(names.addresses("a", 60.0))
    await eventually(lambda: system.asked)
    second = asyncio.create_task(names.addresses("b", 60.0))
    await asyncio.sleep(0.01)
    assert system.asked == ["a"]
    system.go_on.set()
    assert (await first, await second) == (("192.0.2.1",), ("192.0.2.2",))


async def test_more_names_that_hang_than_are_looked_up_at_once_hold_up_no_other(system, monkeypatch):
    """They give their places up; what they bring in the end still counts."""
    monkeypatch.setattr(resolve, "HANGS", 0.01)
    system.hanging = {f"hangs{number}" for number in range(9)}
    system.found |= dict.fromkeys(system.hanging, ("192.0.2.9",))
    names = Names(system, most=2)
    hanging = [asyncio.create_task(names.addresses(host, 60.0)) for host in system.hanging]
    assert await names.addresses("a", 5.0) == ("192.0.2.1",)
    assert not any(each.done() for each in hanging)
    system.go_on.set()
    assert await asyncio.gather(*hanging) == [("192.0.2.9",)] * 9


async def test_who_waits_for_a_name_that_hangs_is_told(system):
    """It says which, and what to look at."""
    system.hanging = {"a"}
    with pytest.raises(UnknownNameError, match=r"the name 'a' can't be resolved \(no answer in 0.01 s\).*DNS"):
        await Names(system).addresses("a", 0.01)


async def test_who_comes_to_a_look_up_that_hangs_is_told_at_once(system, later):
    """It has had its time: the next attempt of a request doesn't wait as long again."""
    system.hanging = {"a"}
    names = Names(system)
    first = asyncio.create_task(names.addresses("a", 60.0))
    await eventually(lambda: system.asked)
    later(60)
    async with asyncio.timeout(10):
        with pytest.raises(UnknownNameError):
            await names.addresses("a", 60.0)
    system.go_on.set()
    assert await first == ("192.0.2.1",)


async def test_the_last_good_addresses_stay_while_a_newer_look_up_hangs(system, later):
    """Nobody waits for it."""
    names = Names(system)
    await names.addresses("a", 5.0)
    system.hanging = {"a"}
    later(resolve.FRESH)
    for _ in range(3):
        assert await names.addresses("a", 5.0) == ("192.0.2.1",)
    await eventually(lambda: len(system.asked) == 2)
    assert await names.addresses("a", 5.0) == ("192.0.2.1",)
    system.found["a"] = ("192.0.2.9",)
    system.go_on.set()
    await eventually(lambda: names._names["a"].looking is None)
    assert await names.addresses("a", 5.0) == ("192.0.2.9",)


async def test_the_last_good_addresses_stay_when_a_newer_look_up_fails(system, later):
    """A name server may be down for a while."""
    names = Names(system)
    await names.addresses("a", 5.0)
    del system.found["a"]
    later(resolve.FRESH)
    await names.addresses("a", 5.0)
    await eventually(lambda: len(system.asked) == 2)
    assert await names.addresses("a", 5.0) == ("192.0.2.1",)


async def test_the_addresses_that_a_host_had_are_known(system):
    """Without a look-up: those of a name that was asked for, and of an address itself."""
    names = Names(system)
    assert (names.known("a"), names.known("10.0.0.1"), system.asked) == ((), ("10.0.0.1",), [])
    await names.addresses("a", 5.0)
    assert names.known("a") == ("192.0.2.1",)


async def test_a_name_that_is_not_found_is_asked_for_again_soon(system, later):
    """But not by each request."""
    names = Names(system)
    for _ in range(3):
        with pytest.raises(UnknownNameError, match="Name or service not known"):
            await names.addresses("new", 5.0)
    assert system.asked == ["new"]
    system.found["new"] = ("192.0.2.3",)
    later(resolve.RETRY_AFTER)
    assert await names.addresses("new", 5.0) == ("192.0.2.3",)


@pytest.mark.parametrize("error", [UnicodeError("label too long"), ValueError("embedded null"), RuntimeError("odd")])
async def test_whatever_a_look_up_raises_is_told(error):
    """Somebody waits for it."""

    def fails(_: str) -> tuple[str, ...]:
        raise error

    with pytest.raises(UnknownNameError, match=str(error)):
        await Names(fails).addresses("a", 5.0)


async def test_a_name_without_an_address_is_not_found(system):
    """It can't be connected to."""
    system.found["a"] = ()
    with pytest.raises(UnknownNameError, match="it has no address"):
        await Names(system).addresses("a", 5.0)


async def test_a_system_without_threads_is_told(system, monkeypatch):
    """The name is unknown for now."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    names = Names(system)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(UnknownNameError, match="can't start new thread"):
            await names.addresses("a", 5.0)
    assert not names._room.locked()
    assert names._room._value == resolve.MOST


async def test_what_is_remembered_is_bounded(monkeypatch):
    """Also over many reloads."""
    monkeypatch.setattr(resolve, "MOST_NAMES", 5)
    names = Names(lambda host: (f"192.0.2.{len(host)}",))
    for length in range(1, 40):
        await names.addresses("x" * length, 5.0)
    assert len(names._names) <= 5


def test_a_loop_that_has_ended_is_not_told(system):
    """Nothing waits for a look-up at the end, and its thread ends without a word."""
    system.hanging, before = {"a"}, set(threading.enumerate())

    async def ask() -> None:
        with pytest.raises(UnknownNameError):
            await Names(system).addresses("a", 0.01)

    asyncio.run(ask())
    (thread,) = set(threading.enumerate()) - before
    assert thread.daemon
    system.go_on.set()
    thread.join(10)
    assert not thread.is_alive()


# Connecting


class Protocol(asyncio.Protocol):
    """A client's side."""


@pytest.fixture
async def listening():
    """Give the port of a server on 127.0.0.1 alone."""
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("127.0.0.2", "127.0.0.1"), ("::1", "127.0.0.1")])
async def test_whichever_address_answers_is_connected_to(system, listening, addresses):
    """One that refuses holds up no other."""
    system.found["a"] = addresses
    transport, protocol = await connect(Names(system), Protocol, "a", listening, None, 5.0)
    assert isinstance(protocol, Protocol)
    transport.abort()  # type: ignore[attr-defined]


async def test_localhost_is_found_on_either_family(listening):
    """Without a resolver."""
    transport, _ = await connect(Names(System()), Protocol, "localhost", listening, None, 5.0)
    transport.abort()  # type: ignore[attr-defined]


async def test_a_name_that_has_moved_is_followed_by_the_request_that_meets_it(system, listening, later):
    """Its old address refuses: it is asked for again, at once."""
    names = Names(system)
    system.found["a"] = ("127.0.0.2",)
    await names.addresses("a", 5.0)
    system.found["a"] = ("127.0.0.1",)
    with pytest.raises(OSError, match=r"refused|Connect call failed"):  # it has just been asked for
        await connect(names, Protocol, "a", listening, None, 5.0)
    later(resolve.RETRY_AFTER)
    transport, _ = await connect(names, Protocol, "a", listening, None, 5.0)
    transport.abort()  # type: ignore[attr-defined]


async def test_a_name_that_has_not_moved_is_refused(system, later):
    """What it was is what is told."""
    names = Names(system)
    system.found["a"] = ("127.0.0.1",)
    await names.addresses("a", 5.0)
    later(resolve.RETRY_AFTER)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await connect(names, Protocol, "a", port, None, 5.0)
    assert system.asked == ["a", "a"]
    assert await names.renewed("127.0.0.1") == ()


async def test_aiohttps_client_asks_here_too(system):
    """In its own form, for the families that it asks for."""
    resolver = Resolver(Names(system))
    system.found["a"] = ("::1", "127.0.0.1")
    found = await resolver.resolve("a", 80)
    assert [(each["host"], each["family"]) for each in found] == [
        ("::1", socket.AF_INET6),
        ("127.0.0.1", socket.AF_INET),
    ]
    assert [each["host"] for each in await resolver.resolve("a", 80, socket.AF_INET)] == ["127.0.0.1"]
    await resolver.close()


def test_the_systems_own_resolver():
    """It gives each address once."""
    assert "127.0.0.1" in resolve.look_up("127.0.0.1")
    assert len(resolve.look_up("127.0.0.1")) == 1
