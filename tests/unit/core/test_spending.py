import pytest

from router.core.ending import Ending
from router.core.record import ANSWERED, Record
from router.core.spending import LONGEST, Pending, Spending
from router.core.timeline import Try
from router.core.usage import Price, Use

SAID = Ending(12, 40, "stop", error=False)
ONE = Use(12, 0, 40, estimated=False)
MIDNIGHT = 1_000_000.0


def record(model: str, key: str = "") -> Record:
    tries = (Try("box", None, 0.0, 0.1, 0.2, 0.3, 200, ANSWERED, 100),)
    return Record(
        "id", "/v1/chat/completions", model, "box", 200, ANSWERED, 1, None, 9.0, 10, 0, b"", key=key, tries=tries
    )


class Scene:
    """What is spent at a box where a name means itself, in lower case; the day is before or after `MIDNIGHT`."""

    def __init__(self, most: int = 4096) -> None:
        self.begun = 0
        self.asked: list[str] = []
        self.catalog: object = object()
        self.price = 10.0
        self.pending = Pending(self._begin)
        self.spending = Spending(self.pending, self._names, lambda: self.catalog, self._calendar, most)

    def _begin(self) -> None:
        self.begun += 1

    def _names(self, name: str, backend: str) -> tuple[str, Price]:
        assert backend == "box"
        self.asked.append(name)
        return name.lower(), Price(output=self.price)

    def _calendar(self, wall: float) -> tuple[str, float]:
        return ("one", MIDNIGHT) if wall < MIDNIGHT else ("two", wall + LONGEST)

    def count(self, model: str = "demo", wall: float = 0.0, key: str = "") -> tuple[Use, float]:
        """Count a request."""
        return self.spending.count(record(model, key), "box", SAID, wall)

    @property
    def sums(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        """What waits: requests and tokens."""
        return {place: (each.requests, each.completion) for place, each in self.pending.sums.items()}


@pytest.fixture
def scene():
    return Scene()


def test_what_a_request_has_used_and_of_what_money(scene):
    use, money = scene.count()
    assert (use.prompt, use.completion, use.estimated, money) == (12, 40, False, 0.0004)


def test_each_day_key_and_model_has_a_sum(scene):
    """Different names of one model have the same; the first of them all is told."""
    for name in ("demo", "Demo", "other"):
        scene.count(name, MIDNIGHT - 1)
    scene.count(wall=MIDNIGHT - 1, key="alice")
    scene.count(wall=MIDNIGHT)
    assert scene.sums == {
        ("one", "", "demo"): (2, 80),
        ("one", "", "other"): (1, 40),
        ("one", "alice", "demo"): (1, 40),
        ("two", "", "demo"): (1, 40),
    }
    assert scene.begun == 1


def test_a_clock_that_is_set_back_changes_the_day(scene):
    """The calendar is looked at again, at the latest after a quarter of an hour."""
    for wall in (MIDNIGHT, MIDNIGHT + LONGEST, MIDNIGHT - 1):
        scene.count(wall=wall)
    assert [(day, count) for (day, _, _), (count, _) in scene.sums.items()] == [("two", 2), ("one", 1)]


def test_what_was_taken_is_not_counted_again(scene):
    scene.count()
    scene.pending.take()
    assert scene.sums == {}
    scene.count()
    assert (list(scene.sums.values()), scene.begun) == ([(1, 40)], 2)


def test_names_are_looked_up_once(scene):
    """Again once they, or prices, mean something else."""
    for _ in range(3):
        scene.count()
    assert scene.asked == ["demo"]
    scene.catalog = object()
    scene.count()
    assert scene.asked == ["demo"] * 2
    scene.price = 20.0
    scene.spending.forget()
    assert scene.count()[1] == 0.0008
    assert scene.spending._of("demo", "box")[1].output == 20.0


def test_any_number_of_names_is_bounded():
    scene = Scene(most=10)
    for number in range(100):
        scene.count(f"gpt-{number}")
        scene.count(f"gpt-{number}")
        assert len(scene.spending._known) <= 10
    assert sum(requests for requests, _ in scene.sums.values()) == 200


def test_what_was_used_is_added():
    scene = Scene()
    scene.pending.add(("one", "", "demo"), ONE, 0.5)
    scene.pending.add(("one", "", "demo"), ONE, 0.5)
    (known,) = scene.pending.sums.values()
    assert (known.prompt, known.cost) == (24, 1.0)
