import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from launchers import loads, supervisor
from launchers.engines import ENGINES
from launchers.errors import ModelNotFoundError
from launchers.footprints.parts import RAM
from launchers.spec import LaunchSpec
from launchers.states import State
from tests.integration.launchers.scripted import BOUND, Scripted, Watched, lives, until
from tests.models import write_gguf

TINY = """
import asyncio, sys, uvloop
from pathlib import Path
sys.path[:0] = [{root!r}, {here!r}]
from scripted import Scripted
from launchers.spec import LaunchSpec
from launchers.process import Keepers
from launchers.supervisor import Supervisor

async def main():
    folder = Path({folder!r})
    engine = Scripted(folder, ["parent"])
    spec = LaunchSpec("demo-1", "scripted", "any", "demo", {{}}, {{}}, 60)
    say = lambda status: print(status.state.value, status.pid, flush=True)
    demo = Supervisor(spec, engine, keepers=Keepers(), logs=folder / "logs", on_change=say)
    demo.start()
    await asyncio.Event().wait()

with asyncio.Runner(loop_factory={loop}.new_event_loop) as runner:
    runner.run(main())
"""


async def crash(status, code):
    """Have a running engine exit."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.post("http://{}:{}/{code}".format(*status.address, code=code))


def nothing_runs_but_the_test():
    return len(asyncio.all_tasks()) == 1


async def test_it_becomes_ready_and_serves_where_it_says(supervise, engine):
    demo = supervise()
    assert (demo.status.state, demo.status.detail) == (State.STOPPED, "not started")
    demo.start()
    status = await demo.until(State.RUNNING)
    assert status.address == ("127.0.0.1", int(engine.ports[0]))
    assert lives(status.pid)
    assert status.detail.startswith("ready after ")
    assert demo.status.last_lines == (f"starting on {engine.ports[0]}", "loading")
    assert demo.states[0] is State.STARTING
    assert repr(demo).startswith("<Supervisor demo-1 RUNNING <Process ")
    await demo.stop()
    assert (demo.status.state, demo.status.address, demo.status.pid) == (State.STOPPED, None, None)
    assert not lives(status.pid)
    assert nothing_runs_but_the_test()


async def test_a_start_of_what_runs_changes_nothing(supervise, engine):
    demo = supervise()
    demo.start()
    demo.start()
    await demo.until(State.RUNNING)
    demo.start()
    await demo.stop()
    assert demo.states == [State.STARTING, State.RUNNING, State.STOPPING, State.STOPPED]
    assert len(engine.ports) == 1


async def test_it_is_not_ready_before_it_answers_200_and_says_how_it_goes(supervise, engine, monkeypatch):
    monkeypatch.setattr(supervisor, "PROGRESS_EVERY", 0.05)
    engine.loading.touch()
    demo = supervise()
    demo.start()
    await until(lambda: any("the engine last said: loading" in status.detail for status in demo.seen))
    assert set(demo.states) == {State.STARTING}
    engine.loading.unlink()
    await demo.until(State.RUNNING)


async def test_a_start_that_takes_too_long_is_tried_again(supervise, engine):
    engine.loading.touch()
    demo = supervise(start_timeout=0.3)
    demo.start()
    status = await demo.until(State.BACKOFF)
    assert "was not ready within 0.3 s" in status.detail
    await demo.stop()
    assert nothing_runs_but_the_test()


async def test_a_start_that_goes_on_may_take_longer(supervise, engine, monkeypatch):
    monkeypatch.setattr(loads, "LOOK_EVERY", 0.1)
    engine.loading.touch()
    engine.flags = ["read"]
    demo = supervise(start_timeout=4)
    demo.start()
    first = await demo.until(State.STARTING)
    await until(lambda: demo.status.progressed - first.progressed > 4)
    engine.loading.unlink()
    assert (await demo.until(State.RUNNING)).share == 1.0
    assert demo.states == [State.STARTING, State.RUNNING]


async def test_a_start_that_hangs_may_not_whatever_it_says(supervise, engine, monkeypatch):
    monkeypatch.setattr(loads, "LOOK_EVERY", 0.1)
    engine.loading.touch()
    engine.flags = ["repeat"]
    demo = supervise(start_timeout=1)
    demo.start()
    status = await demo.until(State.BACKOFF)
    assert "was not ready within " in status.detail
    assert "waited for" in status.detail
    assert status.out_of_memory is None


async def test_an_engine_that_finds_no_memory_says_so(supervise, engine):
    engine.flags = ["hungry"]
    demo = supervise(give_up_after=2)
    demo.start()
    status = await demo.until(State.FATAL)
    assert "exited with code 1 (out of memory) while starting: MemoryError" in status.detail
    assert status.out_of_memory == RAM


async def test_an_engine_that_fails_to_start_is_given_up(supervise, engine):
    engine.flags = ["fail"]
    demo = supervise(give_up_after=3)
    demo.start()
    status = await demo.until(State.BACKOFF)
    assert status.detail == "exited with code 1 while starting: no such model; next try in 0.1 s"
    assert status.next_try is not None
    assert abs(status.next_try - asyncio.get_running_loop().time()) < BOUND
    assert status.last_lines[-1] == "no such model"
    status = await demo.until(State.FATAL)
    assert status.next_try is None
    assert status.detail == (
        "gave up after 3 failed starts in a row; the last: exited with code 1 while starting: no such model; "
        "a reload or a change of its model starts it again, as does a request after 30 s"
    )
    assert len(engine.ports) == len(set(engine.ports)) == 3
    assert not demo.want()
    engine.flags = []
    demo.start()
    await demo.until(State.RUNNING)


async def test_one_that_was_given_up_is_stopped_at_once(supervise, engine):
    engine.flags = ["fail"]
    demo = supervise(give_up_after=1)
    demo.start()
    await demo.until(State.FATAL)
    await demo.stop()
    assert demo.status.state is State.STOPPED
    assert nothing_runs_but_the_test()


async def test_something_has_changed_and_what_was_given_up_starts_afresh(supervise, engine):
    """What runs isn't touched by that."""
    engine.flags = ["fail"]
    demo = supervise(give_up_after=2)
    demo.start()
    await demo.until(State.FATAL)
    engine.flags = []
    demo.revive()
    pid = (await demo.until(State.RUNNING)).pid
    demo.revive()
    await demo.stop()
    assert [seen.pid for seen in demo.changes() if seen.state is State.RUNNING] == [pid]


