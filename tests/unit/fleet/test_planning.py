"""What a configuration comes to on this machine, and how it is said."""

from dataclasses import replace

import pytest

from profiles import Facts
from profiles.parsers import Gpu
from router.fleet.diff import Do, Step
from router.fleet.planning import told, with_known_gpus

GPU = Gpu("NVIDIA", "NVIDIA H100", 80 << 30, free_bytes=79 << 30)
BARE = Facts("Linux", "x86_64", "3.11.7", 16, 128 << 30, {})
SEEN = replace(BARE, gpus=(GPU,))


def test_gpus_that_can_not_be_seen_any_more_are_still_there():
    """What is free of them isn't known: a driver's program may hang for a moment."""
    assert with_known_gpus(BARE, SEEN).gpus == (replace(GPU, free_bytes=None),)
    other = replace(BARE, cpus=2)
    assert with_known_gpus(other, SEEN) == replace(other, gpus=(replace(GPU, free_bytes=None),))


def test_gpus_that_are_seen_are_taken_as_they_are():
    fuller = replace(BARE, gpus=(replace(GPU, free_bytes=1 << 30),))
    assert with_known_gpus(fuller, SEEN) is fuller
    assert with_known_gpus(SEEN, BARE) is SEEN


def test_a_machine_that_never_had_gpus_has_none():
    assert with_known_gpus(BARE, None) is BARE
    assert with_known_gpus(BARE, BARE) == BARE
    assert with_known_gpus(SEEN, None) is SEEN


KEEP = [Step(Do.KEEP, name) for name in "abc"]
ADD = Step(Do.ADD, "demo", "starts mlx")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([], "  nothing to do"),
        (KEEP[:1], "  1 backend stays as it is"),
        (KEEP, "  3 backends stay as they are"),
        ([ADD], "  add     demo: starts mlx"),
        ([ADD, *KEEP[:2]], "  add     demo: starts mlx\n  2 backends stay as they are"),
        ([replace(ADD, but="lacks memory")], "  add     demo: starts mlx; but lacks memory"),
    ],
)
def test_steps_are_said_a_line_each_and_what_stays_is_counted(steps, said):
    assert told(steps) == said
