"""How it ends, and what it stands: signals at odd moments, streams that can't be written, few file descriptors."""

import asyncio
import os
import pty
import resource
import signal
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

from router.cli.main import main
from tests.fakes.engine import FakeEngine, expected_body
from tests.integration.raw import ASK, LANES, nothing_left, post, small_send_buffers
from tests.running import REPOSITORY, RunningRouter, eventually

GET = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
linux = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")


def config(fake: FakeEngine, more: str = "") -> str:
    return f"server: {{port: 0}}\nbackends: [{{url: '{fake.url}', name: b, models: [demo]}}]\n{more}\n"


class Quiet(RunningRouter):
    """One whose streams go elsewhere; what it says is read from its log."""

    def __init__(self, folder, words, *, stdout, stderr) -> None:
        super().__init__(folder, words)
        self._streams = {"stdout": stdout, "stderr": stderr}

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "router", *self._options, cwd=REPOSITORY, **self._streams
        )
        self._listening = asyncio.create_task(asyncio.sleep(0))
        return self


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("lane", LANES)
async def test_a_signal_lets_requests_end(tmp_path, number, lane, raw):
    """Ctrl-C, a service manager: the stream under way ends whole, and then with 0."""
    async with FakeEngine(events=30, delay=0.02) as fake, RunningRouter(tmp_path, config(fake)) as router:
        await router.ready()
        client = await raw(router)
        client.send(post({**ASK, "stream": True}, lane=lane))
        await client.reader.readuntil(b"data: ")
        router.signal(number)
        assert b"[DONE]" in await client.rest()
        assert await router.exit_code() == 0
        assert "Traceback" not in router.said


@pytest.mark.parametrize(
    "signals", [[signal.SIGINT] * 3, [signal.SIGTERM, signal.SIGINT], [signal.SIGINT, signal.SIGTERM, signal.SIGTERM]]
)
@pytest.mark.parametrize("lane", LANES)
async def test_signals_while_requests_may_end(tmp_path, signals, lane, raw):
    """Any second one stops now: the stream is seen to be cut, and its client told why."""
    async with FakeEngine(fault="hang", fault_after=1) as fake, RunningRouter(tmp_path, config(fake)) as router:
        await router.ready()
        client = await raw(router)
        client.send(post({**ASK, "stream": True}, lane=lane))
        await client.reader.readuntil(b"data: ")
        router.signal(signals[0])
        await eventually(lambda: "in flight" in router.said)
        for each in signals[1:]:
            router.signal(each)
            await asyncio.sleep(0)
        assert await router.exit_code() == 130
        rest = await client.cut()
        assert b'"error"' in rest
        assert not rest.endswith(b"0\r\n\r\n")
        assert "Traceback" not in router.said


def has_loaded(process: psutil.Process, library: str) -> bool:
    """Whether a process has come as far in its imports as to this library of machine code."""
    return any(library in mapped.path for mapped in process.memory_maps())


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("library", ["multidict", "_pydantic_core", "msgspec", "uvloop"])
async def test_a_signal_during_the_imports(tmp_path, number, library):
    """It ends, and nobody has to read a traceback."""
    async with FakeEngine() as fake, RunningRouter(tmp_path, config(fake)) as router:
        process = psutil.Process(router.process.pid)
        await eventually(lambda: has_loaded(process, library))
        router.signal(number)
        assert await router.exit_code() in {0, -number, 130}
        assert "Traceback" not in router.said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_while_it_starts(tmp_path, number):
    """As soon as it listens: it ends as it would later."""
    async with FakeEngine() as fake, RunningRouter(tmp_path, config(fake)) as router:
        await eventually(lambda: router.url)
        router.signal(number)
        assert await router.exit_code() == 0
        assert "Traceback" not in router.said


async def test_a_terminal_that_is_closed_stops_it(tmp_path, raw):
    """As Ctrl-C does, where it was started by hand: the stream under way ends whole, and no engine stays behind."""
    mine, its = pty.openpty()
    async with (
        FakeEngine(events=30, delay=0.02) as fake,
        Quiet(tmp_path, config(fake), stdout=its, stderr=its) as router,
    ):
        os.close(its)
        client = await raw(await ready(router))
        client.send(post({**ASK, "stream": True}))
        await client.reader.readuntil(b"data: ")
        os.close(mine)
        router.signal(signal.SIGHUP)
        assert b"[DONE]" in await client.rest()
        assert await router.exit_code() == 0


