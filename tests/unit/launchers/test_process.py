"""What a process and its keeper say to each other, without either."""

import asyncio
import json
import os
import signal
import subprocess
from typing import Any

import pytest
from structlog.testing import capture_logs

from launchers import leftovers, process
from launchers.process import Keepers, Process, _Link
from launchers.spec import Command
from tests.running import eventually

RECORD = {
    "path": "/run/demo.json", "name": "demo", "pid": 7, "started": "1", "port": 20000, "fingerprint": "f",
    "scratch": "a", "router_pid": 1, "router_started": "1", "keeper_pid": 2, "keeper_started": "1", "keeper_at": "",
    "world": "w", "keep": False,
}  # fmt: skip


class Wire(asyncio.WriteTransport):
    """A transport that keeps the orders."""

    def __init__(self):
        super().__init__()
        self.orders: list[dict[str, object]] = []
        self.closed = False

    def write(self, data):
        """Take in orders, each a line."""
        self.orders += [json.loads(line) for line in bytes(data).splitlines()]

    def close(self):
        """Note it."""
        self.closed = True


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
async def link(wire):
    """A connection to another router's keeper, whose pid is 2."""
    made = _Link(2, None)
    made.connection_made(wire)
    return made


@pytest.fixture
def gone():
    return []


@pytest.fixture
async def demo(link, gone):
    """A process of that keeper."""
    made = Process("a", link, lambda: gone.append(True))
    link.processes["a"] = made
    return made


def says(link, **message):
    link.data_received(json.dumps(message).encode() + b"\n")


async def test_it_runs_when_its_keeper_gives_its_record(link, demo):
    assert demo.pid == 0
    says(link, id="a", record=RECORD)
    await demo.began
    assert demo.pid == 7
    assert not demo.is_kept
    says(link, id="a", record=RECORD | {"keep": True})  # its record has changed since
    assert demo.is_kept


async def test_a_message_may_come_in_pieces_and_two_at_a_time(link, demo):
    """Those for processes that nobody has any more are for nobody."""
    line = json.dumps({"id": "a", "said": "one\n"}).encode() + b"\n"
    link.data_received(line[:5])
    assert demo.last_lines == ()
    link.data_received(line[5:] + line)
    assert demo.last_lines == ("one", "one")
    says(link, id="other", gone=1)


async def test_what_could_not_be_started_says_why(link, demo, gone):
    says(link, id="a", failed="no process can be started: no memory")
    with pytest.raises(ChildProcessError, match="no memory"):
        await demo.began
    assert not demo.gone
    assert not gone


async def test_what_is_gone_has_an_exit_code_and_gets_no_orders(link, demo, wire, gone):
    """With the last process, another router's keeper is left."""
    says(link, id="a", record=RECORD)
    says(link, id="a", gone=3)
    assert (demo.exit_code, demo.gone, gone) == (3, True, [True])
    assert wire.closed
    demo.terminate()
    demo.kill()
    demo.look()
    assert wire.orders == []


async def test_a_kill_that_nobody_answers_is_said_again_and_then_its_keeper_is_killed(link, demo, wire, monkeypatch):
    """It hangs, and would keep its engines for ever."""
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(process, "ANSWER_WITHIN", 0.01)
    monkeypatch.setattr(os, "kill", lambda *what: killed.append(what))
    with capture_logs() as logs:
        demo.kill()
        await eventually(lambda: killed)
    assert wire.orders == [{"do": "kill", "id": "a"}] * 2
    assert killed == [(2, signal.SIGKILL)]
    assert "doesn't answer" in logs[0]["event"]
    link.processes.clear()


@pytest.mark.parametrize("times", [1, 2])
async def test_a_kill_that_is_answered_is_waited_for(link, demo, wire, monkeypatch, times):
    """After the first order, or after the second: until the next one that nobody answers."""
    monkeypatch.setattr(process, "ANSWER_WITHIN", 0.02)
    demo.kill()
    await eventually(lambda: len(wire.orders) == times)
    says(link, id="a", killing=True)
    assert demo._unheard is None
    demo.kill()
    assert demo._unheard is not None
    says(link, id="a", gone=-9)
    assert demo._unheard is None


async def test_a_process_that_is_released_is_heard_no_more(link, demo, wire):
    """It runs on, and so does its keeper."""
    demo.release()
    assert link.keeps_on
    assert wire.closed
    says(link, id="a", gone=1)
    assert not demo.gone


