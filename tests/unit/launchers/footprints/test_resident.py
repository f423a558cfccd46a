import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launchers.footprints.resident import Resident, measure, parsed

ROLLUP = """\
55d0c0a00000-7ffd7d7f5000 ---p 00000000 00:00 0                          [rollup]
Rss:               60000 kB
Pss:               50000 kB
Pss_Dirty:         30000 kB
Pss_Anon:          30000 kB
Pss_File:          15000 kB
Pss_Shmem:          5000 kB
Shared_Clean:      20000 kB
Private_Clean:     10000 kB
Private_Dirty:     30000 kB
Swap:                200 kB
SwapPss:             100 kB
THPeligible:           1
"""
OLDER = "Rss: 60000 kB\nPrivate_Clean: 10000 kB\nPrivate_Dirty: 30000 kB\nSwap: 200 kB\n"
SIZE = 32 << 20
SLACK = 4 << 20  # of what Python itself may come to take meanwhile


def test_the_kernel_s_words_are_told_apart():
    assert parsed(ROLLUP) == Resident(30000 << 10, 15000 << 10, 5000 << 10, 100 << 10)
    assert parsed(ROLLUP).total == 50100 << 10


def test_an_older_kernel_has_fewer_words():
    assert parsed(OLDER) == Resident(30000 << 10, 10000 << 10, 0, 200 << 10)


@pytest.mark.parametrize("text", ["", "Pss_Anon:\n", "Pss_Anon: many kB", "Pss_Anon: 5 MB", ":::\n\n"])
def test_what_is_no_figure_is_passed_over(text):
    assert parsed(text) == Resident()


def test_figures_add_up_and_differ():
    both = Resident(1, 2, 3, 4) + Resident(10, 20, 30, 40)
    assert both == Resident(11, 22, 33, 44)
    assert both - Resident(1, 2, 3, 4) == Resident(10, 20, 30, 40)


@contextmanager
def running(code: str, *arguments: str) -> Iterator[int]:
    """Run some Python until it has said a line, and then until the end of the block; give its pid."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate(b"\n")


EMPTY = "print(flush=True); input()"
PRIVATE = f"b = bytearray(b'x') * {SIZE}; print(flush=True); input()"
MAPPED = """
import mmap, sys
f = open(sys.argv[1], 'rb')
m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
sum(m[::4096]); print(flush=True); input()
"""
FORKED = f"""
import os
b = bytearray(b'x') * {SIZE}
child = os.fork()
if child: print(flush=True); input(); os.kill(child, 9); os.wait()
else:
    while True: os.read(0, 0) or __import__('signal').pause()
"""


def measured(pid: int) -> Resident:
    found = measure(pid)
    assert found is not None
    return found


def test_what_is_one_s_own_is_told_from_what_is_mapped(tmp_path: Path):
    path = tmp_path / "weights"
    path.write_bytes(b"x" * SIZE)
    with running(EMPTY) as empty, running(PRIVATE) as private, running(MAPPED, str(path)) as mapped:
        nothing, own, mapping = map(measured, (empty, private, mapped))
    assert abs(own.private - nothing.private - SIZE) < SLACK
    assert abs(own.mapped - nothing.mapped) < SLACK
    assert abs(mapping.private - nothing.private) < SLACK
    assert abs(mapping.mapped - nothing.mapped - SIZE) < SLACK


def test_what_a_tree_shares_counts_once():
    with running(EMPTY) as empty, running(FORKED) as forked:
        nothing, both = measured(empty), measured(forked)
    assert abs(both.private - nothing.private - SIZE) < 2 * SLACK


def test_who_is_gone_is_none():
    with running(EMPTY) as pid:
        pass
    assert measure(pid) is None


def test_oneself_can_be_measured():
    assert measured(os.getpid()).total > 1 << 20
