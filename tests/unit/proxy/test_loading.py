"""What becomes of requests whose models load and unload by themselves, without sockets."""

import asyncio
import random
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from router.core.admission import Cap
from router.core.catalog import Backend, Route
from router.core.health import WELL
from router.core.memory.order import ByKey
from router.core.peek import Stay
from router.core.retry import Failure
from router.proxy.caller import Caller
from tests.fakes.loading import LoadingScene
from tests.fakes.wired import EVENT, Wires
from tests.running import eventually

if TYPE_CHECKING:
    from router.proxy.exchange import Exchange


@pytest.fixture
async def scene():
    """Two models, one of which fits."""
    made = LoadingScene(models="ab")
    yield made
    made.plane.close()


def answer(wire):
    wire.head()
    wire.body(EVENT)
    wire.end()


async def loaded(scene, name, requests=1):
    """Have a model loaded, which so many requests asked for."""
    asked = [scene.ask(model=name) for _ in range(requests)]
    scene.loaded(name)
    await sent_to(scene, name, requests)
    return asked


async def sent_to(scene, name, count):
    """Wait until a backend was sent so many requests in all."""
    await eventually(lambda: scene.asked()[scene.at(name)] == count)


def in_flight(scene, name):
    return len(scene.residency.residents()[name].in_flight)


def add_url(scene, name, *models):
    """Add a backend elsewhere, which is well."""
    backend = Backend(name, {each: each for each in models}, health=WELL)
    scene.backends.append(backend)
    scene.pools.append(Wires())
    scene.plane.add(backend)
    scene.plane.connections._pools[backend] = scene.pools[-1]
    scene.plane.directory.rebuild()
    return backend


def route(scene, name, *targets):
    scene.plane.directory.route({name: Route(targets)})
    scene.plane.directory.rebuild()


# A model that isn't loaded


async def test_the_first_request_loads_its_model_once_and_all_are_answered(scene):
    asked = [scene.ask(model="a") for _ in range(20)]
    assert scene.did == ["load a"]
    assert len(scene.plane.dispatcher.admission) == 20
    scene.loaded("a")
    await sent_to(scene, "a", 20)
    for wire in scene.pools[0].made_of:
        answer(wire)
    assert [client.ended for _, client in asked] == ["kept"] * 20
    assert scene.did == ["load a"]
    assert in_flight(scene, "a") == 0


async def test_a_loaded_model_is_sent_requests_at_once(scene):
    await loaded(scene, "a")
    answer(scene.wire(0))
    _, client = scene.ask(model="a")
    assert (scene.asked(), in_flight(scene, "a")) == ([2, 0], 1)
    answer(scene.wire(0))
    assert (client.ended, in_flight(scene, "a")) == ("kept", 0)


async def test_a_load_that_nobody_waits_for_any_more_is_cancelled(scene):
    """Nothing of those who have left is kept."""
    asked = [scene.ask(model="a")[0] for _ in range(3)]
    for exchange in asked:
        assert scene.did == ["load a"]
        exchange.cancel()
    assert scene.did == ["load a", "cancel a"]
    assert len(scene.plane.dispatcher.admission) == 0
    assert (scene.loading._registered, scene.loading._unloaded) == ({}, set())
    scene.exited("a")
    assert scene.state("a") == "unloaded"


async def test_an_idle_model_leaves_for_another_and_gets_nothing_from_then_on(scene):
    await loaded(scene, "a")
    answer(scene.wire(0))
    scene.residency.residents()["a"].idle_since -= 1000
    scene.ask(model="b")
    assert scene.did == ["load a", "unload a"]
    assert (scene.backends[0].health.absent, scene.backends[0].health.coming) == (True, True)
    scene.ask(model="a")
    assert scene.asked() == [1, 0]
    scene.exited("a")
    assert scene.did == ["load a", "unload a", "load b"]
    scene.loaded("b")
    await sent_to(scene, "b", 1)
    answer(scene.wire(1))
    assert scene.asked() == [1, 1]


