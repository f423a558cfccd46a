from router.core.memory.order import ByKey
from router.core.memory.resident import Policy
from tests.fakes.memory_scene import Scene, backend


def warm(scene: Scene, name: str, gaps: int = 20) -> None:
    """Load a backend and let one agent use it, with half a second between its requests."""
    scene.serve(f"{name}0")
    for _ in range(gaps):
        scene.at(scene.now + 0.5).want(f"{name}0")
        scene.at(scene.now + 1.0).end(f"{name}0")


# ------------------------------------------------------------------- turns


def test_in_its_turn_a_backend_that_is_about_to_be_wanted_stays():
    """An agent that reads an answer is idle for half a second; for another model that is no room."""
    scene = Scene(backend("a", 12), backend("b", 12))
    warm(scene, "a", 10)
    scene.at(scene.now + 0.1)
    assert scene.want("b1") == ""
    assert scene.want("a1") == "send a1"
    assert scene.states() == "a loaded, b queued"


def test_one_that_is_idle_for_long_leaves_at_once():
    """It is no longer about to be wanted, though its turn isn't over: nobody waits for nothing."""
    scene = Scene(backend("a", 12), backend("b", 12))
    warm(scene, "a", 3)
    scene.want("b1")
    assert scene.states() == "a loaded, b queued"
    assert scene.at(scene.now + 4).tick() == "unload a"


def test_the_more_wait_the_less_an_idle_one_is_waited_for():
    """An agent's pause is waited for by one request of another model, and not by twenty."""
    scene = Scene(backend("a", 12), backend("b", 12))
    warm(scene, "a", 10)
    scene.at(scene.now + 0.1).want("b1")
    assert scene.tick() == ""
    scene.want(*[f"b{number}" for number in range(2, 30)])
    assert scene.tick() == "unload a"


def test_a_turn_ends():
    """After four times what a swap takes, and once the other has waited for as long as a reload, new requests wait."""
    scene = Scene(backend("a", 12), backend("b", 12))
    scene.want("a0")
    scene.at(10).loaded("a")
    assert scene.residency.residents()["a"].turn.ends == 10 + 4 * 12
    scene.at(20).want("b1")
    assert scene.at(57).tick() == ""
    assert scene.want("a1") == "send a1"
    assert scene.at(58).tick() == "drain a"
    assert scene.states() == "a draining, b queued"


def test_one_that_was_loaded_for_long_waits_for_patience_alone():
    """A backend whose turn is long over drains for another as soon as that has waited for as long as a reload."""
    scene = Scene(backend("a", 12), backend("b", 12))
    scene.want("a0")
    scene.at(10).loaded("a")
    scene.at(1000).want("b1")
    assert scene.at(1009).tick() == ""
    assert scene.states() == "a loaded, b queued"
    scene.at(1010).tick()
    assert scene.states() == "a draining, b queued"


def test_models_take_turns():
    """One that had its turn goes behind those that wait, however old its own requests are."""
    scene = Scene(*[backend(each, 12) for each in "abc"])
    scene.want("a1")
    scene.at(10).loaded("a")
    scene.at(20).want("b1")
    scene.at(21).want("c1")
    scene.at(58).tick()
    scene.want("a2")
    scene.at(60).end("a1")
    assert scene.exited("a") == "load b"
    scene.at(70).loaded("b")
    scene.end("b1")
    scene.tick()
    assert scene.exited("b") == "load c"
    scene.at(80).loaded("c")
    scene.end("c1")
    assert scene.exited("c") == "load a"


def test_requests_of_a_model_are_gathered():
    """ABCABC becomes AABBCC: a load serves all that wait for its model."""
    scene = Scene(*[backend(each, 12) for each in "abc"])
    scene.want("a1", "b1", "c1", "a2", "b2", "c2")
    sent = [scene.at(10).loaded("a"), scene.end("a1", "a2")]
    scene.exited("a")
    sent += [scene.at(20).loaded("b"), scene.end("b1", "b2")]
    scene.exited("b")
    sent += [scene.at(30).loaded("c")]
    assert sent == ["send a1, send a2", "unload a", "send b1, send b2", "unload b", "send c1, send c2"]


def test_while_others_wait_only_as_many_go_as_are_served_at_once():
    """So a backend that must drain is soon idle; where nobody waits for memory, all go."""
    scene = Scene(backend("a", 12, slots=2), backend("b", 12))
    scene.serve("b0")
    scene.at(100).want("a1", "a2", "a3", "a4")
    scene.exited("b")
    scene.want("b1")
    assert scene.at(110).loaded("a") == "send a1, send a2"
    assert scene.end("a1") == "send a3"
    assert scene.end("b1") == "send a4"


# ---------------------------------------------------------------- max_wait