# Admins, while it stops

WIDE = """\
server: {port: 0, host: 0.0.0.0}
auth: {keys: [mine], admin_keys: [{key: ops, name: ops, scopes: [read, manage]}]}
"""


@pytest.mark.parametrize("where", ["server: {port: 0}\n", WIDE])
async def test_who_looks_after_it_sees_what_it_waits_for_and_may_end_it(tmp_path, where, raw, session, capsys):
    """From this machine: what is read, and an end for requests. Nothing else is answered, and followers hold nobody."""
    key = {"authorization": "Bearer ops"}
    async with FakeEngine(fault="hang", fault_after=1) as fake:
        text = config(fake, where).replace("server: {port: 0}\n", "", 1)
        async with RunningRouter(tmp_path, text) as router:
            await router.ready()
            client = await raw(router)
            client.send(post({**ASK, "stream": True}, headers=b"authorization: Bearer mine\r\nx-request-id: mine\r\n"))
            await client.reader.readuntil(b"data: ")
            follower = await session.get(router.url + "/admin/events", headers=key)
            router.signal(signal.SIGTERM)
            await eventually(lambda: "in flight may end" in router.said)

            async def ask(method, path):
                async with session.request(method, router.url + path, headers=key) as answer:
                    return answer.status, await answer.json()

            status, told = await ask("GET", "/admin/status")
            assert (status, told["router"]["in_flight"]) == (200, 1)
            assert 0 < told["router"]["stops_in"] <= 300
            assert [each["id"] for each in (await ask("GET", "/admin/requests"))[1]["requests"]] == ["mine"]
            assert (await ask("GET", "/admin/logs"))[0] == 200
            for method, path in (
                ("POST", "/admin/backends/b/drain"),
                ("GET", "/upstream/b/health"),
                ("GET", "/v1/models"),
            ):
                status, told = await ask(method, path)
                assert (status, told["error"]["message"]) == (503, "The router is stopping. Try again soon.")
                assert told["error"]["code"] == "router_stopping"
            other = await raw(router)
            other.send(post(ASK, headers=b"authorization: Bearer mine\r\n"))
            assert (await other.answer()).status == 503

            words = ["--url", router.url, "--key", "ops"]
            assert await asyncio.to_thread(main, ["status", *words]) == 0
            said = capsys.readouterr()
            assert ", stopping within " in said.out
            assert said.err == "This router is stopping: what is under way may end, and nothing new is taken.\n"
            assert await asyncio.to_thread(main, ["drain", "b", *words]) == 1
            assert capsys.readouterr().err == "The router is stopping. Try again soon.\n"
            assert await asyncio.to_thread(main, ["cancel", "mine", *words]) == 0
            assert await router.exit_code() == 0
            assert b"An admin of the router has cancelled this request." in await client.cut()
            assert "in flight may end" in await follower.text()
            assert "Traceback" not in router.said


# Clients, while it stops


async def test_idle_connections_do_not_hold_it(tmp_path, raw):
    """Kept-alive ones of either lane are closed; nobody waits for them."""
    async with FakeEngine() as fake, RunningRouter(tmp_path, config(fake)) as router:
        await router.ready()
        clients = [await raw(router) for _ in range(3)]
        for client, request in zip(clients, (post(ASK), post(ASK, lane="slow"), GET), strict=True):
            client.send(request)
            assert (await client.answer()).status == 200
        clients.append(await raw(router))  # this one never asked for anything
        router.signal()
        assert await router.exit_code() == 0
        assert [await client.cut() for client in clients] == [b""] * 4


@pytest.mark.parametrize("lane", LANES)
async def test_an_upload_under_way_is_answered(tmp_path, lane, raw):
    """Who had begun to ask before it was told to stop is served, and then let go."""
    async with FakeEngine() as fake, RunningRouter(tmp_path, config(fake)) as router:
        await router.ready()
        client, other = await raw(router), await raw(router)
        request = post({**ASK, "x": "y" * 1000}, lane=lane)
        client.send(request[:-500])
        await client.sent()
        other.send(GET)
        assert (await other.answer()).status == 200  # so the first was read, too
        router.signal(signal.SIGTERM)
        await eventually(lambda: "stopping" in router.said)
        client.send(request[-500:])
        answer = await client.answer()
        assert (answer.status, answer.headers[b"connection"]) == (200, b"close")
        assert await router.exit_code() == 0


