"""What a process and its keeper say to each other, without either."""

import asyncio
import json
import os
import signal

import pytest
from structlog.testing import capture_logs

from launchers import process
from launchers.process import Process, _Link
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
