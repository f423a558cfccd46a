"""Nothing survives the router, unless it is to be kept: engines that hide their processes, and their keeper."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from launchers import kin, leftovers, process
from launchers.keeper.kept import MOST_UNSAID
from launchers.process import Keepers
from launchers.record import ProcessRecord
from launchers.spec import Command
from tests.integration.launchers.scripted import BOUND, lives, until

SLEEP = "import time; time.sleep(300)"

NASTY = """
import os, signal, subprocess, sys, time
form, folder = sys.argv[1:]
SLEEP = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"

def note(pid):
    with open(folder + "/pids", "a") as file:
        file.write(f"{pid}\\n")

def worker(**options):
    child = subprocess.Popen([sys.executable, "-c", SLEEP], **options)
    note(child.pid)
    return child

def daemon(**options):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            worker(**options)
            note(os.getpid())
            time.sleep(300)
        os._exit(0)
    os.wait()

if form == "group":
    worker()
elif form == "session":
    worker(start_new_session=True)
elif form == "daemon":
    daemon()
elif form == "no-mark":
    daemon(env={"PATH": os.environ["PATH"]})
elif form == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    worker(start_new_session=True)
elif form == "stopped":
    os.kill(worker(start_new_session=True).pid, signal.SIGSTOP)
elif form == "leader-died":
    worker(start_new_session=True)
    daemon()
    note(os.getpid())
    print("ready", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
note(os.getpid())
print("ready", flush=True)
time.sleep(300)
"""
FORMS = ["group", "session", "daemon", "no-mark", "deaf", "stopped"]

ROUTER = """
import asyncio, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from launchers.process import Keepers
from launchers.spec import Command

async def main():
    folder = Path({folder!r})
    engine = await Keepers().spawn(
        Command((sys.executable, {script!r}, {form!r}, {folder!r}), {{}}, ()),
        folder / "demo.log", folder / "run" / "demo.json", keep={keep},
    )
    while not engine.last_lines:
        await asyncio.sleep(0.01)
    print(engine.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

one_loop = pytest.mark.asyncio(loop_factories=["asyncio"])
"""What is tried happens in the keeper, or in a router of its own, whatever loop the test runs on."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are no subreapers")


@pytest.fixture
def nasty(tmp_path):
    """Gives the program of an engine that hides its processes; at the end, none of them may be left."""
    script = tmp_path / "nasty.py"
    script.write_text(NASTY)
    yield script
    for pid in pids(tmp_path):
        if lives(pid):
            os.kill(pid, signal.SIGKILL)


def pids(folder: Path) -> list[int]:
    file = folder / "pids"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def left(folder: Path) -> list[int]:
    return [pid for pid in pids(folder) if lives(pid)]


def keeper_of(folder: Path) -> int:
    record = ProcessRecord.read(folder / "run" / "demo.json")
    assert record is not None
    return record.keeper_pid


def scratch_folders(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.name.startswith("router-")]


@pytest.fixture
def routers(tmp_path, nasty):
    """Starts routers in processes of their own, each with one nasty engine; gives the process and the engine's pid."""
    started = []

    def start(form, *, keep=False):
        code = ROUTER.format(
            root=str(Path(__file__).parents[3]), folder=str(tmp_path), script=str(nasty), form=form, keep=keep
        )
        env = {**os.environ, "TMPDIR": str(tmp_path)}
        router = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env)
        started.append(router)
        assert router.stdout is not None
        return router, int(router.stdout.readline())

    yield start
    for router in started:
        router.kill()
        router.communicate()


@one_loop
@linux
@pytest.mark.parametrize("form", [*FORMS, "leader-died"])
async def test_nothing_survives_a_router_that_is_killed(routers, tmp_path, form):
    """Within two seconds; no process, no folder, no record."""
    router, _ = routers(form)
    keeper = psutil.Process(router.pid).children()[0]
    router.kill()
    killed = time.monotonic()
    await until(lambda: not left(tmp_path) and not lives(keeper.pid))
    assert time.monotonic() - killed < 2
    assert not scratch_folders(tmp_path)
    assert not list((tmp_path / "run").iterdir())
    assert (tmp_path / "demo.log").read_text() == "ready\n"


@one_loop
@linux
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", ["kill", "dies"])
async def test_nothing_survives_the_engine(keepers, nasty, tmp_path, form, how):
    """Be it killed, or dies by itself: it is gone when nothing of it runs. Another engine isn't touched."""
    other = await keepers.spawn(
        Command((sys.executable, "-c", SLEEP), {}, ()), tmp_path / "other.log", tmp_path / "run" / "other.json"
    )
    engine = await start(keepers, nasty, form)
    if form == "no-mark":  # it can't be told whose that is, as long as there are others
        other.kill()
    if how == "kill":
        engine.kill()
    else:
        os.kill(engine.pid, signal.SIGKILL)
    await until(lambda: engine.gone)
    assert engine.exit_code == -9
    assert not left(tmp_path)
    if form != "no-mark":
        assert lives(other.pid)
        assert not other.gone
    other.kill()
    await until(lambda: other.gone)


async def start(keepers, nasty, form, *, keep=False):
    folder = nasty.parent
    engine = await keepers.spawn(
        Command((sys.executable, str(nasty), form, str(folder)), {}, ()),
        folder / "demo.log", folder / "run" / "demo.json", keep=keep,
    )  # fmt: skip
    await until(lambda: engine.last_lines)
    return engine


@one_loop
@linux
async def test_no_zombie_stays(keepers, nasty, tmp_path):
    """Not of an engine, and not of its orphans."""
    for _ in range(3):
        engine = await start(keepers, nasty, "daemon")
        keeper = psutil.Process(keeper_of(tmp_path))
        os.kill(engine.pid, signal.SIGKILL)
        await until(lambda engine=engine: engine.gone)
    assert keeper.children(recursive=True) == []


@linux
@pytest.mark.parametrize("form", ["group", "session", "deaf", "stopped"])
async def test_a_keeper_that_is_killed_takes_its_engines_along(keepers, nasty, tmp_path, form):
    """They are gone, nobody knows how; the next one has another keeper."""
    engine = await start(keepers, nasty, form)
    killed = keeper_of(tmp_path)
    os.kill(killed, signal.SIGKILL)
    await until(lambda: engine.gone)
    assert engine.exit_code is None
    assert not left(tmp_path)
    assert not list((tmp_path / "run").iterdir())
    (tmp_path / "pids").unlink()
    again = await start(keepers, nasty, form)
    assert keeper_of(tmp_path) != killed
    again.kill()
    await until(lambda: again.gone)


@linux
async def test_a_keeper_that_does_not_answer_is_killed(keepers, nasty, tmp_path, monkeypatch):
    """Its engines end all the same."""
    monkeypatch.setattr(process, "ANSWER_WITHIN", 0.2)
    monkeypatch.setattr(leftovers, "GONE_WITHIN", 0.5)
    engine = await start(keepers, nasty, "session")
    os.kill(keeper_of(tmp_path), signal.SIGSTOP)
    engine.kill()
    await until(lambda: engine.gone)
    assert not left(tmp_path)


async def test_a_process_that_can_not_be_started_costs_no_other(keepers, nasty, tmp_path, monkeypatch):
    """It is said, and its keeper is not taken for one that doesn't answer."""
    monkeypatch.setattr(process, "ANSWER_WITHIN", 0.1)
    engine = await start(keepers, nasty, "group")
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "file"))
    with pytest.raises(OSError, match="no process can be started: Not a directory"):
        await start(keepers, nasty, "group")
    await asyncio.sleep(0.5)
    assert not engine.gone
    engine.kill()
    await until(lambda: engine.gone)


