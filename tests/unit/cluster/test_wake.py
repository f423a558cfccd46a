"""Machines that sleep: who wakes them, and what requests meet meanwhile. A machine here is what the test says of it."""

import asyncio
import socket

import pytest
from structlog.testing import capture_logs

from launchers.abilities import Abilities
from router.cluster import wake
from router.cluster.wake import Network, Waker, packet, places, send
from router.core.catalog import Backend
from router.core.health import WELL, Verdict
from router.core.retry import Failure
from router.core.waking import State
from router.proxy.dialling import Address
from router.proxy.watching.sleepers import Wake
from router.store.store import Store
from tests.fakes.wired import EVENT, LAST, Scene
from tests.running import eventually

MAC = "00:11:22:33:44:55"
PC = Wake(MAC, 60.0)


class Home:
    """A router that knows a PC that sleeps, `pc`, and maybe others; `sent` are the packets."""

    def __init__(self, folder, monkeypatch, *others):
        self.scene = Scene("pc", *others)
        self.plane = self.scene.plane
        self.pc = self.scene.backends[0]
        self.sent: list[str] = []
        monkeypatch.setattr(wake, "send", self._send)
        self.store = Store(folder)
        self.waker = Waker(self.plane, self.store)
        self.plane._on_want = self.waker.want
        self.waker.watch(self.pc, PC)
        self.fault = ""

    def _send(self, address, _known):
        self.sent.append(address)
        return self.fault

    @property
    def machine(self):
        """What is known of the PC."""
        return self.waker._machines[MAC]

    def find_asleep(self, backend=None):
        """Have as many probes meet nobody as it takes."""
        backend = backend or self.pc
        while not self.waker.unreached(backend):
            self.plane.failed(backend, "no answer")

    def answers(self, backend=None):
        """Have probes answered."""
        while not (backend or self.pc).health.usable:
            self.plane.succeeded(backend or self.pc)

    async def close(self):
        """End it all."""
        self.waker.stop()
        await asyncio.sleep(0)
        self.plane.close()
        await self.store.close()


@pytest.fixture
async def home(tmp_path, monkeypatch):
    made = Home(tmp_path, monkeypatch)
    yield made
    await made.close()


@pytest.fixture
async def household(tmp_path, monkeypatch):
    """The PC, and one beside it that is awake."""
    made = Home(tmp_path, monkeypatch, "mac")
    yield made
    await made.close()


def answer(wire):
    wire.head()
    wire.body(EVENT + LAST)
    wire.end()


# Packets


def test_a_magic_packet():
    """Six bytes FF, and sixteen times the address."""
    assert packet(MAC) == b"\xff" * 6 + bytes([0x00, 0x11, 0x22, 0x33, 0x44, 0x55]) * 16


def test_a_packet_goes_into_each_network():
    """To everybody in it, and to its own broadcast address, which a limited one may not reach on every system."""
    found = places([Network("192.168.1.5", "255.255.255.0"), Network("10.1.2.3", "255.255.0.0")], ["192.168.1.77"])
    assert found == [
        ("192.168.1.5", "255.255.255.255"),
        ("192.168.1.5", "192.168.1.255"),
        ("10.1.2.3", "255.255.255.255"),
        ("10.1.2.3", "10.1.255.255"),
    ]


def test_a_packet_goes_where_the_machine_was_last():
    """If that is in none of our networks; what is no IPv4 address, or this machine's own, leads nowhere."""
    ours = [Network("192.168.1.5", "255.255.255.254")]
    known = ["192.168.7.9", "192.168.7.10", "fe80::1", "127.0.0.1", "pc.lan"]
    assert places(ours, known) == [("192.168.1.5", "255.255.255.255"), ("", "192.168.7.255")]


async def test_a_packet_arrives(monkeypatch):
    """By UDP, at every place that can be sent to; that one can't is no fault."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as card:
        card.bind(("", 0))
        card.settimeout(10.0)
        monkeypatch.setattr(wake, "PORT", card.getsockname()[1])
        monkeypatch.setattr(wake, "places", lambda *_: [("127.0.0.1", "127.255.255.255"), ("192.0.2.1", "192.0.2.255")])
        assert send(MAC, ()) == ""
        assert card.recv(200) == packet(MAC)


def test_that_none_could_be_sent_is_said(monkeypatch):
    """With the system's word; of a machine without a network, that."""
    monkeypatch.setattr(wake, "places", lambda *_: [("192.0.2.1", "192.0.2.255")])
    assert send(MAC, ()).startswith("192.0.2.255: ")
    monkeypatch.setattr(wake, "places", lambda *_: [])
    assert send(MAC, ()) == "this machine is in no IPv4 network"


