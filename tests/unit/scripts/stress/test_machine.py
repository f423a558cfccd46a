import os
import socket
import subprocess
import sys

import psutil
import pytest

from scripts.stress.machine import Watch, listener

SERVER = """\
import socket, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    sys.stdin.read()
child.communicate()
"""


@pytest.fixture
def server():
    """A server with a child, in a process of its own; gives its pid and port."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        process.communicate()


def test_a_server_and_what_it_started(server):
    """It is found by its port; both have memory."""
    pid, port = server
    assert listener("127.0.0.1", port) == psutil.Process(pid)
    watch = Watch("localhost", port)
    watch.look()
    assert watch.found
    assert watch.server().memory > 1e6
    assert watch.children().memory > 1e6


def test_where_connections_of_all_may_not_be_seen(server, monkeypatch):
    """As on a Mac: one's own processes are asked one by one."""

    def denied(**_):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    pid, port = server
    assert listener("127.0.0.1", port) == psutil.Process(pid)


def test_what_can_t_be_watched():
    """Another machine's server, this process itself, nobody."""
    with socket.create_server(("127.0.0.1", 0)) as own:
        port = own.getsockname()[1]
        assert os.getpid() == psutil.Process().pid
        assert listener("127.0.0.1", port) is None
    assert listener("192.0.2.1", 80) is None
    watch = Watch("127.0.0.1", port)
    watch.look()
    assert not watch.found
    assert watch.server().memory == watch.children().cpu == 0