async def test_a_close_that_is_given_up_can_be_made_again(nasty):
    """As a second Ctrl-C does."""
    keepers = Keepers()
    await start(keepers, nasty, "group")
    closing = asyncio.create_task(keepers.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    await keepers.close()
    assert not left(nasty.parent)


async def test_a_keeper_outlives_a_ctrl_c_and_a_sigterm(keepers, nasty, tmp_path):
    """While there is a router, that decides."""
    engine = await start(keepers, nasty, "group")
    keeper = keeper_of(tmp_path)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(keeper, number)
    engine.look()
    engine.terminate()
    await until(lambda: engine.gone)
    assert engine.exit_code == -signal.SIGTERM
    assert lives(keeper)


async def test_keepers_end_with_their_router(nasty, tmp_path):
    """At the latest when it has left them."""
    keepers = Keepers()
    engine = await start(keepers, nasty, "session")
    keeper = keeper_of(tmp_path)
    await keepers.close()
    assert not lives(keeper)
    assert not left(tmp_path)
    assert engine.gone


async def test_signals_are_the_engines_as_any_programs(keepers, tmp_path):
    """None is ignored, none is blocked."""
    before = signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # a shell has what it starts in the background ignore it
    said = (
        "import signal; print([s.name for s in signal.Signals if signal.getsignal(s) is signal.SIG_IGN], "
        "signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    )
    engine = await keepers.spawn(
        Command((sys.executable, "-c", said), {}, ()), tmp_path / "demo.log", tmp_path / "run" / "demo.json"
    )
    await until(lambda: engine.gone)
    signal.signal(signal.SIGQUIT, before)
    assert engine.last_lines == ("['SIGPIPE', 'SIGXFSZ'] set()",)  # Python itself ignores these two


async def test_an_engine_has_a_folder_for_temporary_files_while_it_runs(keepers, tmp_path):
    """Unless its own settings name another."""
    said = "import os; print(os.environ['TMPDIR'], os.environ['TEMP']); open(os.environ['TMPDIR'] + '/x', 'w')"
    engine = await keepers.spawn(
        Command((sys.executable, "-c", said), {"TEMP": "/mine"}, ()), tmp_path / "demo.log", tmp_path / "run" / "d.json"
    )
    await until(lambda: engine.gone)
    assert engine.last_lines == (f"{engine.id} /mine",)
    assert not os.path.exists(engine.id)  # noqa: ASYNC240, PTH110


# Elsewhere than on Linux


ELSEWHERE = process.KEEPER.replace(
    "from launchers.keeper", "from launchers import kin; kin.IS_LINUX = False; from launchers.keeper"
)


@pytest.fixture
def elsewhere(monkeypatch):
    """Have keepers, and this router, do without what Linux alone has: subreapers, /proc, marks, ties to parents."""
    assert "IS_LINUX" in ELSEWHERE
    monkeypatch.setattr(process, "KEEPER", ELSEWHERE)
    monkeypatch.setattr(kin, "IS_LINUX", False)
    process._me.cache_clear()
    yield
    process._me.cache_clear()


@one_loop
@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("form", ["session", "deaf"])
@pytest.mark.parametrize("how", ["kill", "terminate", "dies", "router", "keeper"])
async def test_elsewhere_too_nothing_survives(nasty, tmp_path, form, how):
    """Of what descends from the engine, or has been seen to: the end of the engine, of the router, of the keeper."""
    keepers = Keepers()
    engine = await start(keepers, nasty, form)
    engine.look()
    if how == "kill" or (how, form) == ("terminate", "deaf"):
        engine.kill()
    elif how == "terminate":
        engine.terminate()
    elif how == "dies":
        said = Command((sys.executable, "-c", ""), {}, ())
        after_it = await keepers.spawn(said, tmp_path / "other.log", tmp_path / "run" / "other.json")
        os.kill(engine.pid, signal.SIGKILL)
        await until(lambda: after_it.gone)
    elif how == "keeper":
        os.kill(keeper_of(tmp_path), signal.SIGKILL)
    else:
        await keepers.close()
    await until(lambda: engine.gone)
    await until(lambda: not left(tmp_path))  # each has been killed; that it is dead may take the system a moment
    await keepers.close()
    assert not list((tmp_path / "run").iterdir())


@linux
async def test_without_a_proc_of_its_own_a_keeper_kills_no_stranger(nasty, tmp_path, monkeypatch):
    """The pids in it are others': what is surely the engine's, its group, is ended."""
    blind = process.KEEPER.replace(
        "from launchers.keeper", "from launchers import kin; kin.is_ours = lambda: False; from launchers.keeper"
    )
    monkeypatch.setattr(process, "KEEPER", blind)
    keepers = Keepers()
    for how in (lambda engine: engine.kill(), lambda engine: os.kill(engine.pid, signal.SIGKILL)):
        engine = await start(keepers, nasty, "group")
        how(engine)
        await until(lambda engine=engine: engine.gone)
        assert engine.exit_code == -9
        await until(lambda: not left(tmp_path))
    await keepers.close()


# Engines that are kept


@pytest.fixture
def kept(routers, tmp_path):
    """Gives the record of a nasty engine whose router was killed, and which was to be kept; ends it."""
    records = []

    def leave(form):
        router, _ = routers(form, keep=True)
        router.kill()
        router.wait()
        record = ProcessRecord.read(tmp_path / "run" / "demo.json")
        assert record is not None
        records.append(record)
        return record

    yield leave
    for record in records:
        leftovers.end(record)


@pytest.mark.parametrize("form", ["group", "session"])
async def test_a_kept_engine_outlives_its_router_and_is_adopted(keepers, kept, tmp_path, form):
    """What it said last is known, its output goes on into its log, and its exit code is told."""
    record = kept(form)
    assert leftovers.reap(tmp_path / "run", ["demo"]) == []
    found = leftovers.left_running(tmp_path / "run", "demo")
    assert found == record
    engine = await keepers.adopt(found)
    await until(lambda: engine.last_lines == ("ready",))
    owned = ProcessRecord.read(tmp_path / "run" / "demo.json")
    assert owned is not None
    assert (owned.router_pid, owned.router_started) == (os.getpid(), kin.started(os.getpid()))
    assert leftovers.left_running(tmp_path / "run", "demo") is None
    engine.terminate()
    await until(lambda: engine.gone)
    assert engine.exit_code == -signal.SIGTERM
    assert not left(tmp_path)
    await until(lambda: not list((tmp_path / "run").iterdir()))
    await keepers.close()
    await until(lambda: not lives(record.keeper_pid))
    assert not scratch_folders(tmp_path)


async def test_what_is_adopted_is_kept_on(keepers, kept):
    """And is there for the next router."""
    record = kept("group")
    first = await keepers.adopt(record)
    first.release()
    await keepers.close()
    assert lives(record.pid)
    second = Keepers()
    engine = await second.adopt(record)
    engine.kill()
    await until(lambda: engine.gone)
    await second.close()


@one_loop
@linux
async def test_a_kept_engine_whose_first_process_dies_is_ended_though_no_router_is_there(kept, tmp_path):
    """With all its workers, and its keeper has nothing to stay for."""
    record = kept("daemon")
    os.kill(record.pid, signal.SIGKILL)
    await until(lambda: not left(tmp_path) and not lives(record.keeper_pid))
    assert not scratch_folders(tmp_path)
    assert not list((tmp_path / "run").iterdir())


@one_loop
@pytest.mark.parametrize("form", FORMS)
async def test_a_kept_engine_that_nobody_wants_is_ended_by_its_keeper(kept, tmp_path, form):
    """The next router says so."""
    record = kept(form)
    assert await asyncio.to_thread(leftovers.reap, tmp_path / "run") == [record]
    assert not left(tmp_path)
    assert not list((tmp_path / "run").iterdir())


@one_loop
@linux
async def test_a_keeper_without_a_router_ends_its_engines_when_it_is_told_to(kept, tmp_path):
    """As a person does it, or the system when it goes down."""
    record = kept("session")
    os.kill(record.keeper_pid, signal.SIGTERM)
    await until(lambda: not left(tmp_path) and not lives(record.keeper_pid))


@one_loop
@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\n\r\n", b'{"do": "fly"}\n', b'{"do": "attach"}\n', b"[1]\n", b"\xff\n"]
)
async def test_a_stranger_at_the_keepers_door_does_no_harm(keepers, kept, said):
    """It is shown out; who is kept can be adopted."""
    record = kept("group")
    reader, writer = await asyncio.open_unix_connection(record.keeper_at)
    writer.write(said)
    assert await reader.read() == b""
    writer.close()
    engine = await keepers.adopt(record)
    engine.kill()
    await until(lambda: engine.gone)


@one_loop
@linux
async def test_an_engine_whose_keeper_is_killed_is_not_adopted(kept, tmp_path):
    """Nothing of it runs on unwatched."""
    record = kept("session")
    os.kill(record.keeper_pid, signal.SIGKILL)
    await until(lambda: not lives(record.pid))
    assert leftovers.left_running(tmp_path / "run", "demo") is None
    await asyncio.to_thread(leftovers.reap, tmp_path / "run")
    assert not left(tmp_path)


async def test_an_engine_is_kept_where_the_path_of_temporary_files_is_too_long_for_a_socket(
    keepers, nasty, tmp_path, monkeypatch
):
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    engine = await start(keepers, nasty, "group", keep=True)
    assert engine.is_kept
    engine.release()
    await keepers.close()
    next_router = Keepers()
    record = ProcessRecord.read(tmp_path / "run" / "demo.json")
    assert record is not None
    adopted = await next_router.adopt(record)
    adopted.kill()
    await until(lambda: adopted.gone)
    await next_router.close()
    await until(lambda: not lives(record.keeper_pid))
    assert not Path(record.keeper_at).parent.exists()
    assert not scratch_folders(folder)


async def test_an_engine_that_a_later_router_could_not_find_is_not_kept(keepers, nasty, tmp_path):
    """It would hold its memory for ever."""
    (tmp_path / "run").write_text("a file, not a folder")
    engine = await start(keepers, nasty, "session", keep=True)
    assert not engine.is_kept
    await keepers.close()
    await until(lambda: not left(tmp_path))


async def test_a_kept_engine_is_found_again_though_the_folder_of_records_was_removed(keepers, nasty, tmp_path):
    """Somebody made room, or began afresh."""
    engine = await start(keepers, nasty, "session", keep=True)
    shutil.rmtree(tmp_path / "run")
    engine.release()
    await keepers.close()
    await until((tmp_path / "run" / "demo.json").exists)
    record = ProcessRecord.read(tmp_path / "run" / "demo.json")
    assert record is not None
    assert record.pid == engine.pid
    assert leftovers.end(record)
    assert not left(tmp_path)


async def test_a_kept_engine_that_could_not_be_found_again_ends_with_its_router(keepers, nasty, tmp_path):
    """The folder of records can't be written any more."""
    engine = await start(keepers, nasty, "session", keep=True)
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").write_text("a file, not a folder")
    engine.release()
    await keepers.close()
    await until(lambda: not left(tmp_path))


async def test_a_keeper_that_does_not_answer_is_not_waited_for_long(keepers, kept, tmp_path, monkeypatch):
    """What it keeps is ended, and started anew."""
    monkeypatch.setattr(process, "ANSWER_WITHIN", 0.3)
    monkeypatch.setattr(leftovers, "GONE_WITHIN", 0.3)
    record = kept("session")
    os.kill(record.keeper_pid, signal.SIGSTOP)
    with pytest.raises(OSError, match="not answered"):
        await keepers.adopt(record)
    await asyncio.to_thread(leftovers.end, record)
    assert not left(tmp_path)
    assert not lives(record.keeper_pid)
    assert not scratch_folders(tmp_path)  # nor the one of the keeper's door


async def test_an_engine_that_floods_its_log_costs_the_router_little(keepers, tmp_path):
    """It gets the latest at a bounded pace, and the very last."""
    program = f"import time\nend = time.time() + 2\nwhile time.time() < end: print({'x' * 99!r})\nprint('the last')"
    engine = await keepers.spawn(
        Command((sys.executable, "-c", program), {}, ()), tmp_path / "demo.log", tmp_path / "run" / "demo.json"
    )
    heard = 0
    hear = engine.hear

    def count(message):
        nonlocal heard
        heard += len(message.get("said", ""))
        hear(message)

    engine.hear = count
    await until(lambda: engine.gone)
    assert engine.last_lines[-1] == "the last"
    written = sum(file.stat().st_size for file in tmp_path.glob("demo.log*"))
    assert heard < min(written, 64 * 1024 * 25 + MOST_UNSAID)


async def test_nobody_is_adopted_who_is_gone(keepers, kept):
    """It says so."""
    record = kept("group")
    engine = await keepers.adopt(record)
    engine.kill()
    await until(lambda: engine.gone)
    with pytest.raises(OSError, match=r"ended|No such file"):
        await keepers.adopt(record)


async def test_it_is_quick(keepers, tmp_path):
    """The first engine runs a moment after it is asked for, its keeper included; the next sooner still."""
    took = []
    for number in range(2):
        began = time.monotonic()
        engine = await keepers.spawn(
            Command((sys.executable, "-c", "print(1)"), {}, ()), tmp_path / "demo.log", tmp_path / f"{number}.json"
        )
        took.append(time.monotonic() - began)
        await until(lambda engine=engine: engine.gone)
    assert max(took) < BOUND / 10
