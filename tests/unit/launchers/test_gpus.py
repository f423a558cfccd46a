"""Turns and shares of GPUs: who may start, with how much, and what is said of it."""

from dataclasses import replace

import pytest

from launchers.gpus import BESIDE, SETTLE, Claim, Line, StartVerdict, dealt, fit, floored, lacking, with_share
from profiles.parsers import Gpu

GIB = 1 << 30
CARD, OTHER_CARD = "NVIDIA 0", "NVIDIA 1"


def card(free: float = 79.5, number: int = 0) -> Gpu:
    return Gpu("NVIDIA", "NVIDIA H100", 80 * GIB, number=number, free_bytes=int(free * GIB))


def claim(share: float | None = 0.45, *gpus: str, **more: object) -> Claim:
    return Claim(gpus or (CARD,), share, **more)  # type: ignore[arg-type]


HALF = claim()
LLAMA = claim(None)


# Turns


def test_who_shares_a_gpu_waits_for_who_starts_there():
    line = Line(0)
    assert line.ask("a", HALF) == ""
    assert line.ask("b", HALF) == "waits until a has started: they share NVIDIA GPU 0"
    assert line.ask("c", claim(0.9, OTHER_CARD)) == ""
    line.started("a")
    assert line.ask("b", HALF) == ""


def test_turns_come_in_the_order_in_which_they_were_asked_for():
    line = Line(0)
    for name in "abc":
        line.ask(name, HALF)
    assert line.waiting == ("b", "c")
    line.gone("a", 1)
    assert line.ask("c", HALF) == "waits for its turn to start, after b: they share NVIDIA GPU 0"
    assert line.ask("b", HALF) == ""
    line.gone("b", 2)
    assert line.ask("c", HALF) == ""


def test_who_waits_no_longer_holds_up_nobody():
    line = Line(0)
    for name in "abc":
        line.ask(name, HALF)
    line.gone("b", 1)
    line.started("a")
    assert line.ask("c", HALF) == ""


def test_who_was_taken_over_while_it_waited_stands_in_the_line_no_more():
    """Its earlier router may end only after the first time that it asked."""
    line = Line(0)
    for name in "abc":
        line.ask(name, HALF)
    line.adopted("b", HALF)
    assert line.waiting == ("c",)
    line.started("a")
    assert line.ask("c", HALF) == ""


def test_engines_without_a_share_wait_for_none_of_their_kind():
    """But vllm counts what they take as its own, and so they wait for it, and it for them."""
    line = Line(0)
    assert line.ask("a", LLAMA) == line.ask("b", LLAMA) == ""
    assert line.ask("c", HALF) == "waits until a has started: they share NVIDIA GPU 0"
    assert line.ask("d", LLAMA) == "waits for its turn to start, after c: they share NVIDIA GPU 0"


def test_one_that_lacks_memory_lets_the_next_go_first():
    line = Line(0)
    line.ask("large", claim(0.9, least=70 * GIB))
    line.ask("small", claim(0.1))
    verdict = line.look("large", [card(free=20)], 100)
    assert verdict.lacks
    assert line.ask("small", claim(0.1)) == ""
    assert line.look("small", [card(free=20)], 100) == StartVerdict(share=0.1)


def test_a_share_is_not_lowered_while_memory_may_still_be_given_back():
    line = Line(0)
    line.ask("a", HALF)
    line.look("a", [card()], SETTLE + 1)
    line.started("a")
    line.gone("a", 100)
    line.ask("a", HALF)
    verdict = line.look("a", [card(free=20)], 101)
    assert (verdict.lacks, verdict.why) == (True, "waits for memory of NVIDIA GPU 0 that was in use to be given back")
    line.ask("a", HALF)
    assert line.look("a", [card(free=20)], 101 + SETTLE).share == 0.23


NEEDS = claim(needs=0.2, least=16 * GIB)


def test_who_starts_first_leaves_what_it_needs_to_who_wants_to_start_too():
    """Also where that one was sent away, as memory may still be given back; but not more than what is free."""
    line = Line(0)
    line.ask("a", NEEDS)
    line.ask("b", NEEDS)
    assert line.look("a", [card(free=45)], 1).lacks
    assert line.ask("b", NEEDS) == ""
    assert line.look("b", [card(free=45)], 1).lacks
    line.ask("a", NEEDS)
    assert line.look("a", [card(free=45)], SETTLE + 1).share == 0.27
    line.started("a")
    line.ask("b", NEEDS)
    assert line.look("b", [card(free=22.9)], SETTLE + 1).share == 0.27