async def test_a_program_that_changes_starts_what_was_given_up(supervise, tmp_path, monkeypatch):
    """It was installed anew."""
    monkeypatch.setattr(supervisor, "LOOK_EVERY", 0.05)
    program = tmp_path / "program"
    demo = supervise(give_up_after=2, python=str(program))
    demo.start()
    assert "program" in (await demo.until(State.FATAL)).detail
    draft = tmp_path / "draft"
    draft.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    draft.chmod(0o755)
    draft.rename(program)
    await demo.until(State.RUNNING)


async def test_a_model_that_changes_starts_what_was_given_up(supervise, engine, tmp_path, monkeypatch):
    """Be it a file, a folder, or nothing before; and whatever the rest that a request would have to wait for."""
    monkeypatch.setattr(supervisor, "LOOK_EVERY", 0.05)
    engine.flags = ["fail"]
    model = tmp_path / "models" / "m.gguf"
    for number, change in enumerate(
        (model.parent.mkdir, lambda: model.write_text("bad"), lambda: model.write_text("another")), 1
    ):
        demo = supervise(model=str(model.parent), give_up_after=2)
        demo.start()
        await demo.until(State.FATAL)
        change()
        if number > 1:  # an empty folder tells nothing
            await demo.until(State.FATAL, times=2)
        await demo.kill()
    demo = supervise(model=str(model), give_up_after=2)
    demo.start()
    await demo.until(State.FATAL)
    engine.flags = []
    model.write_text("good")
    await demo.until(State.RUNNING)


