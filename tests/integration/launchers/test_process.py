import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from launchers.ports import free_port
from launchers.spec import Command
from tests.integration.launchers.scripted import lives, until

if TYPE_CHECKING:
    from launchers.process import Process

FOREVER = "import time; print('up', flush=True); time.sleep(300)"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, '-c', {FOREVER!r}])
print(child.pid, flush=True)
"""


@pytest.fixture
async def start(tmp_path, keepers):
    """Spawns Python code, and ends what is left of it."""
    started: list[Process] = []

    async def spawn_code(code, log=tmp_path / "engine.log", argv=None, env=None):
        command = Command(tuple(argv or (sys.executable, "-c", code)), env or {}, ("SCRUBBED",))
        started.append(await keepers.spawn(command, log, tmp_path / "run" / f"demo-{len(started)}.json"))
        return started[-1]

    yield spawn_code
    for process in started:
        process.kill()
        await until(lambda process=process: process.gone)


async def test_a_process_runs_says_and_ends(start, tmp_path):
    process = await start("print('out'); import sys; sys.exit('err')")
    await until(lambda: process.gone)
    assert process.exit_code == 1
    assert set(process.last_lines) == {"out", "err"}
    assert (tmp_path / "engine.log").stat().st_size == len("out\nerr\n")


async def test_the_program_keeps_the_pid_and_leads_a_session_of_its_own(start):
    process = await start("import os; print(os.getpid(), os.getsid(0), os.getpgid(0))")
    await until(lambda: process.gone)
    assert process.last_lines == (f"{process.pid} {process.pid} {process.pid}",)


async def test_the_programs_python_is_not_bound_by_the_shims_flags(start):
    process = await start("import sys; print(sys.flags.isolated, sys.flags.no_site, sys.stdin.read() == '')")
    await until(lambda: process.gone)
    assert process.last_lines == ("0 0 True",)


async def test_the_environment_is_inherited_scrubbed_and_added_to(start, monkeypatch):
    monkeypatch.setenv("SCRUBBED", "1")
    monkeypatch.setenv("KEPT", "2")
    process = await start(
        "import os; print([os.environ.get(n) for n in ('SCRUBBED', 'KEPT', 'NEW')])", env={"NEW": "3"}
    )
    await until(lambda: process.gone)
    assert process.last_lines == ("[None, '2', '3']",)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells")
async def test_the_program_has_none_of_its_keepers_connections(start):
    """With one, the router would not see that the keeper has died."""
    files = "[os.readlink(f'/proc/self/fd/{n}') for n in range(3, 256) if os.path.exists(f'/proc/self/fd/{n}')]"
    process = await start(f"import os; print([name for name in {files} if name.startswith('socket:')])")
    await until(lambda: process.gone)
    assert process.last_lines == ("[]",)


async def test_a_program_that_is_not_there_says_so(start):
    process = await start("", argv=["/no/such/program"])
    await until(lambda: process.gone)
    assert process.exit_code == 127
    assert process.last_lines == ("/no/such/program: No such file or directory",)


async def test_sigterm_ends_it(start):
    process = await start(FOREVER)
    await until(lambda: process.last_lines)
    process.terminate()
    await until(lambda: process.gone)
    assert process.exit_code == -15
    process.terminate()
    process.kill()


async def test_sigkill_ends_it_and_what_it_started(start):
    process = await start(PARENT + "import time; time.sleep(300)")
    await until(lambda: len(process.last_lines) == 2)
    child = next(int(line) for line in process.last_lines if line.isdigit())
    process.kill()
    await until(lambda: process.gone and not lives(child))
    assert process.exit_code == -9


async def test_what_it_started_ends_with_it_also_when_it_exits_by_itself(start):
    process = await start(PARENT)
    await until(lambda: process.gone)
    assert process.exit_code == 0
    child = next(int(line) for line in process.last_lines if line.isdigit())
    await until(lambda: not lives(child))


async def test_a_descendant_that_left_the_group_ends_with_it(start):
    escape = f"subprocess.Popen([sys.executable, '-c', {FOREVER!r}], start_new_session=True)"
    process = await start(f"import subprocess, sys; print({escape}.pid)")
    await until(lambda: process.gone)
    assert not any(lives(int(line)) for line in process.last_lines if line.isdigit())


async def test_all_is_said_before_it_is_gone(start, tmp_path):
    process = await start("print('x' * 5_000_000); print('last')")
    await until(lambda: process.gone)
    assert process.last_lines[-1] == "last"
    assert (tmp_path / "engine.log").stat().st_size == 5_000_001 + len("last\n")


async def test_a_log_that_can_not_be_written_does_not_disturb_it(start, tmp_path):
    (tmp_path / "file").write_text("no folder")
    process = await start("print('fine')", log=tmp_path / "file" / "engine.log")
    await until(lambda: process.gone)
    assert (process.exit_code, process.last_lines) == (0, ("fine",))


async def test_a_process_says_what_it_is(start):
    process = await start("")
    assert repr(process) == f"<Process {process.pid} alive exit_code=None>"
    await until(lambda: process.gone)
    assert repr(process) == f"<Process {process.pid} gone exit_code=0>"


async def test_no_port_is_handed_out_twice_in_a_row():
    assert len({free_port() for _ in range(20)}) == 20


async def test_a_free_port_can_be_listened_on():
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", free_port())
    server.close()
    await server.wait_closed()