async def test_a_model_that_can_not_be_loaded_is_told_with_the_reason(scene):
    """All who wait are, and those who come while it rests; each with when to come again."""
    asked = [scene.ask(model="a")[1] for _ in range(3)]
    scene.failed("a", "there is no such file")
    asked.append(scene.ask(model="a")[1])
    for client in asked:
        assert client.got.startswith(b"HTTP/1.1 503 ")
        assert b'"code":"load_failed"' in client.got
        assert b"'a' could not be loaded: there is no such file" in client.got
        assert b"\r\nretry-after: 5\r\n" in client.got
    assert len(scene.plane.dispatcher.admission) == 0
    assert scene.loading._registered == {}
    assert {record.status for record in scene.records} == {503}


async def test_a_model_that_can_never_fit_is_told_with_the_figures(scene):
    scene.add("huge", "huge", size=5)
    _, client = scene.ask(model="huge")
    assert b'"code":"insufficient_memory"' in client.got
    assert b"It needs 5.0 GiB of gpu0, of which 1.0 GiB can be free" in client.got


async def test_of_those_that_may_be_loaded_the_next_is_where_one_refuses():
    """Those who wait don't hear of it."""
    scene = LoadingScene("a", "b", fits=2)
    _, client = scene.ask()
    first = scene.did[0][-1]
    other = "b" if first == "a" else "a"
    scene.failed(first)
    assert scene.did == [f"load {first}", f"cancel {first}", f"load {other}"]
    assert client.got == b""
    scene.loaded(other)
    await sent_to(scene, other, 1)
    answer(scene.wire(scene.at(other)))
    assert client.ended == "kept"
    scene.plane.close()


async def test_the_next_model_of_a_route_is_loaded_where_the_first_refuses(scene):
    route(scene, "any", "a", "b")
    _, client = scene.ask(model="any")
    scene.failed("a")
    assert scene.did == ["load a", "cancel a", "load b"]
    scene.failed("b", "it is broken, too")
    assert b"'b' could not be loaded: it is broken, too" in client.got


async def test_who_is_refused_waits_on_where_another_backend_may_have_room(scene):
    """One that memory knows nothing of: it is full, or comes back. From then on its time in the queue counts."""
    url = add_url(scene, "url", "a")
    scene.plane.ledger.take_out(url, "is gone")
    exchange, client = scene.ask(model="a")
    assert exchange.queued.registered is scene.backends[0]
    scene.plane.ledger.ready(url, scene.now)
    scene.plane.bound(url, Cap(0))
    scene.failed("a")
    assert (client.got, exchange.queued.registered) == (b"", None)
    assert exchange.queued.ticket.since < float("inf")
    scene.plane.bound(url, Cap(1))
    scene.plane.queues.offer_all()
    assert scene.asked() == [0, 0, 1]
    answer(scene.wire(2))
    assert client.ended == "kept"


async def test_a_model_that_is_removed_refuses_those_who_wait(scene):
    """Who can't go anywhere else is told so."""
    _, client = scene.ask(model="a")
    scene.plane.retire(scene.backends[0], "was removed")
    scene.loading.do(scene.residency.remove("a", scene.now))
    assert b"was removed from the configuration" in client.got
    assert scene.did == ["load a", "cancel a"]
    _, client = scene.ask(model="a")
    assert client.got.startswith(b"HTTP/1.1 503 ")


async def test_a_backend_that_memory_does_not_know_is_asked_for_nothing(scene):
    stranger = Backend("stranger", {"s": "s"}, resident="stranger")
    scene.plane.add(stranger)
    scene.plane.withdraw(stranger, "is not loaded", due=0.0)
    scene.plane.directory.rebuild()
    exchange, client = scene.ask(model="s")
    assert (exchange.queued.registered, client.got, scene.did) == (None, b"", [])
    exchange.cancel()


# Requests that may go elsewhere, too


async def test_a_backend_that_serves_answers_though_another_could_be_loaded(scene):
    """And the demand of those who wait for room there is known where it is loaded."""
    scene.add("c", "a")
    await loaded(scene, "a")
    scene.plane.bound(scene.backends[0], Cap(1))
    exchange, _ = scene.ask(model="a")
    assert exchange.queued.registered is scene.backends[0]
    assert scene.did == ["load a"]
    answer(scene.wire(0))
    await sent_to(scene, "a", 2)
    answer(scene.wire(0))


