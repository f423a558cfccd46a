"""Why a backend isn't loaded, and that it is tried again."""

from router.core.memory.states import State
from tests.fakes.memory_scene import Scene, backend


def test_what_can_never_fit_is_short_of_memory():
    scene = Scene(backend("big", 30), "a")
    short = scene.residency.shortage("big", 0.0)
    assert short is not None
    assert "It needs 30.0 GiB of gpu0" in short.message
    assert scene.residency.shortage("a", 0.0) is None


def test_people_read_the_names_that_they_wrote():
    """A successor beside the one that it replaces has another one here."""
    scene = Scene(backend("a", 12, pinned=True, title="chat"), backend("b", 12, title="code"))
    scene.serve("a1")
    assert scene.want("b1") == "refuse b1"
    message = scene.refused[0].error.message
    assert message.startswith(
        "'code' can't be loaded. It needs 12.0 GiB of gpu0, of which 8.0 GiB can be free (12.0 GiB"
    )
    assert "by chat stays" in message
    scene.want("a2")
    place = scene.residency.place("a2", scene.now)
    assert place is None or place.reason.startswith("'chat'")


def test_what_failed_says_why_until_it_loads():
    scene = Scene("a")
    assert scene.residency.failure("a", 0.0) is None
    scene.want("a1")
    scene.failed("a")
    scene.exited("a")
    failure = scene.residency.failure("a", scene.now)
    assert failure is not None
    assert "'a' could not be loaded" in failure.message
    scene.at(1000).want("a2")
    scene.loaded("a")
    assert scene.residency.failure("a", scene.now) is None


def test_what_is_forgiven_is_tried_by_the_next_request():
    scene = Scene("a")
    scene.want("a1")
    scene.failed("a")
    scene.exited("a")
    assert scene.residency.state("a") is State.FAILED
    assert scene.want("a2") == "refuse a2"
    assert scene.told(scene.residency.forgive("a", scene.now)) == ""
    assert scene.want("a3") == "load a"
