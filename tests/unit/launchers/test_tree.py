import os
import socket
import subprocess
import sys

import psutil

from launchers.tree import memory_of, owns_port

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