@dataclass
class InFolder(Scripted):
    """Its model is the one file of a folder."""

    def find_model(self, model, files):
        """Look for it now."""
        if not (names := files.list(model)):
            raise ModelNotFoundError(f"{model}: the folder is empty")
        return f"{model}/{names[0]}"


async def test_a_model_of_another_name_starts_what_was_given_up(supervise, engine, tmp_path, monkeypatch):
    """The folder is looked into at each start, not only when it was planned."""
    monkeypatch.setattr(supervisor, "LOOK_EVERY", 0.05)
    folder = tmp_path / "models"
    folder.mkdir()
    demo = supervise(model=str(folder / "gone.gguf"), source=str(folder), give_up_after=2)
    demo._starter._engine = InFolder(engine.folder)
    demo.start()
    assert "the folder is empty" in (await demo.until(State.FATAL)).detail
    (folder / "other.gguf").write_text("good")
    await demo.until(State.RUNNING)


async def test_a_model_that_is_being_written_is_waited_for(supervise, engine, tmp_path, monkeypatch):
    """Half of it would only fail again."""
    monkeypatch.setattr(supervisor, "LOOK_EVERY", 0.2)
    engine.flags = ["fail"]
    model = tmp_path / "m.gguf"
    demo = supervise(model=str(model), give_up_after=1)
    demo.start()
    await demo.until(State.FATAL)
    began = len(engine.ports)
    with model.open("w") as file:
        for _ in range(40):
            file.write("part")
            file.flush()
            await asyncio.sleep(0.02)
        assert len(engine.ports) == began
    await demo.until(State.FATAL, times=2)


async def test_a_model_that_is_cut_off_is_not_tried_again_until_it_changes(supervise, engine, tmp_path, monkeypatch):
    """No process is started on it, not even one."""
    monkeypatch.setattr(supervisor, "LOOK_EVERY", 0.05)
    model = tmp_path / "m.gguf"
    write_gguf(model, layers=1, layer=1 << 16)
    whole = model.read_bytes()
    model.write_bytes(whole[:-5000])
    demo = supervise(model=str(model))
    demo._starter.spec = replace(demo._starter.spec, engine="llama_cpp")
    demo.start()
    assert "m.gguf: the file is cut off" in (await demo.until(State.FATAL)).detail
    assert demo.states == [State.STARTING, State.FATAL]
    model.write_bytes(whole)
    await demo.until(State.RUNNING)
    assert len(engine.ports) == 1


async def test_a_request_has_it_tried_once_more_after_a_rest(supervise, engine):
    engine.flags = ["fail"]
    demo = supervise(give_up_after=2, rest=0.3)
    demo.start()
    await demo.until(State.FATAL)
    await until(demo.want)
    await demo.until(State.FATAL, times=2)
    assert "gave up after 3 failed starts" in demo.status.detail
    assert not demo.want()
    engine.flags = []
    await until(demo.want)
    await demo.until(State.RUNNING)
    assert len(engine.ports) == 4


async def test_requests_that_others_serve_have_it_tried_too(supervise, engine, monkeypatch):
    monkeypatch.setattr(supervisor, "LOOK_EVERY", 0.05)
    engine.flags = ["fail"]
    asked: list[bool] = []
    demo = supervise(give_up_after=1, rest=0.1, is_wanted=lambda: bool(asked))
    demo.start()
    await demo.until(State.FATAL)
    await asyncio.sleep(0.3)
    assert len(engine.ports) == 1
    asked.append(True)
    await until(lambda: len(engine.ports) > 1)


async def test_it_says_whether_it_is_started_again(supervise, engine):
    """Who waits for it can tell whether that is worth while."""
    engine.flags = ["fail"]
    demo = supervise(give_up_after=2)
    demo.start()
    assert (await demo.until(State.STARTING)).coming
    assert (await demo.until(State.BACKOFF)).coming
    assert not (await demo.until(State.FATAL)).coming
    engine.flags = []
    demo.start()
    assert not (await demo.until(State.RUNNING)).coming
    demo.restart()
    assert (await demo.until(State.STOPPING)).coming
    await demo.until(State.RUNNING, times=2)
    await demo.stop()
    assert not demo.status.coming