def test_who_wants_to_start_no_longer_is_left_nothing():
    for end in (lambda line: line.gone("b", 0), lambda line: line.adopted("b", NEEDS)):
        line = Line(0)
        line.ask("a", NEEDS)
        line.ask("b", NEEDS)
        end(line)
        assert line.look("a", [card(free=45)], SETTLE + 1).share == 0.45


def test_one_that_crashed_starts_again_with_what_it_had():
    """At once, though another waits that did not fit beside it."""
    line = Line(0)
    line.ask("a", claim(0.9))
    line.look("a", [card()], 100)
    line.started("a")
    line.ask("b", NEEDS)
    assert line.look("b", [card(free=7)], 100).lacks
    line.gone("a", 200)
    line.ask("a", claim(0.9))
    assert line.look("a", [card()], 200) == StartVerdict(share=0.9)


@pytest.mark.parametrize(
    ("after", "share"),
    [
        ([], 0.55),
        ([NEEDS], 0.27),
        ([claim(needs=0.1, least=8 * GIB)], 0.45),  # it has room in what is left
        ([claim(needs=0.5, least=40 * GIB)], 0.55),  # and it has not, however little this one takes
        ([claim(needs=0.35, least=28 * GIB)], 0.18),  # it needs more than its equal part
        ([claim(0.3, written=True)], 0.25),
        ([claim(0.0, OTHER_CARD, needs=0.5)], 0.55),
        ([LLAMA], 0.55),
    ],
)
def test_what_is_left_to_those_after_it(after, share):
    wish = claim(0.45 if share == 0.45 else 0.55, least=14 * GIB, needs=0.175)
    assert fit(wish, [card(45.5)], {}, after=after).share == share


def test_room_that_is_just_enough_for_all_is_left_to_all():
    """What each of the two needs and what is free are equal: neither gets any of the other's."""
    one, other = claim(0.9, needs=0.5, least=40 * GIB), claim(0.9, needs=0.25, least=20 * GIB)
    free = 60 + 1.5 * BESIDE / GIB
    assert fit(one, [card(free)], {}, after=[other]).share == 0.5
    assert fit(other, [card(free)], {}, after=[one]).share == 0.25


def test_what_one_has_is_told_to_the_next():
    line = Line(0)
    line.adopted("a", claim(0.9))
    line.started("nobody")
    line.ask("b", claim(0.45, least=30 * GIB))
    assert "a has 0.9; to share it, write" in line.look("b", [card(free=7)], 100).why


# What fits


@pytest.mark.parametrize(
    ("wish", "free", "share"),
    [
        (claim(0.45), 79.5, 0.45),
        (claim(0.9), 79.5, 0.9),
        (claim(0.9), 73, 0.9),
        (claim(0.9), 72.9, 0.89),
        (claim(0.9), 20, 0.23),
        (claim(0.9, written=True), 72, 0.9),
        (claim(0.9, written=True), 71.5, 0.9),  # what a driver tells is a little more than what an engine sees
        (claim(None), 0, None),
    ],
)
def test_a_share_that_nobody_wrote_is_lowered_to_what_is_free(wish, free, share):
    assert fit(wish, [card(free)], {}) == StartVerdict(share=share)


def test_the_fullest_of_several_gpus_counts():
    assert fit(claim(0.9, CARD, OTHER_CARD), [card(), card(40, 1)], {}).share == 0.48


@pytest.mark.parametrize("gpu", [replace(card(), free_bytes=None), replace(card(), memory_bytes=None)])
def test_a_gpu_of_which_nothing_is_known_is_no_hindrance(gpu):
    assert fit(claim(0.9), [gpu], {}) == StartVerdict(share=0.9)