async def test_who_goes_elsewhere_waits_for_no_load_any_more(scene):
    url = add_url(scene, "url", "a")
    scene.plane.ledger.take_out(url, "is gone")
    _, client = scene.ask(model="a")
    scene.plane.ledger.ready(url, scene.now)
    scene.plane.queues.offer_all()
    assert scene.asked() == [0, 0, 1]
    assert scene.did == ["load a", "cancel a"]
    answer(scene.wire(2))
    assert client.ended == "kept"


async def test_another_replica_is_loaded_into_free_memory_where_that_is_sooner_than_waiting(monkeypatch):
    """At once, for a request that is sent, if its answer is to begin later than that; but not for each request."""
    scene = LoadingScene("a", "b", fits=2)
    scene.ask()
    first = scene.did[0][-1]
    other = "b" if first == "a" else "a"
    scene.loaded(first)
    await sent_to(scene, first, 1)
    assert scene.did == [f"load {first}"]
    estimate = scene.backends[scene.at(first)].estimate
    sent, looks = estimate.sent, Mock(wraps=scene.loading._seconds_if_unloaded)
    monkeypatch.setattr(scene.loading, "_seconds_if_unloaded", looks)

    def expect(seconds):
        """Expect the first token of a request in so many seconds."""

        def late(ask, cached, now):
            made = sent(ask, cached, now)
            made.due = now + seconds
            return made

        monkeypatch.setattr(estimate, "sent", late)

    expect(8.0)
    scene.loading._look_beside_at.clear()
    scene.ask()
    assert scene.did == [f"load {first}"]
    assert looks.called
    assert list(scene.loading._look_beside_at) == [scene.backends[scene.at(other)]]
    looks.reset_mock()
    expect(14.0)
    scene.ask()
    assert (scene.did, looks.called) == ([f"load {first}"], False)
    scene.loading._look_beside_at.clear()
    scene.ask()
    assert scene.did == [f"load {first}", f"load {other}"]
    scene.loading.look(scene.now + 10.0)
    assert not scene.loading._look_beside_at
    scene.plane.close()


async def test_a_replica_is_loaded_beside_where_nothing_has_ended_yet():
    """How long requests take is not known then, but how long they have waited is."""
    scene = LoadingScene("a", "b", fits=2)
    scene.ask()
    name = scene.did[0][-1]
    scene.loaded(name)
    await sent_to(scene, name, 1)
    scene.plane.bound(scene.backends[scene.at(name)], Cap(1))
    scene.ask()
    scene.loading.look(scene.now + 5)
    assert scene.did == [f"load {name}"]
    scene.loading.look(scene.now + 11)
    assert scene.did == [f"load {name}", f"load {'b' if name == 'a' else 'a'}"]
    scene.plane.close()


async def test_no_other_model_leaves_for_a_replica_that_is_loaded_beside(monkeypatch):
    scene = LoadingScene("a", "b", fits=1)
    scene.ask()
    name = scene.did[0][-1]
    scene.loaded(name)
    await sent_to(scene, name, 1)
    scene.plane.bound(scene.backends[scene.at(name)], Cap(1))
    scene.loading._look_beside_at.clear()
    monkeypatch.setattr(scene.plane.dispatcher, "pace", lambda _: 1000.0)
    scene.ask()
    assert scene.did == [f"load {name}"]
    assert scene.state("b" if name == "a" else "a") == "unloaded"
    scene.plane.close()


async def test_a_fallback_is_loaded_where_the_first_model_of_a_route_does_not_answer(scene):
    """The request waits for it, and goes there alone."""
    add_url(scene, "url", "u")
    route(scene, "any", "u", "a")
    _, client = scene.ask(model="any")
    scene.wire(2).head(503)
    assert scene.did == ["load a"]
    assert client.got == b""
    scene.plane.queues.offer_all()
    assert scene.asked() == [0, 0, 1]
    scene.loaded("a")
    await sent_to(scene, "a", 1)
    answer(scene.wire(0))
    assert client.ended == "kept"
    assert (scene.records[0].attempts, scene.records[0].backend) == (2, "a")


async def test_where_the_fallback_can_not_be_loaded_the_client_is_told(scene):
    """It doesn't wait for the one that has failed it."""
    add_url(scene, "url", "u")
    route(scene, "any", "u", "a")
    exchange, client = scene.ask(model="any")
    scene.wire(2).head(503)
    exchange.queued.look(scene.now + 1.0)
    scene.failed("a")
    assert b"'a' could not be loaded" in client.got


