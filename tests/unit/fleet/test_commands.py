"""Launches of any command: which program, and with which arguments."""

import sys

import pytest

from launchers.engines import ENGINES
from profiles import Facts
from router.config import Config
from router.fleet.launches import StartError, plan_launches
from router.fleet.launching import Launch

FACTS = Facts("Linux", "x86_64", "3.11.7", cpus=6, memory_bytes=8 << 30, engines={})


def planned(folder, **launch: object) -> list[Launch]:
    models = launch.pop("models", {"whisper": "w-1"})
    config = Config.model_validate({"backends": [{"name": "w", "models": models, "launch": launch}]})
    return list(plan_launches(config, folder, ENGINES, FACTS)[1])


def test_a_command_needs_no_engine(tmp_path):
    """Paths count from router.yaml's folder, where something is; options and other words stay."""
    (tmp_path / "ggml.bin").touch()
    (tmp_path / "models").mkdir()
    cmd = [sys.executable, "-m", "ggml.bin", "models", "no/file.bin", "{port}", "models/"]
    (launch,) = planned(tmp_path, cmd=cmd, ready="/r", parallel=2, paths=["/inference"], memory="1GiB")
    assert launch.python == sys.executable
    assert launch.spec.args["cmd"] == (
        sys.executable, "-m", f"{tmp_path}/ggml.bin", "models", "no/file.bin", "{port}", f"{tmp_path}/models",
    )  # fmt: skip
    assert (launch.engine.ready_path, launch.engine.works_on(launch.spec.args), launch.engine.apis) == (
        "/r", 2, frozenset({"/inference"}),
    )  # fmt: skip
    assert launch.engine.command(launch.spec, 5, launch.python).argv[-2] == "5"
    assert launch.why == f"runs {sys.executable}: router.yaml says so"


def test_replicas_of_a_command(tmp_path):
    names = [each.spec.name for each in planned(tmp_path, cmd=[sys.executable, "{port}"], replicas=2, load="on_demand")]
    assert names == ["w", "w-2"]


def test_a_program_in_the_folder(tmp_path):
    program = tmp_path / "bin" / "serve"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert planned(tmp_path, cmd=["bin/serve", "{port}"])[0].python == str(program)


@pytest.mark.parametrize(
    ("name", "said"),
    [("no-such-program", "there is no program no-such-program on PATH"), ("./x", "there is no program ./x")],
)
def test_a_program_that_is_missing(tmp_path, name, said):
    with pytest.raises(StartError) as caught:
        planned(tmp_path, cmd=[name, "{port}"])
    assert caught.value.problems == (f"backends[0] (w): launch.cmd: {said}",)