@pytest.mark.parametrize(
    ("wish", "free", "others", "why"),
    [
        (
            claim(0.45, least=16 * GIB), 7, {"a": claim(0.9)},
            ("NVIDIA GPU 0 has 7.0 of 80.0 GiB free, and this needs about 16.0 GiB: a has 0.9; to share it, write "
            "`args: {gpu-memory-utilization: 0.45}` below launch, of a, and of this one"),
        ),
        (
            claim(0.6, written=True), 20, {},
            ("NVIDIA GPU 0 has 20.0 of 80.0 GiB free, and this asks for 0.6 of it, 48.0 GiB: other programs hold the "
            "rest; end them, or write `args: {gpu-memory-utilization: 0.23}` below its launch"),
        ),
        (
            claim(0.6, written=True, least=40 * GIB), 20, {"b": claim(0.9, OTHER_CARD), "c": LLAMA},
            ("NVIDIA GPU 0 has 20.0 of 80.0 GiB free, and this asks for 0.6 of it, 48.0 GiB: other programs hold the "
            "rest; end them, or take a smaller model"),
        ),
        (
            claim(0.45), 2, {"a": claim(0.5), "b": claim(0.4)},
            ("NVIDIA GPU 0 has 2.0 of 80.0 GiB free, and this needs some: a has 0.5, b has 0.4; to share it, write "
            "`args: {gpu-memory-utilization: 0.3}` below launch, of a and b, and of this one"),
        ),
        (  # what other programs hold can't be shared
            claim(0.45, least=8 * GIB), 2, {"a": claim(0.4)},
            ("NVIDIA GPU 0 has 2.0 of 80.0 GiB free, and this needs about 8.0 GiB: a has 0.4; to share it, write "
            "`args: {gpu-memory-utilization: 0.2}` below launch, of a, and of this one"),
        ),
        (  # what one needs goes before equal shares
            claim(0.45, least=50 * GIB), 7, {"a": claim(0.9, least=16 * GIB)},
            ("NVIDIA GPU 0 has 7.0 of 80.0 GiB free, and this needs about 50.0 GiB: a has 0.9; to share it, write "
            "`args: {gpu-memory-utilization: 0.25}` below launch, of a, and 0.65 for this one"),
        ),
        (
            claim(0.45, least=50 * GIB), 7, {"a": claim(0.9, least=40 * GIB)},
            ("NVIDIA GPU 0 has 7.0 of 80.0 GiB free, and this needs about 50.0 GiB: a has 0.9; there is no room for "
            "all of them: take a smaller model, or another GPU"),
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_what_to_write(wish, free, others, why):
    assert fit(wish, [card(free)], others) == StartVerdict(why, lacks=True)


def test_what_it_is_told_to_write_fits_beside_what_other_programs_hold():
    """Written, each gets it, one after the other."""
    said = fit(claim(0.45), [card(2)], {"a": claim(0.4)}).why
    share = float(said.rpartition("utilization: ")[2].partition("}")[0])
    written = claim(share, written=True)
    assert lacking({"a": written, "b": written}, {}, [card(2)], back=[claim(0.4)]) == {}


def test_a_lower_share_takes_the_place_of_the_planned_one():
    args = {"gpu_memory_utilization": 0.5, "kv-cache-memory-bytes": 1, "seed": 1}
    assert with_share(args, claim(0.5), 0.3) == {
        "kv-cache-memory-bytes": 1,
        "seed": 1,
        "gpu-memory-utilization": 0.3,
    }
    assert with_share(args, claim(0.5, sized=True), 0.3) == {"seed": 1, "gpu-memory-utilization": 0.3}


# Shares


def shares(**claims: Claim) -> dict[str, float | None]:
    return {name: each.share for name, each in dealt(claims).items()}


OPEN = claim(0.0)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"a": OPEN}, {"a": 0.9}),
        ({"a": OPEN, "b": OPEN}, {"a": 0.45, "b": 0.45}),
        ({"a": OPEN, "b": OPEN, "c": OPEN}, {"a": 0.3, "b": 0.3, "c": 0.3}),
        ({"a": claim(0.6, written=True), "b": OPEN}, {"a": 0.6, "b": 0.3}),
        ({"a": claim(0.04, sized=True), "b": OPEN, "c": OPEN}, {"a": 0.04, "b": 0.43, "c": 0.43}),
        ({"a": OPEN, "b": claim(0.0, OTHER_CARD)}, {"a": 0.9, "b": 0.9}),
        ({"a": OPEN, "b": claim(0.0, CARD, OTHER_CARD)}, {"a": 0.45, "b": 0.45}),
        ({"a": claim(0.9), "b": OPEN}, {"a": 0.9, "b": 0.45}),  # it runs, and leaves nothing: b won't fit
        ({"a": OPEN, "b": LLAMA}, {"a": 0.9, "b": None}),
        (
            {"a": claim(0.0, CARD, OTHER_CARD), "b": OPEN, "c": claim(0.0, OTHER_CARD)},
            {"a": 0.45, "b": 0.45, "c": 0.45},
        ),
        ({"a": claim(0.0, needs=0.7), "b": claim(0.0, needs=0.1)}, {"a": 0.75, "b": 0.15}),
        ({"a": claim(0.0, needs=0.4), "b": claim(0.0, needs=0.1)}, {"a": 0.45, "b": 0.45}),
        ({"a": claim(0.0, needs=0.7), "b": claim(0.0, needs=0.7)}, {"a": 0.72, "b": 0.72}),  # one of them fits
        ({"a": claim(0.85, written=True), "b": claim(0.0, needs=0.1)}, {"a": 0.85, "b": 0.45}),  # lowered, or it waits
        ({"a": claim(0.0, needs=1.2)}, {"a": 0.9}),
    ],
)
def test_what_nobody_wrote_is_dealt_evenly_of_what_the_others_leave(claims, expected):
    assert shares(**claims) == expected


