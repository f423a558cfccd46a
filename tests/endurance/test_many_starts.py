"""One supervisor starts and ends its engine again and again, as a model that is loaded and unloaded: it grows nowhere.

The engine is as small as a server can be, so that three hundred of them take some seconds.
"""

import asyncio
import gc
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from launchers import readiness
from launchers.process import Keepers
from launchers.spec import Command, LaunchSpec
from launchers.states import RestartPolicy, State
from launchers.supervisor import Supervisor
from tests.integration.launchers.scripted import BOUND, Scripted, until

SMALL = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("loading", flush=True)
while True:
    client, _ = server.accept()
    client.recv(4096)
    client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
    client.close()
"""
STARTS = 300
WARM = 60
"""Starts after which nothing may grow any more: caches are full, and threads run."""


@dataclass
class Small(Scripted):
    """Starts in some 20 ms."""

    def command(self, spec, port, python):  # noqa: ARG002
        """Without the libraries that it doesn't need."""
        return Command((python, "-I", "-S", str(self.folder / "small.py"), str(port)), {}, ())


class Held:
    """What a router and its keeper hold: descriptors, tasks, processes, files, and objects in memory."""

    def __init__(self, folder: Path) -> None:
        me = psutil.Process()
        gc.collect()
        self.objects = len(gc.get_objects())
        self.counts = {
            "descriptors": me.num_fds(),
            "keeper's descriptors": sum(child.num_fds() for child in me.children()),
            "processes": len(me.children(recursive=True)),
            "tasks": len(asyncio.all_tasks()),
            "files": len([*folder.rglob("*")]),
        }


@pytest.fixture
async def keepers():
    """Gives a router's keepers; in the end, they end."""
    made = Keepers()
    yield made
    await made.close()


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Its temporary files are looked at, too, and no other program's."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(readiness, "FIRST_PAUSE", 0.01)
    (tmp_path / "small.py").write_text(SMALL)
    return Small(tmp_path)


@pytest.mark.timeout(600)
async def test_three_hundred_starts_leave_nothing(small, tmp_path, keepers):
    """Whether they were stopped or killed, while they ran or while they started."""
    latest = [State.STOPPED]
    spec = LaunchSpec("demo-1", "scripted", "any", "demo", {}, {}, BOUND, BOUND)
    demo = Supervisor(
        spec,
        small,
        keepers=keepers,
        logs=tmp_path / "logs",
        on_change=lambda status: latest.__setitem__(0, status.state),
        python=sys.executable,
        policy=RestartPolicy(give_up_after=2),
    )
    held = Held(tmp_path)
    for number in range(STARTS):
        if number == WARM:
            held = Held(tmp_path)
        demo.start()
        if number % 3:
            await until(lambda: latest[0] is State.RUNNING)
        await (demo.kill() if number % 2 else demo.stop())
        assert latest[0] is State.STOPPED
    now = Held(tmp_path)
    assert {what: count for what, count in now.counts.items() if count > held.counts[what]} == {}
    assert now.objects - held.objects < (STARTS - WARM) / 2
    assert now.counts["tasks"] == 1