async def test_a_fallback_is_not_loaded_where_the_retry_budget_is_spent(scene):
    add_url(scene, "url", "u")
    route(scene, "any", "u", "a")
    scene.plane.ledger.budget.withdraw = lambda _: False
    _, client = scene.ask(model="any")
    scene.wire(2).fail(Failure.FIRST_BYTE_TIMEOUT)
    assert scene.did == []
    assert client.got.startswith(b"HTTP/1.1 504 ")


# A model that makes room


async def drains(scene, *, queued=1):
    """Have `a` drain for `b`, with one answer under way."""
    await loaded(scene, "a")
    for _ in range(queued):
        scene.ask(model="b")
    resident = scene.residency.residents()["a"]
    resident.turn.ends = 0.0
    scene.residency.residents()["b"].turn.joined -= 1000.0
    scene.loading.do(scene.residency.tick(scene.now))
    assert scene.state("a") == "draining"


async def test_no_running_answer_is_cut_and_nothing_new_is_sent_to_one_that_drains(scene):
    """New requests wait for its next turn."""
    await drains(scene)
    _, client = scene.ask(model="a")
    await asyncio.sleep(0)
    assert scene.asked() == [1, 0]
    assert scene.did == ["load a"]
    answer(scene.wire(0))
    assert scene.did == ["load a", "unload a"]
    scene.exited("a")
    scene.loaded("b")
    await sent_to(scene, "b", 1)
    assert client.got == b""


async def test_those_who_caused_a_load_are_served_though_it_drains(scene):
    """Each holds a lease; who comes later has none."""
    await loaded(scene, "b")
    asked = [scene.ask(model="a") for _ in range(3)]
    answer(scene.wire(1))
    scene.residency.residents()["b"].idle_since -= 1000.0
    scene.loading.do(scene.residency.tick(scene.now))
    scene.exited("b")
    scene.loaded("a")
    scene.did.clear()
    scene.plane.bound(scene.backends[0], Cap(1))
    await sent_to(scene, "a", 1)
    scene.ask(model="b")
    scene.residency.residents()["a"].turn.ends = 0.0
    scene.residency.residents()["b"].turn.joined -= 1000.0
    scene.loading.do(scene.residency.tick(scene.now))
    assert scene.state("a") == "draining"
    late, _ = scene.ask(model="a")
    for count in (1, 2, 3):
        await sent_to(scene, "a", count)
        assert scene.did == []
        answer(scene.wire(0))
    assert [client.ended for _, client in asked] == ["kept"] * 3
    assert scene.did == ["unload a"]
    assert scene.asked() == [3, 1]
    late.cancel()


async def test_one_that_goes_on_takes_new_requests_again(scene):
    """Those whom it drained for have left."""
    await loaded(scene, "a")
    exchange, _ = scene.ask(model="b")
    scene.residency.residents()["a"].turn.ends = 0.0
    scene.residency.residents()["b"].turn.joined -= 1000.0
    scene.loading.do(scene.residency.tick(scene.now))
    _, client = scene.ask(model="a")
    assert scene.plane.ledger.draining == {scene.backends[0]}
    exchange.cancel()
    assert scene.plane.ledger.draining == set()
    await sent_to(scene, "a", 2)
    answer(scene.wire(0))
    assert client.ended == "kept"


async def test_a_retry_at_one_that_drains_is_made_before_it_ends(scene):
    """It isn't idle in between: another attempt of the same request follows."""
    await drains(scene)
    scene.wire(0).fail(Failure.STALE)
    await sent_to(scene, "a", 2)
    assert scene.did == ["load a"]
    answer(scene.wire(0))
    assert scene.did == ["load a", "unload a"]


async def test_a_retry_goes_to_none_that_drains(scene):
    """It waits for it to be loaded again, rather."""
    await drains(scene)
    url = add_url(scene, "url", "a")
    exchange, client = scene.ask(model="a")
    assert scene.asked() == [1, 0, 1]
    scene.wire(2).fail(Failure.FIRST_BYTE_TIMEOUT)
    assert client.got.startswith(b"HTTP/1.1 504 ")
    scene.plane.withdraw(url, "is gone")
    exchange, client = scene.ask(model="a")
    assert (client.got, exchange.queued.registered) == (b"", scene.backends[0])
    assert scene.asked() == [1, 0, 1]
    exchange.cancel()


