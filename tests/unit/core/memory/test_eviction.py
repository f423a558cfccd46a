from itertools import combinations
from random import Random

import pytest

from router.core.memory.eviction import Candidate, choose


def candidates(text: str) -> list[Candidate]:
    """Read candidates as `a:8/3`: 8 bytes on the GPU, worth 3 seconds; `b:8+2/3` has 2 of RAM, too."""
    made = []
    for each in text.split():
        name, _, rest = each.partition(":")
        sizes, _, worth = rest.partition("/")
        gpu, _, ram = sizes.partition("+")
        made.append(Candidate(name, {"gpu": int(gpu), "ram": int(ram or 0)}, float(worth)))
    return made


@pytest.mark.parametrize(
    ("lacking", "among", "expected"),
    [
        ({"gpu": 8}, "", None),
        ({"gpu": 0}, "a:8/1", ""),
        ({"gpu": 8}, "a:4/1", None),
        ({"gpu": 8}, "a:8/5 b:8/1", "b"),
        ({"gpu": 8}, "a:8/5 b:4/1 c:4/1", "b c"),  # two cheap ones rather than one dear one
        ({"gpu": 8}, "a:8/2 b:4/1 c:4/1", "a"),  # fewer, where they cost the same
        ({"gpu": 8}, "a:2/0 b:9/3", "b"),  # nobody leaves for nothing
        ({"gpu": 8}, "a:0+9/0 b:8/9", "b"),  # bytes of another device don't help
        ({"gpu": 4, "ram": 4}, "a:4/1 b:0+4/1 c:4+4/3", "a b"),
        ({"gpu": 4, "ram": 4}, "a:4/1 b:0+4/3 c:4+4/3", "c"),
        ({"gpu": 4, "ram": 4}, "a:9/1", None),
        ({"gpu": 10}, "a:6/1 b:6/1 c:10/1.5", "c"),  # by worth per byte alone it would be a and b
    ],
)
def test_the_cheapest_set_that_is_enough(lacking, among, expected):
    """The set of least worth that frees what is lacking on each device, and nobody more."""
    chosen = choose(lacking, candidates(among))
    assert (None if chosen is None else " ".join(sorted(each.name for each in chosen))) == expected


def _random(random: Random, count: int) -> tuple[dict[str, int], list[Candidate]]:
    made = [
        Candidate(f"c{n}", {"gpu": random.randint(0, 9), "ram": random.randint(0, 9)}, random.randint(0, 20))
        for n in range(count)
    ]
    return {"gpu": random.randint(0, 20), "ram": random.randint(0, 20)}, made


def _is_enough(lacking: dict[str, int], some: tuple[Candidate, ...]) -> bool:
    return all(sum(each.holds[device] for each in some) >= size for device, size in lacking.items())


@pytest.mark.parametrize("seed", range(60))
def test_few_are_searched_wholly(seed):
    """Of up to a dozen, no set is cheaper than the one chosen: compared with all of them."""
    lacking, made = _random(Random(seed), 7)  # noqa: S311
    sets = [some for size in range(8) for some in combinations(made, size) if _is_enough(lacking, some)]
    chosen = choose(lacking, made)
    if chosen is None:
        assert not sets
        return
    assert _is_enough(lacking, chosen)
    assert sum(each.worth for each in chosen) == min(sum(each.worth for each in some) for some in sets)


@pytest.mark.parametrize("seed", range(30))
def test_of_many_none_leaves_in_vain(seed):
    """Of more than are searched, the set is enough, and without any of them it isn't."""
    lacking, made = _random(Random(seed), 40)  # noqa: S311
    chosen = choose(lacking, made)
    assert chosen is not None
    assert _is_enough(lacking, chosen)
    for one in chosen:
        assert not _is_enough(lacking, tuple(each for each in chosen if each is not one))