async def test_a_model_that_is_missing_is_said(supervise):
    demo = supervise(model="missing", give_up_after=2)
    demo.start()
    assert (await demo.until(State.BACKOFF)).detail.startswith("missing: there is no such model; next try")
    assert "missing: there is no such model" in (await demo.until(State.FATAL)).detail


@pytest.mark.parametrize("code", [0, 3])
async def test_any_exit_that_nobody_asked_for_is_a_crash_and_restarted(supervise, engine, code):
    demo = supervise()
    demo.start()
    first = await demo.until(State.RUNNING)
    await crash(first, code)
    status = await demo.until(State.BACKOFF)
    assert status.detail.startswith(f"exited with code {code} after serving for ")
    second = await demo.until(State.RUNNING, times=2)
    assert second.pid != first.pid
    assert second.address == ("127.0.0.1", int(engine.ports[1]))
    assert second.address != first.address


async def test_an_engine_that_is_killed_from_outside_is_restarted(supervise):
    demo = supervise()
    demo.start()
    os.kill((await demo.until(State.RUNNING)).pid, signal.SIGKILL)
    status = await demo.until(State.BACKOFF)
    assert "was ended by SIGKILL" in status.detail
    assert status.out_of_memory is None
    await demo.until(State.RUNNING, times=2)


async def test_what_ignores_sigterm_is_killed(supervise, engine):
    engine.flags = ["deaf"]
    demo = supervise(stop_timeout=0.2)
    demo.start()
    pid = (await demo.until(State.RUNNING)).pid
    await demo.stop()
    assert not lives(pid)
    assert [status.detail for status in demo.seen][-2:] == ["did not end within 0.2 s; killed", "stopped"]


async def test_a_kill_does_not_wait(supervise, engine):
    engine.flags = ["deaf"]
    demo = supervise()
    demo.start()
    pid = (await demo.until(State.RUNNING)).pid
    slow = asyncio.create_task(demo.stop())
    await demo.until(State.STOPPING)
    await demo.kill()
    await slow
    assert not lives(pid)


async def test_what_it_started_ends_with_it(supervise, engine):
    engine.flags = ["parent"]
    demo = supervise()
    demo.start()
    await demo.until(State.RUNNING)
    child = int((engine.folder / "child").read_text())
    assert lives(child)
    await demo.stop()
    await until(lambda: not lives(child))


async def test_a_stop_while_starting(supervise, engine):
    engine.loading.touch()
    demo = supervise()
    demo.start()
    await until(lambda: demo.status.last_lines)
    await demo.stop()
    assert demo.status.state is State.STOPPED
    assert nothing_runs_but_the_test()


async def test_a_stop_while_backing_off(supervise, engine):
    engine.flags = ["fail"]
    demo = supervise(give_up_after=100)
    demo.start()
    await demo.until(State.BACKOFF)
    await demo.stop()
    assert demo.status.state is State.STOPPED
    assert nothing_runs_but_the_test()


async def test_stops_at_the_same_time_and_of_what_is_stopped(supervise):
    demo = supervise()
    await demo.stop()
    demo.start()
    await demo.until(State.RUNNING)
    await asyncio.gather(demo.stop(), demo.stop(), demo.kill(), demo.stop())
    assert demo.status.state is State.STOPPED
    await demo.stop()
    assert nothing_runs_but_the_test()


async def test_a_start_right_after_a_stop_starts_anew(supervise, engine):
    demo = supervise()
    demo.start()
    first = await demo.until(State.RUNNING)
    stopping = asyncio.create_task(demo.stop())
    await demo.until(State.STOPPING)
    demo.start()
    await stopping
    assert not lives(first.pid)
    second = await demo.until(State.RUNNING, times=2)
    assert second.pid != first.pid
    assert len(engine.ports) == 2


async def test_a_caller_of_stop_who_gives_up_stops_nothing_else(supervise, engine):
    engine.flags = ["deaf"]
    demo = supervise(stop_timeout=0.3)
    demo.start()
    await demo.until(State.RUNNING)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(demo.stop(), 0.01)
    await demo.until(State.STOPPED)


