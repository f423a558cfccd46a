"""Real processes: a little HTTP server that can be told to misbehave, and ways to wait for what it does."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from launchers.errors import ModelNotFoundError
from launchers.spec import ArgValue, Command
from launchers.supervisor import Supervisor

if TYPE_CHECKING:
    from launchers.status import Status

BOUND = 30.0  # seconds after which a condition that doesn't come is a failure

SERVER = """
import http.server, pathlib, signal, subprocess, sys, threading, time
port, folder, *flags = int(sys.argv[1]), pathlib.Path(sys.argv[2]), *sys.argv[3:]
print("starting on", port, flush=True)
with (folder / "starts").open("a") as starts:
    starts.write(f"{port}\\n")
if "fail" in flags:
    sys.exit("no such model")
if "deaf" in flags:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "parent" in flags:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    (folder / "child").write_text(str(child.pid))
print("loading", flush=True)

def repeat():
    for number in range(100_000):
        print(f"waited for {number} s", flush=True)
        time.sleep(0.05)

def read():
    with open("/dev/zero", "rb") as zeros:
        while (folder / "loading").exists():
            zeros.read(20 << 20)
            time.sleep(0.05)

for work in (repeat, read):
    if work.__name__ in flags:
        threading.Thread(target=work, daemon=True).start()
if "hungry" in flags:
    bytearray(1 << 62)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        code = 503 if (folder / "loading").exists() else 200
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def do_POST(self):  # the path is the exit code
        import os
        os._exit(int(self.path[1:]))
    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@dataclass
class Scripted:
    """An engine that is a script in a folder; `loading` in that folder keeps it from being ready."""

    folder: Path
    flags: list[str] = field(default_factory=list)
    name: str = "scripted"
    module: str = "scripted"
    install: str = "nothing to install"
    options: None = None
    program: str | None = None
    ready_path: str = "/ready"
    ready_request: tuple[str, bytes] | None = None
    key_variable: str = "ENGINE_API_KEY"
    uuid_request_ids: bool = False
    parallel: int = 1

    def works_on(self, args: Mapping[str, ArgValue]) -> int:  # noqa: ARG002
        """Always as many."""
        return self.parallel

    def find_model(self, model, files):  # noqa: ARG002
        """Every model is found but one."""
        if model == "missing":
            raise ModelNotFoundError("missing: there is no such model")
        return model

    def command(self, spec, port, python):  # noqa: ARG002
        """The script, with the flags of now."""
        return Command((python, str(self.folder / "server.py"), str(port), str(self.folder), *self.flags), {}, ())

    @property
    def loading(self):
        """Keeps it from being ready while it exists."""
        return self.folder / "loading"

    @property
    def ports(self):
        """The port of each start."""
        return (self.folder / "starts").read_text().split()


class Watched(Supervisor):
    """A supervisor that keeps what it announced, and can be waited for."""

    def __init__(self, *args, **kwargs):
        self.seen: list[Status] = []
        super().__init__(*args, on_change=self.seen.append, **kwargs)

    @property
    def states(self):
        """The states it went through."""
        return [status.state for status in self.changes()]

    async def until(self, state, times=1):
        """The status of the `times`-th time that it came into `state`."""
        await until(lambda: sum(1 for seen in self.changes() if seen.state is state) >= times)
        return [seen for seen in self.changes() if seen.state is state][times - 1]

    def changes(self):
        """What it announced, without the words in between."""
        return [now for before, now in zip([None, *self.seen], self.seen, strict=False)
                if before is None or before.state is not now.state]  # fmt: skip


async def until(condition):
    """Wait until `condition()`."""
    deadline = time.monotonic() + BOUND
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not come"
        await asyncio.sleep(0.01)
    return result


def lives(pid):
    """Whether a process runs, and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