async def test_an_engine_that_crashed_while_it_drained_takes_new_requests_after_its_next_load(scene):
    await drains(scene)
    scene.exited("a")
    scene.loading.do(scene.residency.exited("a", scene.now))
    scene.loaded("b")
    await sent_to(scene, "b", 1)
    answer(scene.wire(1))
    scene.residency.residents()["b"].idle_since -= 1000
    scene.ask(model="a")
    scene.exited("b")
    scene.loaded("a")
    scene.ask(model="a")
    await sent_to(scene, "a", 3)


# How long one waits


async def test_the_time_in_the_queue_begins_when_the_model_is_loaded(scene):
    """Until then, nobody waits too long."""
    timeout = scene.plane.dispatcher.admission.bounds.queue_timeout
    exchange, client = scene.ask(model="a", stream=False)
    ticket = exchange.queued.ticket
    scene.plane.queues.look(scene.now + 10 * timeout)
    assert client.got == b""
    scene.plane.bound(scene.backends[0], Cap(0))
    scene.loaded("a")
    assert scene.now - ticket.since < timeout
    scene.plane.queues.look(scene.now + timeout - 1)
    assert client.got == b""
    scene.plane.queues.look(scene.now + timeout + 1)
    assert b'"code":"queue_timeout"' in client.got


async def test_it_stops_while_a_model_makes_room_for_others(scene):
    """And begins anew if it goes on."""
    await loaded(scene, "a")
    scene.plane.bound(scene.backends[0], Cap(1))
    waits, _ = scene.ask(model="a")
    ticket = waits.queued.ticket
    assert ticket.since < float("inf")
    exchange, _ = scene.ask(model="b")
    scene.residency.residents()["a"].turn.ends = 0.0
    scene.residency.residents()["b"].turn.joined -= 1000.0
    scene.loading.do(scene.residency.tick(scene.now))
    assert ticket.since == float("inf")
    exchange.cancel()
    assert ticket.since < float("inf")


async def test_what_nobody_told_is_seen_at_the_next_look(scene):
    """An engine that served has ended by itself."""
    await loaded(scene, "a")
    scene.plane.bound(scene.backends[0], Cap(1))
    waits, _ = scene.ask(model="a")
    scene.residency.exited("a", scene.now)
    scene.loading.look(scene.now)
    assert waits.queued.ticket.since == float("inf")
    assert scene.loading.is_awaited(waits.queued)


async def test_a_request_that_waited_for_a_load_may_wait_for_an_engine_that_crashed(scene):
    """The load isn't counted as its age."""
    exchange, client = scene.ask(model="a")
    exchange.began -= 1000
    exchange.queued.ticket.entered -= 1000
    exchange.queued.ticket.stopped -= 1000
    scene.loaded("a")
    await sent_to(scene, "a", 1)
    assert exchange.queued.uncounted > 999
    scene.plane.withdraw(scene.backends[0], "starts again", due=0.0)
    scene.wire(0).fail(Failure.REFUSED)
    assert client.got == b""
    assert exchange.queued.ticket is not None


# What those are told who wait


async def test_a_client_that_streams_is_told_of_the_load(scene):
    """After a second, then each five; and from when it is there, of those before it."""
    (exchange, client), (_, silent) = scene.ask(model="a"), scene.ask(model="a", stream=False)
    entered = exchange.queued.ticket.entered
    for now, told in ((entered + 0.9, 0), (entered + 1.1, 1), (entered + 5.9, 1), (entered + 6.2, 2)):
        scene.residency.progress("a", now, 0.45)
        scene.plane.queues.tell_places(now)
        assert client.got.count(b": loading a: 45%, about ") == told
    assert silent.got == b""
    assert client.got.startswith(b"HTTP/1.1 200 ")
    scene.plane.bound(scene.backends[0], Cap(0))
    scene.loaded("a")
    scene.plane.queues.tell_places(entered + 12.0)
    assert b": queued, 0 before you\n" in client.got