def test_this_machines_networks_are_found():
    """None of them is its own alone."""
    assert all(not each.address.startswith("127.") and each.mask for each in wake.networks())


# Asleep


async def test_one_that_nobody_wants_is_left_asleep(home):
    """It is told as asleep, not as a failure, and gets no packet however often it is probed."""
    home.find_asleep()
    assert (home.pc.health.word, home.pc.health.reason) == ("asleep", "is asleep")
    assert all(home.waker.unreached(home.pc) for _ in range(20))
    await asyncio.sleep(0)
    assert (home.sent, home.pc.health.word) == ([], "asleep")
    home.answers()
    assert home.pc.health.verdict is Verdict.PROBING


async def test_one_without_wake_is_down_as_ever(home):
    """So is one that refuses connections: it is awake."""
    other = Backend("b", health=WELL)
    assert (home.waker.unreached(other), home.waker.want(other), other.health) == (False, False, WELL)


async def test_it_takes_as_many_probes_as_to_be_down(home):
    """One lost packet shows nothing; and that a machine sleeps is no warning."""
    with capture_logs() as told:
        assert not home.waker.unreached(home.pc)
        home.find_asleep()
    assert {each["log_level"] for each in told} == {"info"}


async def test_who_wants_it_wakes_it_and_waits(home):
    """One packet at once, more later; its clock stands, and it is told what it waits for."""
    home.find_asleep()
    exchange, client = home.scene.ask()
    _, second = home.scene.ask(stream=False)
    await eventually(lambda: home.sent)
    assert home.sent == [MAC]
    assert (home.pc.health.word, home.pc.health.coming) == ("waking", True)
    waiting, now = exchange.queued, home.plane.loop.time()
    assert home.plane.dispatcher.admission.expired(now + 1e6) == []
    (first, _) = home.plane.queues.told()["m"]
    assert first["loading"] == {
        "backend": "pc", "stage": "waking", "share": 0.0, "seconds": 0.0, "reason": "'pc' is being woken.",
    }  # fmt: skip
    assert waiting.due(waiting.ticket.entered + 1.1)
    home.plane.queues.tell_places(waiting.ticket.entered + 1.1)
    assert b": waking pc\n" in client.got
    home.answers()
    await eventually(lambda: home.scene.asked() == [2])
    assert waiting.waits[0].loaded == "pc"
    for wire in home.scene.pools[0].made_of:
        answer(wire)
    assert [client.ended, second.ended] == ["kept", "kept"]
    home.waker._step(home.machine)
    assert (home.machine.state, home.machine.timer) == (State.AWAKE, None)


async def test_how_long_it_took_is_told_the_next_time(home):
    """In seconds."""
    home.find_asleep()
    home.machine.took = 40.0
    exchange, client = home.scene.ask()
    home.plane.queues.tell_places(exchange.queued.ticket.entered + 1.1)
    assert b": waking pc, about 39 s\n" in client.got


async def test_packets_are_sent_again_while_it_does_not_answer(home, monkeypatch):
    """As `core.waking` says, by one timer."""
    monkeypatch.setattr("router.core.waking.FIRST_PAUSE", 0.01)
    home.find_asleep()
    home.scene.ask()
    await eventually(lambda: len(home.sent) >= 3)


async def test_one_that_does_not_wake_is_given_up(home):
    """Who waits is told so; who comes then is told at once, until its rest is over."""
    home.waker.watch(home.pc, Wake(MAC, 0.05))
    home.find_asleep()
    _, client = home.scene.ask(stream=False)
    await eventually(lambda: home.machine.state is State.RESTING)
    home.plane.queues.look(home.plane.loop.time())
    assert client.got.startswith(b"HTTP/1.1 503 ")
    assert b"pc: was woken, and did not answer within 0.05 s" in client.got
    _, second = home.scene.ask(stream=False)
    assert second.got.startswith(b"HTTP/1.1 503 ")
    packets = len(home.sent)
    home.machine._next = 0.0
    _, third = home.scene.ask(stream=False)
    await eventually(lambda: len(home.sent) > packets)
    assert third.got == b""


async def test_it_is_not_woken_for_what_another_serves(household):
    """Though both have the model; the one that is awake is asked."""
    household.find_asleep()
    household.scene.ask()
    await asyncio.sleep(0)
    assert (household.sent, household.scene.asked()) == ([], [0, 1])