@pytest.mark.parametrize("lane", LANES)
async def test_an_upload_that_never_ends_is_cut(tmp_path, lane, raw):
    """What isn't whole is not in flight: its client is told, however long requests in flight may take."""
    async with FakeEngine() as fake, RunningRouter(tmp_path, config(fake, "limits: {drain_timeout: 1h}")) as router:
        await router.ready()
        client, other, third = await raw(router), await raw(router), await raw(router)
        client.send(post(ASK, lane=lane)[:-4])
        third.send(post(ASK, lane=lane).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        await third.sent()
        await client.sent()
        other.send(GET)
        assert (await other.answer()).status == 200
        router.signal(signal.SIGTERM)
        for each in (client, third):
            answer = await each.answer()
            assert (answer.status, answer.headers[b"connection"]) == (503, b"close")
        assert await router.exit_code() == 0
        assert "Traceback" not in router.said


async def test_a_slow_client_is_waited_for(start_router, lane, raw):
    """The engine is done and the client isn't: it is in flight all the same, and gets all of it."""
    async with FakeEngine() as fake:
        router = await start_router([{"url": fake.url, "models": ["demo"]}])
        small_send_buffers(router)
        client = await raw(router, receive_buffer=4096)
        client.send(post({**ASK, "fake": {"events": 15_000}}, lane=lane))
        got = await client.reader.readexactly(1000)
        await eventually(lambda: fake.stats.ended == 1 and nothing_left(router))
        stopping = asyncio.create_task(router.stop())
        await eventually(lambda: router.rules.draining)
        for _ in range(40):
            got += await client.reader.readexactly(1000)
            await asyncio.sleep(0.02)  # it takes its time: more than the looks of whoever waits for it are apart
        assert not stopping.done()
        got += await client.rest()
        assert got.partition(b"\r\n\r\n")[2] == expected_body(0, 15_000)
        await stopping


async def test_a_client_that_takes_nothing_is_waited_for_no_longer_than_others(start_router, lane, raw):
    """drain_timeout bounds it, too."""
    async with FakeEngine() as fake:
        router = await start_router([{"url": fake.url, "models": ["demo"]}], limits={"drain_timeout": "200ms"})
        small_send_buffers(router)
        client = await raw(router, receive_buffer=4096)
        client.send(post({**ASK, "fake": {"events": 15_000}}, lane=lane))
        await client.reader.readexactly(100)
        await eventually(lambda: fake.stats.ended == 1 and nothing_left(router))
        async with asyncio.timeout(20):
            await router.stop()
        client.leave()


# Streams that can't be written


async def ready(router: RunningRouter) -> RunningRouter:
    """Wait until a router without a voice serves: its log tells where."""
    log = router.folder / "logs" / "router.log"
    await eventually(lambda: log.exists() and "listening at" in log.read_text(), within=30)
    router.url = log.read_text().split("listening at ")[1].split('"')[0]
    return await router.ready()


async def test_a_terminal_shows_each_request(tmp_path, raw):
    """A line for each, with how it went; the same lines are in access.log."""
    mine, its = pty.openpty()
    try:
        async with FakeEngine() as fake, Quiet(tmp_path, config(fake), stdout=its, stderr=its) as router:
            client = await raw(await ready(router))
            for lane in LANES:
                client.send(post(ASK, headers=b"x-request-id: id-of-%s\r\n" % lane.encode(), lane=lane))
                assert (await client.answer()).status == 200
            client.send(post({"model": "none"}, headers=b"x-request-id: id-of-none\r\n"))
            assert (await client.answer()).status == 404
            router.signal(signal.SIGTERM)
            assert await router.exit_code() == 0
            shown = os.read(mine, 65536).decode()
        logged = (tmp_path / "logs" / "access.log").read_text().splitlines()
        assert [line.split()[2:7] for line in logged] == [
            ["127.0.0.1", "200", "POST", "/v1/chat/completions", "demo"],
            ["127.0.0.1", "200", "POST", "/v1/chat/completions", "demo"],
            ["127.0.0.1", "404", "POST", "/v1/chat/completions", "none"],
        ]
        assert all(line in shown for line in logged)
    finally:
        os.close(mine)
        os.close(its)


@pytest.mark.parametrize("what", ["stdout", "stderr", "both"])
@linux
async def test_streams_on_a_full_disk(tmp_path, what, raw):
    """`python -m router > log` on a full disk: it serves all the same, and ends well."""
    with open("/dev/full", "w") as full:  # noqa: ASYNC230, PTH123  (a device, opened once)
        streams = {
            name: full if what in {name, "both"} else asyncio.subprocess.DEVNULL for name in ("stdout", "stderr")
        }
        async with FakeEngine() as fake, Quiet(tmp_path, config(fake), **streams) as router:
            client = await raw(await ready(router))
            for _ in range(20):
                client.send(post(ASK) + post({"model": "none"}))
                assert [(await client.answer()).status for _ in range(2)] == [200, 404]
            router.signal(signal.SIGTERM)
            assert await router.exit_code() == 0


@linux
async def test_logs_on_a_full_disk(tmp_path, raw):
    """Each request is answered, the first too; that nothing can be logged is said once for each file."""
    (tmp_path / "logs").mkdir()
    for name in ("router.log", "access.log"):
        (tmp_path / "logs" / name).symlink_to("/dev/full")
    async with FakeEngine() as fake, RunningRouter(tmp_path, config(fake)) as router:
        await router.ready()
        client = await raw(router)
        for _ in range(20):
            client.send(post(ASK) + post({"model": "none"}))
            assert [(await client.answer()).status for _ in range(2)] == [200, 404]
        router.signal(signal.SIGTERM)
        assert await router.exit_code() == 0
        assert router.said.count("can't be written") == 2
        assert "access.log is closed: 40 lines are lost" in router.said
        assert "Traceback" not in router.said


def written_in(file: Path, words: str) -> bool:
    return words in file.read_text()


async def test_a_terminal_that_is_gone(tmp_path, raw):
    """Its requests are served, they are in access.log, and it ends when it is told to."""
    mine, its = pty.openpty()
    async with FakeEngine() as fake, Quiet(tmp_path, config(fake), stdout=its, stderr=its) as router:
        os.close(its)
        client = await raw(await ready(router))
        os.close(mine)
        access = tmp_path / "logs" / "access.log"
        access.touch()
        for lane in LANES:  # the second, after the first could not be shown
            client.send(post(ASK, headers=b"x-request-id: %s\r\n" % lane.encode(), lane=lane))
            assert (await client.answer()).status == 200
            await eventually(partial(written_in, access, f" {lane}\n"))
        router.signal(signal.SIGTERM)
        assert await router.exit_code() == 0
    assert "Traceback" not in (tmp_path / "logs" / "router.log").read_text()


# Few file descriptors


@linux
async def test_running_out_of_file_descriptors_takes_no_backend_out(tmp_path, raw):
    """Many clients that only stay connected: who asks is told 503, and served once there is room again."""
    async with (
        FakeEngine() as fake,
        RunningRouter(tmp_path, config(fake, "health: {interval: 1h}")) as router,
    ):
        await router.ready()
        process = psutil.Process(router.process.pid)
        asking = await raw(router)
        asking.send(GET)
        assert (await asking.answer()).status == 200
        most = process.num_fds() + 12
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (most, most))
        idle = [await raw(router) for _ in range(40)]
        await eventually(lambda: any(client.reader.at_eof() for client in idle))  # it could not keep all of them
        asking.send(post(ASK))
        answer = await asking.answer()
        assert answer.status == 503
        assert b"file descriptor" in answer.body
        for client in idle:
            client.leave()
        await eventually(lambda: process.num_fds() < most - 5)
        asking.send(post(ASK))
        assert (await asking.answer()).status == 200
        asking.leave()
        assert "is down" not in router.said


async def test_clients_that_leave_are_no_error(tmp_path, raw):
    """In the middle of a stream, many at once: no traceback, and no more than a line each."""
    async with FakeEngine() as fake, RunningRouter(tmp_path, config(fake)) as router:
        await router.ready()

        async def leave(lane: str) -> None:
            client = await raw(router)
            client.send(post({**ASK, "stream": True, "fake": {"events": 5000, "size": 500}}, lane=lane))
            await client.reader.readexactly(3000)
            client.leave()

        await asyncio.gather(*(leave(lane) for lane in LANES * 50))
        await eventually(lambda: fake.stats.aborted == 100)
        router.signal()
        assert await router.exit_code() == 0
        assert "Traceback" not in router.said
        assert router.said.count("the client left") <= 100
