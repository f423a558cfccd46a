import pytest

from launchers.footprints.parts import RAM
from launchers.kills import Kills
from launchers.remains import Remains, remains_of
from tests.fakes.kept import FakeProcess


def ended(code, *said, served=False, asked=False, rose=False, gpus=("NVIDIA 1",), folder):
    """What is known of a process that ended with this code and these words."""
    (folder / "proc").mkdir(exist_ok=True)
    (folder / "proc/vmstat").write_text("oom_kill 0")
    kills = Kills(7, 0.0, folder)
    (folder / "proc/vmstat").write_text(f"oom_kill {int(rose)}")
    process = FakeProcess(7, lambda: None)
    process.said = said
    process.exit(code)
    return remains_of(process, kills, gpus, served=served, asked=asked)


def test_what_is_known_of_an_end(tmp_path):
    assert ended(1, "loading", "ValueError: no such model", folder=tmp_path) == Remains(
        "exited with code 1", "ValueError: no such model", ("loading", "ValueError: no such model"), None
    )


@pytest.mark.parametrize(
    ("line", "device"), [("unable to allocate CUDA0 buffer", "NVIDIA 1"), ("std::bad_alloc", RAM), ("", None)]
)
@pytest.mark.parametrize("served", [False, True])
def test_the_device_that_it_named(line, device, served, tmp_path):
    assert ended(1, line, served=served, folder=tmp_path).out_of_memory == device


def test_a_gpu_that_nobody_knows_is_some_device(tmp_path):
    assert ended(1, "unable to allocate CUDA0 buffer", gpus=(), folder=tmp_path).out_of_memory == ""


@pytest.mark.parametrize(
    ("code", "asked", "rose", "device"),
    [(-9, False, True, RAM), (-9, True, True, None), (-9, False, False, None), (1, False, True, None)],
)
def test_the_kernel_may_have_killed_it(code, asked, rose, device, tmp_path):
    """Not one that we have killed ourselves."""
    assert ended(code, "loading", asked=asked, rose=rose, folder=tmp_path).out_of_memory == device


def test_what_could_not_be_started_keeps_the_last_words():
    before = Remains("exited with code 1", "no model", ("no model",), RAM)
    assert before.not_started("no port") == Remains("no port", "no model", ("no model",), None)
    assert before.not_started("[Errno 12] Cannot allocate memory").out_of_memory == RAM
