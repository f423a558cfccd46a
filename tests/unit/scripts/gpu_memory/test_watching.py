import os
from unittest.mock import Mock

import pytest

from launchers.devices import DeviceFigures
from launchers.footprints.parts import RAM
from scripts.gpu_memory.watching import Engine, GpuWatch, Sample, gpu_of

GIB = 1 << 30
A, B = Engine("a", 1, 0.0, ended=3.5), Engine("b", 2, 6.0)


def watched(*samples: Sample) -> GpuWatch:
    return GpuWatch(Mock(engines=Mock(return_value=[])), "NVIDIA 0", {}, list(samples), [A, B])


GOOD = (
    Sample(1.0, 70 * GIB, {}),
    Sample(2.0, 20 * GIB, {1: 50 * GIB}),
    Sample(3.0, 20 * GIB, {1: 50 * GIB}),
    Sample(4.0, 20 * GIB, {1: 0}),
    Sample(5.0, 70 * GIB, {1: 0}),
    Sample(7.0, 30 * GIB, {1: 0, 2: 40 * GIB}),
)


def test_memory_is_free_when_the_gpu_says_so():
    """Not when its process is gone."""
    watch = watched(*GOOD)
    assert watch.most(A) == 50 * GIB
    assert watch.freed(A) == 4.0
    assert watch.freed(B) is None
    assert watch.together([1, 2]) == 0


def test_two_at_once_are_seen():
    watch = watched(*GOOD, Sample(8.0, 0, {1: GIB, 2: 40 * GIB}))
    assert watch.together([1, 2]) == 1


def test_where_a_gpu_tells_nothing_by_process_an_end_counts():
    watch = watched(Sample(1.0, 70 * GIB, None))
    assert (watch.most(A), watch.freed(A), watch.together([1, 2])) == (0, 3.5, 0)


def test_who_runs():
    watch = watched()
    assert watch.running() == [B]
    assert watch.running("a") == []
    watch.until_seen("b")


def test_the_first_gpu_is_watched():
    ram, gpu = DeviceFigures(RAM, 1, 1), DeviceFigures("NVIDIA 0", 2, 2)
    assert gpu_of([ram, gpu]) is gpu
    with pytest.raises(LookupError):
        gpu_of([ram])


def test_an_engine_is_the_process_that_leads_its_session():
    """And has the model on its command line; others of the session are none."""
    here = Mock(pid=os.getpid(), cmdline=Mock(return_value=["vllm", "serve", "/m/a"]))
    watch = GpuWatch(Mock(), "NVIDIA 0", {"/m/a": "a"})
    assert watch._named(here) == ("a" if os.getsid(0) == os.getpid() else None)
    here.cmdline.return_value = ["python"]
    assert watch._named(here) is None