def test_nobody_is_overtaken_for_longer_than_max_wait():
    """In time to be idle and to be loaded within it, all that isn't pinned drains, in its turn or not."""
    scene = Scene(backend("a", 12, load_seconds=30.0), backend("b", 12))
    scene.want("a1")
    scene.at(30).loaded("a")
    scene.at(31).want("b1")
    assert scene.residency.residents()["a"].turn.ends == 30 + 4 * 32
    scene.at(31 + 120 - 12 - 4 - 1).tick()
    assert scene.states() == "a loaded, b queued"
    scene.at(31 + 120 - 12 - 4).tick()
    assert scene.states() == "a draining, b queued"


def test_a_swap_that_takes_longer_than_max_wait_is_waited_for_by_half():
    """Else each request would swap at once."""
    scene = Scene(backend("a", 12), backend("b", 12, load_seconds=500.0), policy=Policy(patience=50))
    scene.want("a1")
    scene.at(10).loaded("a")
    scene.want("b1")
    assert scene.at(10 + 59).tick() == ""
    assert scene.states() == "a loaded, b queued"
    scene.at(10 + 60).tick()
    assert scene.states() == "a draining, b queued"


def test_smaller_models_pass_until_it_is_too_late():
    """One that fits beside may load while a large one waits, but not when that has waited for too long."""
    scene = Scene(backend("a", 12), backend("b", 16), backend("c", 2), backend("d", 2))
    scene.want("a1")
    scene.at(10).loaded("a")
    assert scene.want("b1") == ""
    assert scene.want("c1") == "load c"
    scene.at(130).tick()
    assert scene.want("d1") == ""
    assert scene.states() == "a draining, b queued, c loading, d queued"


def test_who_is_late_goes_before_all_others_the_oldest_first():
    """Ranks and turns count no more then."""
    scene = Scene(*[backend(each, 12) for each in "abc"], policy=Policy(max_wait=40.0))
    scene.want("a1")
    scene.want("c1")
    scene.at(5).want("b1")
    scene.at(60).loaded("a")
    assert scene.end("a1") == "unload a"
    assert scene.exited("a") == "load c"


# ----------------------------------------------------------- keys' fairness


def test_a_key_that_asks_for_many_models_delays_others_by_one():
    """Fair between keys across models: a key's first request goes before another's third, whatever the models."""
    scene = Scene(*[backend(each, 12) for each in "abcdz"], order=ByKey())
    scene.want("a1", "b1", "c1", "d1", key="greedy")
    scene.want("z1", key="modest")
    order = []
    for _ in range(5):
        order.append(scene.loads[-1].backend)
        name = order[-1]
        scene.at(scene.now + 10).loaded(name)
        scene.end(f"{name}1")
        scene.exited(name)
    assert order == ["a", "z", "b", "c", "d"]


def test_of_one_model_s_requests_those_of_the_modest_key_go_first():
    """Also among those that wait for the same backend, and in who holds a lease."""
    scene = Scene(backend("a", 12, slots=1), backend("b", 12), order=ByKey())
    scene.serve("b0")
    scene.at(100).want("a1", "a2", "a3", key="greedy")
    scene.want("a4", key="modest")
    scene.exited("b")
    scene.want("b1")
    assert scene.at(110).loaded("a") == "send a1"
    assert scene.end("a1") == "send a4"
    assert scene.end("a4") == "send a2"


# ----------------------------------------------------------------- victims


def test_one_that_fits_by_half_is_not_evicted_in_vain():
    """Where all that may leave isn't enough, nobody leaves."""
    scene = Scene(backend("a", 4), backend("b", 12), backend("c", 16))
    scene.want("a1", "b1")
    scene.at(10).loaded("a")
    scene.end("a1")
    scene.loaded("b")
    assert scene.at(30).want("c1") == ""
    assert scene.states() == "a loaded, b loaded, c queued"


def test_two_that_wait_don_t_count_the_same_victim():
    """The bytes that one was promised are no other's."""
    scene = Scene(*"abcd")
    scene.serve("a1")
    scene.serve("b1")
    scene.at(500)
    assert scene.want("c1") == "unload a"
    assert scene.want("d1") == "unload b"
    assert scene.exited("a") == "load c"
    assert scene.states() == "b unloading, c loading, d queued"


def test_the_one_that_is_wanted_more_often_stays():
    """Of two that cost the same, the one that was idle for longer may be the one to keep."""
    scene = Scene(backend("a"), backend("b"), backend("c"))
    scene.serve("a0")
    scene.serve("b0")
    for number in range(12):
        scene.at(scene.now + 60.0).want(f"a{number}")
        scene.end(f"a{number}")
    scene.at(scene.now + 0.1).want("b1")
    scene.end("b1")
    assert scene.at(scene.now + 55).want("c1") == "unload b"


def test_a_device_over_its_limit_has_idle_ones_leave_on_that_device_alone():
    """Relief counts what is on its way, and takes no more than is needed."""
    scene = Scene(*[backend(each, 5) for each in "abcd"])
    for each in "abc":
        scene.serve(f"{each}1")
    scene.at(500).want("d1")
    assert scene.at(510).loaded("d", gpu0=6) == "unload a, send d1"
    assert scene.tick() == ""
    assert scene.exited("a") == ""
    assert scene.states() == "b loaded, c loaded, d loaded"
