import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from launchers.tree import READ_A_SECOND, Work, memory_of, owns_port, said_to, work_of

CHILD = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


def test_who_listens_owns_the_port():
    """A process itself, or one that it has started; nobody else."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        assert owns_port(parent.pid, port)
        assert owns_port(os.getpid(), port)  # which has started both
        with socket.create_server(("127.0.0.1", 0)) as ours:
            assert owns_port(os.getpid(), ours.getsockname()[1])
            assert not owns_port(parent.pid, ours.getsockname()[1])
        parent.communicate(b"\n")
    assert not owns_port(parent.pid, port)


def test_a_connection_is_no_listener():
    """Who has only connected to a port doesn't own it."""
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
            assert not owns_port(other.pid, port)
            other.communicate(b"\n")
        child.communicate(b"\n")


def test_memory_is_that_of_all_processes():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()  # the child is there
        alone = psutil.Process(parent.pid).memory_info().rss
        assert memory_of(parent.pid) > alone * 1.5
        parent.communicate(b"\n")
    assert memory_of(parent.pid) == 0


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--share", "0.5"], "0.5"),
        (["serve", "--share", "0.5", "--port", "1"], "0.5"),
        (["--port", "1"], ""),
        (["--share"], ""),
        (["--share=0.5"], ""),
    ],
)
def test_what_a_process_was_told_by_an_option(words, value):
    """The word behind the option; nothing where there is none, or no such process any more."""
    code = "print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        # Before it runs, the system may know none of its words.
        assert process.stdout is not None
        process.stdout.readline()
        assert said_to(process.pid, "--share") == value
        process.communicate(b"\n")
    assert said_to(process.pid, "--share") == ""


BUSY = """
import subprocess, sys, time
if len(sys.argv) > 1: subprocess.Popen([sys.executable, "-c", sys.argv[1]])
while time.process_time() < 0.3: pass
time.sleep(600)
"""


def test_work_is_that_of_all_its_processes():
    """The CPU time of its children counts; whether one of them is stopped, too; who is gone has done nothing."""
    with subprocess.Popen([sys.executable, "-c", BUSY, BUSY]) as parent:
        children: list[psutil.Process] = []
        try:
            until = time.monotonic() + 30
            while (work := work_of(parent.pid)).seconds < 0.5:  # more than the one uses
                assert time.monotonic() < until, work
                time.sleep(0.01)
            assert not work.stopped
            children = psutil.Process(parent.pid).children()
            children[0].send_signal(signal.SIGSTOP)
            while not work_of(parent.pid).stopped:
                assert time.monotonic() < until
                time.sleep(0.01)
        finally:
            for each in (*children, psutil.Process(parent.pid)):
                each.kill()
    assert work_of(parent.pid) == Work(0.0, stopped=False)


READS = """
import os, sys, time
file = os.open(sys.argv[1], os.O_RDONLY)
os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
while os.read(file, 1 << 20): pass
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process has read")
def test_what_is_read_from_a_disk_is_work(tmp_path):
    """As of a model that doesn't fit into memory; that it came from a disk is the kernel's word, not ours."""
    file = tmp_path / "model"
    file.write_bytes(bytes(50 << 20))
    os.sync()
    with subprocess.Popen([sys.executable, "-c", READS, file]) as reader:
        try:
            process, until = psutil.Process(reader.pid), time.monotonic() + 30
            while process.io_counters().read_chars < 50 << 20:
                assert time.monotonic() < until
                time.sleep(0.01)
            used = process.cpu_times()
            read = process.io_counters().read_bytes / READ_A_SECOND
            assert work_of(reader.pid).seconds == pytest.approx(used.user + used.system + read, abs=0.05)
        finally:
            reader.kill()