async def test_a_request_that_waits_for_another_goes_there_when_that_is_well(household):
    """Whichever answers first serves it."""
    household.find_asleep()
    mac = household.scene.backends[1]
    household.plane.withdraw(mac, "its process has ended")
    exchange, client = household.scene.ask()
    await eventually(lambda: household.sent)
    assert exchange.queued.waking is household.pc
    household.plane.serve(mac, Address("127.0.0.1", 1))
    household.plane.connections._pools[mac] = household.scene.pools[1]
    await eventually(lambda: household.scene.asked() == [0, 1])
    answer(household.scene.wire(1))
    assert client.ended == "kept"


async def test_the_clock_runs_again_when_somebody_is_there(household):
    """One who waits for room at a backend that is well waits as ever."""
    household.find_asleep()
    mac = household.scene.backends[1]
    household.plane.withdraw(mac, "its process has ended")
    exchange, _ = household.scene.ask()
    mac.health = WELL
    exchange.queued.look(household.plane.loop.time())
    assert exchange.queued.waking is None
    assert len(household.plane.dispatcher.admission.expired(household.plane.loop.time() + 1e6)) == 1


async def test_a_request_that_finds_it_gone_waits_for_it(home):
    """It fell asleep since its last probe: the connection times out, and nothing was sent."""
    home.scene.pools[0].refuses = Failure.CONNECT_TIMEOUT
    exchange, client = home.scene.ask()
    await eventually(lambda: home.sent)
    assert exchange.queued.waking is home.pc
    home.scene.pools[0].refuses = None
    home.answers()
    await eventually(lambda: home.scene.asked() == [1])
    answer(home.scene.wire(0))
    assert client.ended == "kept"


async def test_a_request_that_finds_another_gone_is_told_so(home):
    """One whose machine can't be woken."""
    home.waker.watch(home.pc, None)
    home.scene.pools[0].refuses = Failure.CONNECT_TIMEOUT
    _, client = home.scene.ask(stream=False)
    await eventually(lambda: client.got)
    assert client.got.startswith(b"HTTP/1.1 504 ")


async def test_what_it_has_not_begun_to_answer_waits_for_it(home):
    """Nothing of an answer has come, so it may be asked again; what has begun may go on when the network is back."""
    _, begun = home.scene.ask()
    wire = home.scene.wire(0)
    wire.head()
    wire.body(EVENT)
    exchange, client = home.scene.ask()
    home.find_asleep()
    await eventually(lambda: home.sent)
    assert exchange.queued.waking is home.pc
    wire.body(LAST)
    wire.end()
    home.answers()
    await eventually(lambda: home.scene.asked() == [3])
    answer(home.scene.wire(0))
    assert [begun.ended, client.ended] == ["kept", "kept"]


async def test_a_request_that_waits_when_it_falls_asleep_wakes_it(home):
    """It waited because the server was restarting; then nobody was there."""
    home.plane.vanished(home.pc, None)
    exchange, _ = home.scene.ask()
    assert exchange.queued.waking is None
    home.waker.unreached(home.pc)
    exchange.queued.look(home.plane.loop.time())
    await eventually(lambda: home.sent)
    assert exchange.queued.waking is home.pc


async def test_backends_of_one_machine_are_woken_together(household):
    """Each answers when its server is there; the machine has as long for all of them."""
    pc, other = household.scene.backends
    household.waker.watch(other, PC)
    for each in (pc, other):
        household.find_asleep(each)
    household.scene.ask()
    await eventually(lambda: household.sent)
    assert (household.sent, pc.health.word, other.health.word) == ([MAC], "waking", "waking")
    household.answers(pc)
    household.waker._step(household.machine)
    assert (household.machine.state, other.health.word) == (State.WAKING, "waking")
    household.answers(other)
    household.waker._step(household.machine)
    assert household.machine.state is State.AWAKE


async def test_one_that_is_found_asleep_while_its_machine_wakes_is_coming(household):
    """Its last probe was before."""
    pc, other = household.scene.backends
    household.waker.watch(other, PC)
    household.find_asleep(pc)
    assert household.waker.want(pc)
    assert other.health is WELL
    household.find_asleep(other)
    assert other.health.word == "waking"


async def test_that_no_packet_can_be_sent_is_logged(home):
    """With the reason: a container without the network has no broadcasts."""
    home.fault = "255.255.255.255: no permission"
    home.find_asleep()
    with capture_logs() as told:
        home.scene.ask()
        await eventually(lambda: any(each["log_level"] == "warning" for each in told))
    (warning,) = [each["event"] for each in told if each["log_level"] == "warning"]
    assert warning == "pc: no packet could be sent that wakes the machine (255.255.255.255: no permission)"