async def test_a_running_engine_has_a_record_and_an_ended_one_has_none(supervise, engine):
    demo = supervise()
    demo.start()
    record = engine.folder / "logs" / "run" / "demo-1.json"
    pid = (await demo.until(State.RUNNING)).pid
    assert json.loads(record.read_text())["pid"] == pid
    await demo.stop()
    assert not record.exists()


async def test_a_failure_of_its_own_ends_the_engine_and_is_raised(supervise):
    demo = supervise()
    demo.start()
    pid = (await demo.until(State.RUNNING)).pid

    async def broken():
        raise ZeroDivisionError

    demo._readiness.stop = broken
    # That it can't be told either is the loop's to report.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    with capture_logs() as logs, pytest.raises(ZeroDivisionError):
        await demo.stop()
    assert [entry["event"] for entry in logs] == ["a supervisor failed; its engine was killed"]
    assert demo.status.state is State.FATAL
    await until(lambda: not lives(pid))
    del demo._readiness.stop
    demo.revive()
    await demo.until(State.RUNNING, times=2)


async def test_who_fails_to_hear_of_it_does_not_end_the_engine(supervise):
    """A terminal that can't show its name, a mistake in what is done about it: it is told, and the engine runs on."""
    demo = supervise()
    seen = demo._announcer.on_change

    def broken(status):
        seen(status)
        raise ZeroDivisionError

    demo._announcer.on_change = broken
    with capture_logs() as logs:
        demo.start()
        pid = (await demo.until(State.RUNNING)).pid
        assert lives(pid)
    assert {entry["event"] for entry in logs if entry["log_level"] == "error"} == {
        "what an engine's status means to the rest of the program failed"
    }
    demo._announcer.on_change = seen
    await demo.stop()
    assert State.FATAL not in demo.states


async def test_a_loop_that_closes_takes_the_engine_along(supervise):
    demo = supervise()
    demo.start()
    pid = (await demo.until(State.RUNNING)).pid
    demo._task.cancel()
    await until(lambda: not lives(pid))
    await demo.stop()


async def test_no_engine_outlives_a_router_that_is_killed(engine):
    here = Path(__file__).parent
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    code = TINY.format(root=str(here.parents[2]), here=str(here), folder=str(engine.folder), loop=loop)
    router = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    with router:
        assert router.stdout is not None
        while not (line := router.stdout.readline()).startswith("running"):
            assert line, "the router ended early"
        pid, child = int(line.split()[1]), int((engine.folder / "child").read_text())
        router.kill()
        router.wait()
    await until(lambda: not lives(pid) and not lives(child))
    await until(lambda: not list((engine.folder / "logs" / "run").iterdir()))


async def test_the_real_llama_cpp(tmp_path, demo_model, keepers):
    engine = ENGINES["llama_cpp"]
    spec = LaunchSpec("demo-1", "llama_cpp", str(demo_model), "demo", {"n_ctx": 512, "embedding": True}, {}, BOUND * 2)
    demo = Watched(spec, engine, keepers=keepers, logs=tmp_path / "logs")
    demo.start()
    try:
        status = await demo.until(State.RUNNING)
        host, port = status.address
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session, session.get("/v1/models") as refused:
            assert refused.status == 401
        shown = {"authorization": f"Bearer {status.key}"}
        async with aiohttp.ClientSession(f"http://{host}:{port}", headers=shown) as session:
            body = {"model": "demo", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
            async with session.post("/v1/chat/completions", json=body) as answer:
                assert (await answer.json())["model"] == "demo"
            async with session.post("/v1/embeddings", json={"model": "demo", "input": "hello"}) as answer:
                assert len((await answer.json())["data"][0]["embedding"]) > 1
            headers = {"X-Request-ID": "no-uuid"}
            async with session.post("/v1/chat/completions", json=body, headers=headers) as answer:
                assert (answer.status == 400) == engine.uuid_request_ids
    finally:
        await demo.stop()
    assert demo.status.state is State.STOPPED
