"""The files of logs, as a router at work writes them, and what docs/logs.md asks of them."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self, cast

import aiohttp
import pytest
from structlog.testing import capture_logs

from launchers.states import State
from launchers.status import Status
from router.core.catalog import Backend
from router.core.ending import told_by
from router.core.memory.actions import Load
from router.core.memory.footprints import Placement
from router.core.record import Record
from router.fleet import figures
from router.fleet.members import Member
from router.telemetry.access import in_json
from tests.fakes.engine import FakeEngine
from tests.integration.raw import ASK
from tests.running import REPOSITORY, RunningRouter, dead_url, eventually
from tests.walk.documents import commands

if TYPE_CHECKING:
    from router.fleet.diff import PlannedBackend

CONFIG = """\
server: {{port: 0}}
logging: {{format: json}}
limits: {{retries: 0}}
backends:
  - {{url: '{url}', name: b, models: [demo]}}
  - {{url: '{dead}', name: dead, models: [dead]}}
"""
JQ = [command for place, command in commands() if place.startswith("docs/logs.md") and command.startswith("jq ")]


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "logs" / f"{name}.log").read_text().splitlines()]


async def test_a_requests_id_leads_through_all_of_them(tmp_path):
    """To the engine, and from one file to the next; what is read leaves no trace in audit.log."""
    async with (
        FakeEngine() as fake,
        RunningRouter(tmp_path, CONFIG.format(url=fake.url, dead=dead_url())) as router,
        aiohttp.ClientSession() as session,
    ):
        await router.ready()
        for model in ("demo", "dead"):
            body, headers = ASK | {"model": model}, {"x-request-id": f"id-of-{model}"}
            async with session.post(f"{router.url}/v1/chat/completions", json=body, headers=headers) as answer:
                assert answer.headers["x-request-id"] == f"id-of-{model}"
        assert fake.stats.last is not None
        assert fake.stats.last.header("x-request-id") == "id-of-demo"
        for path in ("backends/b/drain", "backends/none/drain"):
            async with session.post(f"{router.url}/admin/{path}", headers={"x-request-id": f"id-of-{path}"}) as answer:
                assert answer.headers["x-request-id"] == f"id-of-{path}"
        async with session.get(f"{router.url}/admin/status") as answer:
            assert answer.status == 200
        router.signal(signal.SIGTERM)
        assert await router.exit_code() == 0
    access = lines(tmp_path, "access")
    assert [(each["id"], each["model"]) for each in access] == [("id-of-demo", "demo"), ("id-of-dead", "dead")]
    assert "id-of-dead" in {each.get("request_id") for each in lines(tmp_path, "router")}
    audit = lines(tmp_path, "audit")
    assert [(each["event"], each["asked"], each["status"], each["request_id"]) for each in audit] == [
        ("drain", {"name": "b"}, 200, "id-of-backends/b/drain"),
        ("drain", {"name": "none"}, 404, "id-of-backends/none/drain"),
    ]
    assert "none" in audit[1]["error"]
    # Standard error has what router.log has.
    assert any(json.loads(line)["event"] == "stopping" for line in router.said.splitlines() if line.startswith("{"))


@pytest.fixture
def folder(tmp_path, member):
    """Give a folder with logs that have what the examples look for."""
    (tmp_path / "logs").mkdir()
    records = [
        Record("id", "/v1/chat/completions", "demo", "b", 200, outcome, 1, 0.1, 1.0, sent=10, events=3, tail=b"")
        for outcome in ("answered", "the client left")
    ]
    (tmp_path / "logs/access.log").write_text("".join(f"{in_json(each, told_by(each), 'now')}\n" for each in records))
    with capture_logs() as models:
        figures.load(member, Load("b", Placement("b", {}), {"ram": 5}), {"ram": 2})
        figures.unload(member, "others need its memory", {"ram": 5}, 7.0, cancelled=False)
        figures.engine(member, Status("b", State.RUNNING, None, 1, "serves", (), 0.0, restarts=2))
    (tmp_path / "logs/models.log").write_text(
        "".join(f"{json.dumps({**each, 'timestamp': 'now'})}\n" for each in models)
    )
    router = {"loop_lag": 0.1, "in_flight": 3}
    (tmp_path / "logs/system.log").write_text(json.dumps({"timestamp": "now", "router": router}))
    (tmp_path / "logs/audit.log").write_text(
        json.dumps({"timestamp": "now", "event": "drain", "by": "me", "asked": {}, "status": 200})
    )
    return tmp_path


@pytest.fixture
def member():
    """Give a member of a fleet."""
    backend = Backend("b", models={"demo": "demo"})
    return Member(cast("PlannedBackend", SimpleNamespace(launch=None)), backend)


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.parametrize("command", JQ)
def test_an_example_of_jq_finds_something(folder, command):
    """Each field that it names is there."""
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "null" not in done.stdout


def test_the_examples_are_found():
    """A change of how the page is written mustn't leave all of them out."""
    assert len(JQ) > 5


