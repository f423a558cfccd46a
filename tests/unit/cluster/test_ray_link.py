"""The process beside the router that speaks with Ray, with another program in its place."""

import sys
from pathlib import Path
from typing import Any

import pytest

from router.cluster import ray_link
from router.cluster.ray_link import Link
from tests.running import eventually

ECHO = """\
import json, os, sys
print(json.dumps({"is": "connected", "ray": sys.argv[1], "nodes": []}), flush=True)
for line in sys.stdin:
    said = json.loads(line)
    if said["do"] == "die":
        sys.exit("Fatal: the head is dead")
    if said["do"] == "be killed":
        print("a warning", file=sys.stderr, flush=True)
        os.kill(os.getpid(), 9)
    print(json.dumps({"is": "heard", **said}), flush=True)
"""


class Heard:
    """A link to a program, and what came of it."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.ends: list[str] = []
        self.link = Link(self.messages.append, self.ends.append)


@pytest.fixture
async def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ray_link, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(ray_link, "HELPER", tmp_path / "helper.py")
    (tmp_path / "helper.py").write_text(ECHO)
    made = Heard()
    yield made
    await made.link.stop()


async def test_messages_go_both_ways(heard):
    heard.link.start(sys.executable, "head:6379")
    await eventually(lambda: heard.messages)
    heard.link.send({"do": "place", "name": "ä"})
    await eventually(lambda: len(heard.messages) == 2)
    assert heard.messages == [
        {"is": "connected", "ray": "head:6379", "nodes": []},
        {"is": "heard", "do": "place", "name": "ä"},
    ]


async def test_one_that_ends_is_told_of_with_its_last_words_and_started_again(heard):
    heard.link.start(sys.executable, "a")
    await eventually(lambda: heard.messages)
    heard.link.send({"do": "die"})
    await eventually(lambda: len(heard.messages) == 2)
    assert heard.ends == ["Fatal: the head is dead"]


async def test_what_a_killed_one_printed_is_not_why_it_ended(heard):
    heard.link.start(sys.executable, "a")
    await eventually(lambda: heard.messages)
    heard.link.send({"do": "be killed"})
    await eventually(lambda: heard.ends)
    assert heard.ends[0] == "its helper was ended by SIGKILL"


async def test_why_the_cluster_is_not_found_is_told(heard):
    ray_link.HELPER.write_text('print(\'{"is": "failed", "why": "there is no cluster"}\')')
    heard.link.start(sys.executable, "a")
    await eventually(lambda: heard.ends)
    assert heard.ends[0] == "there is no cluster"
    assert heard.messages == []


async def test_a_python_that_is_not_there_is_told(heard):
    heard.link.start("/nowhere/python", "a")
    await eventually(lambda: heard.ends)
    assert heard.ends[0] == "ray.python: /nowhere/python can't be run: No such file or directory"


async def test_it_ends_with_the_link_and_what_is_told_then_is_lost(heard):
    heard.link.start(sys.executable, "a")
    await eventually(lambda: heard.messages)
    assert heard.link.pid is not None
    await heard.link.stop()
    assert heard.link.pid is None
    heard.link.send({"do": "place"})
