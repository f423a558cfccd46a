"""kill -9 of `python -m router`, and of engines that hide what they start: nothing is left, whatever was to be kept.

launchers/test_keeper.py has each form of hiding with each end that a keeper sees. Here are whole routers, each of which
takes seconds to start: two forms stand for all where the keeper does the work.
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.running import RunningRouter, alive, eventually

ENGINE = """
import http.server, os, signal, subprocess, sys
SLEEP = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"]
form, folder = os.environ["FORM"], os.environ["FOLDER"]

def note(pid):
    with open(folder + "/pids", "a") as file:
        file.write(f"{pid}\\n")

note(os.getpid())
child = subprocess.Popen(SLEEP, start_new_session=True)
note(child.pid)
if form == "stopped":
    os.kill(child.pid, signal.SIGSTOP)
if form == "daemon" and os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        note(os.getpid())
        os.execvpe(SLEEP[0], SLEEP, {})
    os._exit(0)
if form == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""
FORMS = ["session", "daemon", "stopped", "deaf"]
CONFIG = """
server: {port: 0, keep_engines: KEEP}
backends: [{name: demo, launch: {engine: vllm, model: MODEL, env: {FORM: WHICH, FOLDER: "HERE"}}}]
limits: {drain_timeout: 1s}
"""


class Nasty:
    """A folder with an engine's program that hides what it starts, in several forms."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "tmp").mkdir()
        (folder / "bin" / "vllm").write_text(f"#!{sys.executable}\n{ENGINE}")
        (folder / "bin" / "vllm").chmod(0o755)
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text("{}")

    def router(self, form: str, *, keep: bool = False) -> RunningRouter:
        """A router that launches it."""
        values = {"KEEP": str(keep).lower(), "MODEL": str(self.folder / "model"), "WHICH": form}
        config = CONFIG.replace("HERE", str(self.folder))
        for name, value in values.items():
            config = config.replace(name, value)
        env = {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(self.folder / "tmp")}
        return RunningRouter(self.folder, config, env=env)

    def processes(self) -> list[psutil.Process]:
        """Those of all engines so far that run."""
        found = []
        for pid in map(int, (self.folder / "pids").read_text().split()):
            with suppress(psutil.NoSuchProcess):  # it may end at any moment
                found.append(psutil.Process(pid))
        return [each for each in found if alive(each)]

    def kill(self) -> None:
        """Kill them."""
        for each in self.processes():
            with suppress(psutil.NoSuchProcess):
                each.kill()

    def is_clean(self) -> bool:
        """Whether nothing of any is left: no process, no file."""
        files = [*(self.folder / "tmp").iterdir(), *(self.folder / "logs" / "run").iterdir()]
        return not self.processes() and not files


@pytest.fixture
def nasty(tmp_path):
    made = Nasty(tmp_path)
    yield made
    made.kill()


@pytest.mark.parametrize("form", ["daemon", "stopped"])
async def test_nothing_survives_kill_9_of_the_router(nasty, form):
    async with nasty.router(form) as router:
        await router.ready()
        keeper = router.keeper
        assert len(nasty.processes()) >= 2
        router.signal(signal.SIGKILL)
        await eventually(nasty.is_clean, within=5)
        await eventually(lambda: not alive(keeper), within=5)


@pytest.mark.parametrize("form", FORMS)
async def test_nothing_survives_kill_9_of_the_router_and_its_keeper(nasty, form):
    """But for what the next router ends."""
    async with nasty.router(form) as router:
        await router.ready()
        keeper, leader = router.keeper, nasty.processes()[0]
        router.signal(signal.SIGSTOP)  # it is not to see its keeper's end
        keeper.kill()
        router.signal(signal.SIGKILL)
        await eventually(lambda: not alive(leader), within=5)
        await router.exit_code()
    if form == "daemon":  # with an environment of its own, it is nobody's any more
        nasty.processes()[-1].kill()
    remote = "server: {port: 0}\nbackends: [{url: 'http://127.0.0.1:9', models: [m]}]\n"
    async with RunningRouter(nasty.folder, remote):
        await eventually(nasty.is_clean)


@pytest.mark.parametrize("form", ["session", "deaf"])
async def test_nothing_of_an_engine_survives_the_engine(nasty, form):
    """Its next start has none of the last beside it."""
    async with nasty.router(form) as router:
        await router.ready()
        first = nasty.processes()
        first[0].kill()
        await eventually(lambda: not any(alive(each) for each in first))
        await eventually(lambda: len(nasty.processes()) >= 2 and router.said.count("demo: ready") == 2)
        router.signal()
        if form == "deaf":  # it would have ten seconds to end by itself
            await eventually(lambda: "demo: stopping" in router.said)
            router.signal()
        assert await router.exit_code() == (130 if form == "deaf" else 0)
        assert nasty.is_clean()


@pytest.mark.parametrize(("form", "end"), [("session", signal.SIGTERM), ("daemon", signal.SIGKILL)])
async def test_a_kept_engine_ends_as_a_whole(nasty, form, end):
    """Adopted with all that it hides by the next router; and where it dies while there is none, nothing of it stays."""
    async with nasty.router(form, keep=True) as router:
        await router.ready()
        kept, keeper = nasty.processes(), router.keeper
        router.signal(end)
        await router.exit_code()
    assert all(alive(each) for each in (*kept, keeper))
    async with nasty.router(form, keep=True) as router:
        await router.ready()
        assert "took over" in router.said
        assert nasty.processes() == kept
        router.signal(end)
        await router.exit_code()
    kept[0].kill()
    await eventually(nasty.is_clean, within=5)
    await eventually(lambda: not alive(keeper), within=5)
