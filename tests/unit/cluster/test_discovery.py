"""Routers find each other by real multicast DNS, on this machine's own network; what strangers do is played."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
import zeroconf.asyncio
from structlog.testing import capture_logs

from router.cluster import discovery
from router.cluster.discovery import SERVICE, Discovery
from router.cluster.neighbours import MOST
from tests.running import eventually


@pytest.fixture
async def discovering():
    """Give a function that starts discoveries; they end with the test."""
    made: list[Discovery] = []

    def start(port, *addresses, look=lambda: ["127.0.0.1"], **how):
        made.append(Discovery(port, addresses, look=look, **how))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        await each.close()


async def test_routers_find_each_other_and_part(discovering):
    """One that other machines don't reach finds others, and isn't announced; who stops says good-bye."""
    wide, keyed, hidden = (
        discovering(8001, "0.0.0.0"),
        discovering(8002, "127.0.0.1", keyed=True),
        discovering(8003, "10.9.9.9"),
    )
    await eventually(lambda: len(hidden.neighbours.told()) == 2)
    await eventually(lambda: wide.neighbours.told() and keyed.neighbours.told())
    assert [each.port for each in wide.neighbours.told()] == [8002]
    assert [each.port for each in keyed.neighbours.told()] == [8001]
    assert [(each.port, each.keyed) for each in hidden.neighbours.told()] == [(8001, False), (8002, True)]
    await keyed.close()
    await eventually(lambda: not wide.neighbours.told())


def change(to: Discovery, name: str, what: str = "Added") -> None:
    """Have the library tell of a change."""
    to._changed(cast("Any", None), SERVICE, f"{name}.{SERVICE}", zeroconf.ServiceStateChange[what])


@pytest.fixture
def answers(monkeypatch):
    """Have each announcement answered like this, at once."""
    answers = SimpleNamespace(addresses=["10.0.0.2"], port=8001, properties={}, found=True)

    class Info:
        def __init__(self, *_):
            self.port, self.properties = answers.port, answers.properties

        def parsed_addresses(self):
            return answers.addresses

        async def async_request(self, *_):
            return answers.found

    monkeypatch.setattr(zeroconf.asyncio, "AsyncServiceInfo", Info)
    return answers


async def test_only_some_are_asked_at_a_time_and_few_are_kept(answers):
    """However many are announced; the log has a bound, too."""
    quiet = Discovery(8001, ["0.0.0.0"])
    with capture_logs() as told:
        for number in range(10_000):
            change(quiet, f"r{number}")
        assert len(quiet._asking) == discovery._MOST_ASKED
        while len(quiet.neighbours.told()) < MOST:
            await asyncio.sleep(0)
            answers.port += 1
            change(quiet, f"r{answers.port}")
        for _ in range(200):
            change(quiet, "r1", "Removed")
            change(quiet, "r1")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    assert len(quiet.neighbours.told()) <= MOST
    assert len(told) == discovery._MOST_TOLD


async def test_one_that_goes_before_it_answered_is_not_kept(answers):
    """Nor one that doesn't answer, is this very router, or says that it is on this machine."""
    quiet = Discovery(8001, ["0.0.0.0"])
    change(quiet, "r1")
    change(quiet, "r1", "Removed")
    await eventually(lambda: not quiet._asking)
    for changes in ({"found": False}, {"properties": {b"id": quiet._instance.encode()}}, {"addresses": ["127.0.0.1"]}):
        vars(answers).update({"found": True, "properties": {}, "addresses": ["10.0.0.2"]} | changes)
        change(quiet, "r2")
        await eventually(lambda: not quiet._asking)
    assert quiet.neighbours.told() == []


async def test_a_name_that_is_none_is_passed_over(monkeypatch):
    """The library refuses it."""

    def refuse(*_):
        raise zeroconf.BadTypeInNameException

    monkeypatch.setattr(zeroconf.asyncio, "AsyncServiceInfo", refuse)
    quiet = Discovery(8001, [])
    change(quiet, "x")
    await eventually(lambda: not quiet._asking)
    assert quiet.neighbours.told() == []


class Zeroconf:
    """A network that is as the test says."""

    fault: Exception | None = None
    names = 0

    def __init__(self, **_):
        if self.fault is not None:
            raise self.fault
        self.zeroconf = self
        self.cache = SimpleNamespace(cache=range(self.names))
        self.closed = False
        self.announced = 0

    async def async_wait_for_start(self):
        """It starts at once."""

    async def async_register_service(self, *_, **__):
        """Announce it."""
        self.announced += 1
        return asyncio.sleep(0)

    async def async_close(self):
        """Note it."""
        self.closed = True


@pytest.fixture
def network(monkeypatch):
    """Give it, and look at it all the time."""
    made = type("Network", (Zeroconf,), {})
    monkeypatch.setattr(zeroconf.asyncio, "AsyncZeroconf", made)
    monkeypatch.setattr(zeroconf.asyncio, "AsyncServiceBrowser", lambda *_, **__: None)
    monkeypatch.setattr(discovery, "LOOK_EVERY", 0.001)
    return made


@pytest.mark.usefixtures("network")
async def test_another_network_begins_it_anew(discovering):
    """A laptop moves; without any network nothing is asked."""
    here = ["10.0.0.1"]
    found = discovering(8001, "0.0.0.0", look=lambda: list(here))
    await eventually(lambda: found._zeroconf and found._zeroconf.announced)
    first = found._zeroconf
    here[:] = []
    await eventually(lambda: first.closed and found._zeroconf is None)
    here[:] = ["10.7.0.1"]
    await eventually(lambda: found._zeroconf and found._zeroconf.announced)


async def test_a_network_that_cannot_be_asked_is_tried_again(network, discovering):
    """With a warning."""
    network.fault = OSError("no multicast")
    with capture_logs() as told:
        found = discovering(8001, "0.0.0.0")
        await eventually(lambda: told)
        network.fault = None
        await eventually(lambda: found._zeroconf is not None)
    assert "can't be asked for other routers (no multicast)" in told[0]["event"]


async def test_a_name_that_is_taken_is_said(network, discovering, monkeypatch):
    """It looks for others all the same."""

    async def refuse(*_, **__):
        raise zeroconf.NonUniqueNameException("taken")

    monkeypatch.setattr(network, "async_register_service", refuse)
    with capture_logs() as told:
        found = discovering(8001, "0.0.0.0")
        await eventually(lambda: told)
    assert "this router can't be announced" in told[0]["event"]
    assert found._zeroconf is not None


async def test_a_flood_of_names_ends_it(network, discovering):
    """The library would keep them all."""
    network.names = discovery._MOST_NAMES + 1
    with capture_logs() as told:
        found = discovering(8001, "0.0.0.0")
        await eventually(lambda: any(each["log_level"] == "warning" for each in told))
        await eventually(lambda: found._zeroconf is None)


async def test_one_that_never_started_closes():
    """As one whose package isn't there."""
    await Discovery(8001, []).close()
