"""What a configuration comes to on this machine, and how it is said."""

from dataclasses import replace

import pytest

from launchers.engines import ENGINES
from profiles import Facts
from profiles.parsers import Gpu
from router.config import Config
from router.fleet.diff import Do, Step
from router.fleet.planning import plan_of, told, with_known_gpus
from tests.models import write_gguf

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


def test_models_are_fitted_into_what_engines_may_have(tmp_path, capsys):
    """A preview tells the log nothing."""
    write_gguf(tmp_path / "m.gguf", layers=8, layer=32 << 20)
    facts = replace(BARE, engines={"llama_server": "2026.10"})
    said = {"name": "m", "launch": {"model": "m.gguf", "load": "on_demand"}}

    def planned(*, quiet: bool = False, **memory: object) -> str:
        config = Config.model_validate({"backends": [said], "memory": memory})
        loadable = plan_of(config, tmp_path, ENGINES, facts, quiet=quiet).backends["m"].loadable
        assert loadable is not None
        return loadable.placements[0].note

    assert planned() == ""
    assert planned(limit={"ram": "400MiB"}, quiet=True).endswith("instead of 8192, as no more fits")
    assert "as no more fits" not in capsys.readouterr().out
    planned(limit={"ram": "400MiB"})
    assert "as no more fits" in capsys.readouterr().out


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