# Changes of router.yaml


async def test_a_machine_without_wake_any_more_is_probed_as_ever(home):
    """Its next failure is one."""
    home.find_asleep()
    home.waker.watch(home.pc, None)
    home.plane.failed(home.pc, "no answer")
    assert (home.pc.health.word, home.pc.health.reason) == ("down", "no answer")
    assert home.waker._machines == {}
    home.waker.watch(home.pc, None)


async def test_another_time_to_wake_begins_anew(home):
    """Who waits has it woken by the new entry, at the next look."""
    home.find_asleep()
    exchange, _ = home.scene.ask()
    await eventually(lambda: home.sent)
    home.waker.watch(home.pc, Wake(MAC, 30.0))
    assert not home.pc.health.coming
    exchange.queued.look(home.plane.loop.time())
    assert (home.pc.health.coming, home.machine.timeout) == (True, 30.0)
    home.waker.watch(home.pc, Wake(MAC, 30.0))
    assert home.pc.health.coming


async def test_the_last_backend_of_a_machine_takes_it_along(household):
    """Its timer, too: nobody is left to be woken."""
    pc, other = household.scene.backends
    household.waker.watch(other, PC)
    household.find_asleep()
    household.waker.want(pc)
    household.waker.forget(pc)
    timer = household.machine.timer
    household.waker.forget(other)
    household.waker.forget(other)
    assert household.waker._machines == {}
    assert timer.cancelled()


async def test_a_retired_one_is_not_woken(home):
    """It was removed meanwhile, and ends what it has."""
    home.plane.retire(home.pc, "was removed")
    home.plane.sleeps(home.pc, "is asleep")
    assert not home.pc.health.asleep


# What it serves


async def test_the_models_of_a_machine_are_known_after_a_restart(home, tmp_path):
    """With what they can do; the router may start while it sleeps."""
    address = Address("127.0.0.1", 1)
    home.waker.learned(home.pc, {"qwen": Abilities(context=4096, tools=True), "llama": Abilities()})
    await home.store.close()
    again = Scene()
    waker, pc = Waker(again.plane, Store(tmp_path)), Backend("pc")
    again.plane.add(pc, address, discovers=True)
    waker.watch(pc, PC)
    await eventually(lambda: pc.models)
    assert dict(pc.models) == {"qwen": "qwen", "llama": "llama"}
    assert again.plane.directory.abilities[pc]["qwen"] == Abilities(context=4096, tools=True)
    again.plane.directory.rebuild()
    assert again.plane.catalog.resolve("qwen").tiers
    again.plane.close()


async def test_only_news_are_written(home, monkeypatch):
    """And only of machines that may sleep."""
    written: list[str] = []
    monkeypatch.setattr(home.store, "remember_machine", lambda *_: written.append("x"))
    await eventually(lambda: home.waker._read)
    for models in ({"a": Abilities()}, {"a": Abilities()}, {"b": Abilities()}):
        home.waker.learned(home.pc, models)
    home.waker.learned(Backend("other"), {"a": Abilities()})
    assert written == ["x", "x"]


@pytest.mark.parametrize("told", ["", "[]", '{"a": 5}', '{"a": {"context": "x"}}', "[" * 100_000])
async def test_nonsense_that_was_written_there_is_passed_over(home, tmp_path, told):
    """It is asked again when it is awake."""
    home.store.remember_machine("http://127.0.0.1:1", told)
    await home.store.close()
    again = Scene()
    waker, pc = Waker(again.plane, Store(tmp_path)), Backend("pc")
    again.plane.add(pc, Address("127.0.0.1", 1), discovers=True)
    waker.watch(pc, PC)
    await eventually(lambda: not waker._tasks)
    assert dict(pc.models) == {}
    again.plane.close()


async def test_what_it_says_itself_goes_before_what_was_remembered(home, tmp_path):
    """It may have answered before the file was read."""
    home.store.remember_machine("http://127.0.0.1:1", '{"old": {}}')
    await home.store.close()
    again = Scene()
    waker, pc = Waker(again.plane, Store(tmp_path)), Backend("pc", {"new": "new"})
    again.plane.add(pc, Address("127.0.0.1", 1))
    waker.watch(pc, PC)
    await eventually(lambda: not waker._tasks)
    assert dict(pc.models) == {"new": "new"}
    again.plane.close()