async def test_a_client_is_told_what_its_model_waits_for(scene):
    await loaded(scene, "a")
    exchange, client = scene.ask(model="b")
    scene.plane.queues.tell_places(exchange.queued.ticket.entered + 1.1)
    assert b": b waits for memory, about " in client.got


async def test_the_status_tells_of_the_load(scene, monkeypatch):
    """Of those who wait for one; for all who wait for the same one it is worked out once."""
    asked = [scene.ask(model="a") for _ in range(3)]
    scene.residency.progress("a", scene.now, 0.25)
    place = Mock(wraps=scene.residency.place)
    monkeypatch.setattr(scene.residency, "place", place)
    told = scene.plane.queues.told()["a"]
    assert place.call_count == 1
    for each in told:
        assert {name: each["loading"][name] for name in ("backend", "stage", "share")} == {
            "backend": "a",
            "stage": "loading",
            "share": 0.25,
        }
        assert each["loading"]["seconds"] <= 10.0
        assert "'a'" in each["loading"]["reason"]
    scene.plane.bound(scene.backends[0], Cap(0))
    scene.loaded("a")
    assert "loading" not in scene.plane.queues.told()["a"][0]
    for exchange, _ in asked:
        exchange.cancel()


# What memory is told


async def test_memory_hears_whose_request_it_is_and_how_long_the_model_stays(monkeypatch):
    """Of one that waits, and of one that goes at once."""
    scene = LoadingScene(models="a", order=ByKey({"key": 1.0}))
    wanted, sent = Mock(wraps=scene.residency.wanted), Mock(wraps=scene.residency.sent)
    monkeypatch.setattr(scene.residency, "wanted", wanted)
    monkeypatch.setattr(scene.residency, "sent", sent)
    scene.ask(model="a", stay=Stay(60.0), caller=Caller("alice"))
    scene.loaded("a")
    await sent_to(scene, "a", 1)
    answer(scene.wire(0))
    scene.ask(model="a", stay=Stay(None), caller=Caller("bob"))
    scene.ask(model="a")
    told = [call.kwargs for call in (*wanted.call_args_list, *sent.call_args_list)]
    assert [each["key"] for each in told] == ["alice", "alice", "bob", ""]
    assert [each["keep_alive"] for each in told] == [60.0, 60.0, None, None]
    scene.plane.close()


async def test_a_model_leaves_at_once_if_a_request_says_so(scene):
    scene.ask(model="a", stay=Stay(0.0))
    scene.loaded("a")
    await sent_to(scene, "a", 1)
    assert scene.did == ["load a"]
    answer(scene.wire(0))
    assert scene.did == ["load a", "unload a"]


async def test_what_follows_from_a_decision_comes_after_the_rest_of_it(scene):
    """An action that has others follow is done whole first; a mistake in one stops none of the others."""
    done: list[str] = []
    loading = scene.loading

    def carry_out(action):
        done.append(action.backend)
        if action.backend == "first":
            loading.do([_Step("third")])
            raise ValueError("a bug")

    loading._carry_out = carry_out
    loading.do([_Step("first"), _Step("second")])
    assert done == ["first", "second", "third"]


class _Step:
    def __init__(self, backend):
        self.backend = backend


async def test_a_refusal_that_comes_too_late_changes_nothing(scene):
    """Its request has left, or waits elsewhere by now."""
    exchange, client = scene.ask(model="a")
    refusals = scene.residency.failed("a", "it is broken", scene.now)
    exchange.cancel()
    got = client.got
    scene.loading.do(refusals)
    assert client.got == got
    assert scene.loading._registered == {}


async def test_memory_may_know_a_backend_by_another_name(scene):
    """As it does one that replaces another."""
    await loaded(scene, "a")
    answer(scene.wire(0))
    scene.plane.retire(scene.backends[0], "was replaced")
    scene.loading.do(scene.residency.remove("a", scene.now))
    backend = scene.add("a", "a", resident="a~")
    _, client = scene.ask(model="a")
    scene.exited("a")
    assert scene.did == ["load a", "unload a", "load a~"]
    scene.loaded("a~")
    await eventually(lambda: backend.in_flight == 1)
    answer(scene.wire(2))
    assert client.ended == "kept"