# Where logs can't be written


async def asked(router: str, session: aiohttp.ClientSession, count: int) -> list[int]:
    """Ask so often for a model that isn't there; give the statuses. Each is a warning of its own."""
    url, statuses = f"{router}/v1/chat/completions", []
    for number in range(count):
        async with session.post(url, json=ASK | {"model": f"none-{number}-{'x' * 100}"}) as answer:
            statuses.append(answer.status)
    return statuses


class InSmallFolder(RunningRouter):
    """A router whose folder of logs is a disk of 64 KiB."""

    async def __aenter__(self) -> Self:
        """Start it where that disk is mounted, which no other process sees."""
        (self.folder / "logs").mkdir()
        mount = f"mount -t tmpfs -o size=64k none {self.folder}/logs"
        run = f"exec {sys.executable} -m router --config {self.folder}/router.yaml"
        self.process = await asyncio.create_subprocess_exec(
            "unshare", "-Urm", "/bin/sh", "-c", f"{mount} && {run}",
            cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        self._listening = asyncio.create_task(self._listen())
        return self

    @property
    def logs(self) -> Path:
        """The disk as its process sees it."""
        return Path(f"/proc/{self.process.pid}/root{self.folder}/logs")


def may_mount() -> bool:
    """Tell whether this machine lets a process mount a disk that it alone sees."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    command = ["unshare", "-Urm", "mount", "-t", "tmpfs", "-o", "size=64k", "none", "/mnt"]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="no disk can be mounted")
async def test_a_disk_that_is_full_and_has_room_again(tmp_path):
    """Each request is answered; how many lines are lost is said once there is room, and whole lines follow."""
    async with (
        FakeEngine() as fake,
        InSmallFolder(tmp_path, CONFIG.format(url=fake.url, dead=dead_url())) as router,
        aiohttp.ClientSession() as session,
    ):
        await router.ready()
        filler = router.logs / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 1024)
        assert set(await asked(router.url, session, 30)) == {404}
        await eventually(lambda: "access.log can't be written: No space left on device" in router.said)
        filler.unlink()
        assert set(await asked(router.url, session, 3)) == {404}
        await eventually(lambda: "access.log can be written again" in router.said)
        # Also those of before that it took.
        said = (router.logs / "access.log").read_text().splitlines()
        kept = [json.loads(line)["id"] for line in said if line.endswith("}")]
        router.signal(signal.SIGTERM)
        assert await router.exit_code() == 0
    lost = sum(
        json.loads(line)["lost"] for line in router.said.splitlines() if "access.log can be written again" in line
    )
    assert lost + len(kept) == 33


async def test_standard_error_that_nobody_reads(tmp_path):
    """A pipe that is full: each request is answered, and the end waits a second at most."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 1024)
    os.set_blocking(writing, True)
    (tmp_path / "router.yaml").write_text(CONFIG.format(url="http://127.0.0.1:1", dead=dead_url()))
    command = [sys.executable, "-m", "router", "--config", str(tmp_path / "router.yaml")]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=REPOSITORY, stdout=asyncio.subprocess.DEVNULL, stderr=writing
    )
    try:
        log = tmp_path / "logs" / "router.log"
        await eventually(lambda: log.exists() and "listening at" in log.read_text())
        url = log.read_text().split("listening at ")[1].split('"')[0]
        async with aiohttp.ClientSession() as session:
            assert set(await asked(url, session, 50)) == {404}
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        os.close(reading)
        os.close(writing)
    assert len(lines(tmp_path, "access")) == 50