@pytest.mark.parametrize("number", range(1, 30))
def test_together_they_never_take_more_than_nine_tenths(number):
    assert sum(share or 0 for share in shares(**{f"a{i}": OPEN for i in range(number)}).values()) <= 0.9 + 1e-9


def test_a_share_is_rounded_down_but_not_below_itself():
    assert [floored(0.9 / 2), floored(0.9 / 3), floored(0.4567), floored(0.29)] == [0.45, 0.3, 0.45, 0.29]


# Beforehand


def test_nothing_is_said_of_what_fits():
    assert lacking({"a": HALF, "b": HALF}, {}, [card()]) == {}
    assert lacking({"a": claim(0.9, OTHER_CARD)}, {}, [card(0)]) == {}


def test_what_starts_before_takes_its_share():
    said = lacking({"a": claim(0.9), "b": claim(0.45, least=20 * GIB)}, {}, [card()])
    assert list(said) == ["b"]
    assert "a has 0.9; to share it" in said["b"]


def test_one_after_the_other_they_leave_each_other_what_they_need():
    said = "gets 0.27 of its GPU's memory, instead of 0.45: no more is free"
    assert lacking({"a": NEEDS, "b": NEEDS}, {}, [card(45)]) == {"a": said, "b": said}


def test_what_is_given_back_is_there():
    new = {"b": claim(0.9)}
    assert list(lacking(new, {}, [card(free=7)])) == ["b"]
    assert lacking(new, {}, [card(free=7)], back=[claim(0.9), claim(0.5, OTHER_CARD)]) == {}


def test_a_lower_share_is_said():
    assert lacking({"a": claim(0.9)}, {}, [card(free=41)]) == {
        "a": "gets 0.5 of its GPU's memory, instead of 0.9: no more is free"
    }
    assert lacking({"a": claim(0.9)}, {}, [replace(card(), free_bytes=None)]) == {}


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (
            claim(0.1, written=True, least=16 * GIB),
            ("0.1 of NVIDIA GPU 0 are 8.0 GiB, and this needs about 16.0 GiB: write `args: {gpu-memory-utilization: "
             "0.23}` below its launch, or take a smaller model"),
        ),
        (
            claim(0.45, least=79 * GIB),
            ("0.45 of NVIDIA GPU 0 are 36.0 GiB, and this needs about 79.0 GiB: give it more GPUs, or take a smaller "
             "model"),
        ),
    ],
)  # fmt: skip
def test_a_share_that_is_too_small_for_the_model_is_said(wish, said):
    assert lacking({"a": wish}, {}, [card()]) == {"a": said}
    assert lacking({"a": wish}, {}, [replace(card(), memory_bytes=None)]) == {}


def test_the_context_beside_a_share_counts():
    assert fit(claim(0.5), [card(40 + BESIDE / GIB)], {}).share == 0.5
    assert fit(claim(0.5), [card(40 + BESIDE / GIB - 0.1)], {}).share == 0.49