# Whatever happens


class _Play:
    """Plays clients, engines and the fleet at random, and checks after each step what must always hold."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a failure is to be seen again
        self.scene = LoadingScene(models="abcd", fits=2)
        route(self.scene, "any", "c", "d")
        self.exchanges: list[Exchange] = []

    def step(self) -> None:
        """Do one thing at random; loads and exits that were asked for are done sooner or later."""
        scene, residents = self.scene, self.scene.residency.residents()
        told = [each for each in residents.values() if each.state.value in {"loading", "unloading"}]
        wires = [wire for pool in scene.pools for wire in pool.made_of if wire.receiver and not wire.aborted]
        do = self.random.choice(["ask", "ask", "ask", "answer", "answer", "answer", "fleet", "leave", "fail", "tick"])
        if do == "ask":
            self.exchanges.append(scene.ask(model=self.random.choice(["a", "b", "c", "d", "any"]), stream=False)[0])
        elif do == "answer" and wires:
            wire = self.random.choice(wires)
            answer(wire)
            wire.receiver = None
        elif do == "fail" and wires:
            self.random.choice(wires).fail(self.random.choice([Failure.CLOSED, Failure.STALE]))
        elif do == "leave" and self.exchanges:
            self.exchanges.pop(self.random.randrange(len(self.exchanges))).cancel()
        elif do == "fleet" and told:
            self.move(self.random.choice(told).name)
        elif do == "tick":
            for each in residents.values():
                each.idle_since -= 100.0
                each.turn.ends -= 100.0
                each.turn.joined -= 100.0
            scene.loading.do(scene.residency.tick(scene.now))
            scene.plane._look_at_all()

    def move(self, name: str) -> None:
        """Have the fleet do what it was told: a load ends well, or not; an engine ends."""
        scene = self.scene
        if scene.state(name) == "unloading":
            scene.exited(name)
        elif self.random.random() < 0.1:
            scene.loading.do(scene.residency.failed(name, "it is broken", scene.now))
        else:
            scene.loaded(name)

    def check(self) -> None:
        """Check that memory, the ledger and the queue agree, and that nothing is sent where nothing is loaded."""
        scene = self.scene
        waiting = [ticket.payload for name in "abcd" for ticket in scene.plane.dispatcher.admission.order(name)]
        registered = {each: backend for backend, those in scene.loading._registered.items() for each in those}
        assert set(registered) <= set(waiting)
        assert all(each.registered is registered[each] for each in registered)
        for backend in scene.backends:
            resident = scene.residency.residents()[backend.name]
            assert len(resident.in_flight) == backend.in_flight
            assert set(resident.waiting) == set(scene.loading._registered.get(backend, ()))
            is_loaded = scene.state(backend.name) in {"loaded", "draining"}
            assert not backend.in_flight or is_loaded
            assert backend.health.absent is not is_loaded
            assert (backend in scene.plane.ledger.draining) is (scene.state(backend.name) == "draining")

    async def end(self) -> None:
        """Answer everybody: nobody is forgotten."""
        for _ in range(1000):
            for each in self.scene.residency.residents().values():
                if each.state.value in {"loading", "unloading"}:
                    self.move(each.name)
                each.turn.ends, each.idle_since, each.turn.joined = 0.0, 0.0, each.turn.joined - 100.0
            for pool in self.scene.pools:
                for wire in pool.made_of:
                    if wire.receiver and not wire.aborted:
                        answer(wire)
                        wire.receiver = None
            self.scene.loading.do(self.scene.residency.tick(self.scene.now))
            await _turns()
            if not self.scene.plane.exchanges:
                return
        raise AssertionError([each.queued for each in self.scene.plane.exchanges])


async def _turns() -> None:
    """Let the loop do what was planned: offers, and connections."""
    for _ in range(4):
        await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_memory_and_the_queue_agree_and_everybody_is_answered(seed):
    """With engines that fail, clients that leave, loads that fail, and models that make room for others."""
    play = _Play(seed)
    for _ in range(300):
        play.step()
        await _turns()
        play.check()
    await play.end()
    play.check()
    assert not play.scene.loading._registered
    assert len(play.scene.records) == play.scene.plane.asked
    play.scene.plane.close()