async def test_a_keepers_warning_is_logged(link):
    with capture_logs() as logs:
        says(link, warning="the log can't be written")
    assert [entry["event"] for entry in logs] == ["the log can't be written"]


async def test_a_second_kill_does_not_put_off_the_doubt(link, demo, wire):
    """Who asks again and again would have it wait for ever; each order is passed on."""
    demo.kill()
    doubt = demo._unheard
    demo.kill()
    assert demo._unheard is doubt
    assert wire.orders == [{"do": "kill", "id": "a"}] * 2
    says(link, id="a", gone=-9)
    assert doubt.cancelled()


async def test_what_a_dead_keeper_leaves_is_ended_before_it_counts_as_gone(link, demo, gone, monkeypatch):
    """Of an engine that never ran there is nothing to end."""
    ended: list[tuple[object, bool]] = []
    monkeypatch.setattr(leftovers, "end", lambda record: ended.append((record, demo.gone)))
    says(link, id="a", record=RECORD)
    never = Process("b", link, lambda: None)
    link.processes["b"] = never
    link.connection_lost(None)
    await link.ended.wait()
    assert ended == [(demo.record, False)]
    assert (demo.gone, demo.exit_code, gone, never.gone) == (True, None, [True], True)
    with pytest.raises(ChildProcessError, match="ended before it had started one"):
        await never.began
    demo.kill()
    assert demo._unheard is None


class Child:
    """A keeper that is our child; it ends when it is killed, or by itself at once."""

    def __init__(self, *, ends):
        self.ends = ends
        self.returncode: int | None = None
        self.done: list[str] = []

    def wait(self, within=None):
        """End, or take too long."""
        self.done.append("wait")
        if within is not None and not self.ends:
            raise subprocess.TimeoutExpired("keeper", within)
        self.returncode = 0

    def kill(self):
        """Note it."""
        self.done.append("kill")

    def poll(self):
        """Tell how it ended."""
        return self.returncode


@pytest.mark.parametrize(("ends", "done"), [(True, ["wait"]), (False, ["wait", "kill", "wait"])])
async def test_a_keeper_of_ours_is_waited_for_and_killed_if_it_does_not_end(wire, ends, done):
    child: Any = Child(ends=ends)
    own = _Link(2, child)
    own.connection_made(wire)
    own.connection_lost(None)
    await own.ended.wait()
    assert child.done == done


@pytest.mark.parametrize("code", [None, 3])
async def test_a_keeper_of_ours_that_keeps_engines_runs_on(wire, code):
    """It is not waited for; its exit code is one, or it would be warned of."""
    child: Any = Child(ends=False)
    child.returncode = code
    own = _Link(2, child)
    own.connection_made(wire)
    own.keeps_on = True
    own.connection_lost(None)
    await own.ended.wait()
    assert (child.done, child.returncode) == ([], code or 0)


async def test_what_does_not_begin_in_time_is_killed_if_it_yet_does(link, demo, wire):
    """Whoever waited for it is told so; or is told nothing, as it left."""
    with pytest.raises(ChildProcessError, match=r"has not answered for 0\.01 s"):
        await Keepers()._begun(demo, 0.01)
    assert wire.orders == [{"do": "kill", "id": "a"}]
    waits = asyncio.create_task(Keepers()._begun(demo, 60.0))
    await asyncio.sleep(0)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert wire.orders == [{"do": "kill", "id": "a"}] * 2
    says(link, id="a", gone=-9)


async def test_one_keeper_is_started_for_all_and_another_one_when_it_is_gone(monkeypatch, tmp_path):
    """Two that start at the same time share one."""
    made: list[_Link] = []

    async def start():
        await asyncio.sleep(0)
        made.append(_Link(2, None))
        made[-1].connection_made(Wire())
        return made[-1]

    async def begun(*_):
        return None

    monkeypatch.setattr(process, "_start_keeper", start)
    keepers = Keepers()
    monkeypatch.setattr(keepers, "_begun", begun)

    def spawn():
        return keepers.spawn(Command(("a",), {}, ()), tmp_path / "a.log", tmp_path / "run" / "a.json")

    await asyncio.gather(spawn(), spawn())
    assert len(made) == 1
    made[0].lost = True
    await spawn()
    assert len(made) == 2
