"""router.yaml is edited while requests run: what the edit didn't touch goes on, and nothing in flight is cut."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from launchers.states import RestartPolicy
from router.app import App
from router.config import load
from router.fleet.reload import Reload, Reloader
from tests.fakes.engine import FakeEngine, expected_stream
from tests.fakes.launched import ENGINES, FACTS
from tests.running import RunningRouter, eventually

DEMO = "  - name: demo\n    launch: {engine: llama_cpp, model: any%s}\n"


class Edited:
    """A router in this loop that follows the router.yaml of a folder."""

    def __init__(self, folder: Path, text: str) -> None:
        self.file = folder / "router.yaml"
        self._text(text)
        loaded = load(self.file, {})
        self.reloader = Reloader(loaded, lambda: load(self.file, {}))
        self.app = App(
            loaded.config,
            folder,
            engines=ENGINES,
            facts=FACTS,
            policy=RestartPolicy(first_delay=0.05, longest_delay=0.05, give_up_after=2),
            reloader=self.reloader,
        )

    def _text(self, text: str) -> None:
        self.file.write_text("server: {port: 0}\nhealth: {interval: 1h}\n" + text)

    async def becomes(self, text: str) -> Reload:
        """Write another router.yaml; wait until the router has taken it, or refused it."""
        before = self.reloader.last
        self._text(text)
        await eventually(lambda: self.reloader.last is not before)
        assert self.reloader.last is not None
        return self.reloader.last

    def member(self, name: str) -> dict[str, object]:
        """Tell of a backend."""
        return next(told for told in self.app.fleet.told() if told["name"] == name)

    async def runs(self, name: str) -> object:
        """Wait until an engine serves; give its pid."""
        await eventually(lambda: self.member(name)["state"] == "running", within=20)
        return self.member(name)["pid"]


@pytest.fixture
async def edited(tmp_path: Path) -> AsyncIterator[Callable[[str], Awaitable[Edited]]]:
    """Give a function that starts a router on a text."""
    made: list[Edited] = []

    async def start(text: str) -> Edited:
        made.append(Edited(tmp_path, text))
        await made[-1].app.start()
        return made[-1]

    yield start
    for each in made:
        await each.app.kill()


def remote(*fakes: FakeEngine, **more: str) -> str:
    entries = "".join(f"  - {{name: b{i}, url: '{fake.url}', models: [demo]}}\n" for i, fake in enumerate(fakes))
    return f"backends:\n{entries}" + "".join(f"{section}: {said}\n" for section, said in more.items())


def ask(model: str, **wishes: object) -> dict[str, object]:
    return {"model": model, "stream": True, "messages": [], "fake": {"events": 3, "size": 20, **wishes}}


async def stream(session: aiohttp.ClientSession, router: Edited, **wishes: object) -> str:
    """Stream an answer whole; tell who gave it."""
    async with session.post(f"{router.app.url}/v1/chat/completions", json=ask("demo", **wishes)) as answer:
        assert answer.status == 200, await answer.text()
        assert await answer.read() == expected_stream(0, 3, 20)
        return answer.headers["x-router-backend"]


async def status_of(session: aiohttp.ClientSession, router: Edited, model: str = "demo") -> int:
    async with session.post(f"{router.app.url}/v1/chat/completions", json=ask(model)) as answer:
        await answer.read()
        return answer.status


# Servers elsewhere


async def test_a_backend_is_added_and_removed(edited, session, held):
    """It gets its share at once; what it has when it is removed ends whole."""
    turns = "{policy: round_robin}"  # least_latency shares by what it has seen of answers so far
    async with FakeEngine() as one, FakeEngine() as two:
        router = await edited(remote(one, balance=turns))
        await router.becomes(remote(one, two, balance=turns))
        streams = [asyncio.create_task(stream(session, router, held_by=str(held))) for _ in range(20)]
        await eventually(lambda: one.stats.in_flight == two.stats.in_flight == 10)
        last = await router.becomes(remote(one, balance=turns))
        assert [str(step) for step in last.steps] == ["remove  b1: ends what it has in flight", "keep    b0"]
        assert {await stream(session, router) for _ in range(10)} == {"b0"}
        assert two.stats.in_flight == 10
        held.unlink()
        assert sorted(await asyncio.gather(*streams)) == ["b0"] * 10 + ["b1"] * 10
        await eventually(lambda: two.stats.connections_open == 0)
        assert [told["name"] for told in router.app.fleet.told()] == ["b0"]


async def test_what_is_known_of_a_backend_stays(edited, session):
    """Its connections, its counts and its health: an edit that is not about it costs it nothing."""
    async with FakeEngine() as one, FakeEngine() as two:
        turns = "{policy: round_robin}"  # with least_latency the first might never be the sooner one again
        router = await edited(remote(one, balance=turns))
        backend = router.app.plane.backends["b0"]
        await stream(session, router)
        await router.becomes(remote(one, two, balance=turns, limits="{retries: 1}"))
        assert router.app.plane.backends["b0"] is backend
        while (other := await stream(session, router)) != "b1":  # of a machine that stood still, it may be out
            assert other == "b0"
            await asyncio.sleep(0.05)
        assert await stream(session, router) == "b0"
        # Each look at it has a connection of its own; one that is under way may not have asked yet.
        await eventually(lambda: one.stats.connections_opened - one.stats.gets == 1)


async def test_what_a_backend_serves_is_told_found_out_and_told_again(edited, session):
    """Models that are named count alone; where they no longer are, the backend is asked, and says more."""
    async with FakeEngine(models=["demo", "other"]) as fake:
        finds = f"backends:\n  - {{name: b0, url: '{fake.url}', weight: WEIGHT}}\n"
        router = await edited(remote(fake))
        backend = router.app.plane.backends["b0"]
        assert await status_of(session, router, "other") == 404
        await router.becomes(finds.replace("WEIGHT", "1"))
        await eventually(lambda: set(backend.models) == {"demo", "other"})
        await router.becomes(finds.replace("WEIGHT", "2"))
        assert set(backend.models) == {"demo", "other"}  # what was found out is still so
        await router.becomes(remote(fake))
        assert set(backend.models) == {"demo"}
        assert router.app.plane.backends["b0"] is backend


async def test_what_is_no_longer_told_is_no_longer_so(edited, session):
    """Though nothing can be found out instead."""
    async with FakeEngine(models=["demo"], key="secret") as fake:
        router = await edited(remote(fake))
        backend = router.app.plane.backends["b0"]
        assert set(backend.models) == {"demo"}
        await router.becomes(f"backends:\n  - {{name: b0, url: '{fake.url}'}}\n")
        assert not backend.models
        assert await status_of(session, router) in {404, 503}


async def test_an_address_changes(edited, session, held):
    """The stream that the old one has goes on; the next goes to the new one."""
    async with FakeEngine() as one, FakeEngine() as two:
        router = await edited(remote(one))
        old = asyncio.create_task(stream(session, router, held_by=str(held)))
        await eventually(lambda: one.stats.in_flight)
        await router.becomes(remote(two))
        assert await stream(session, router) == "b0"
        assert (one.stats.in_flight, two.stats.ended) == (1, 1)
        held.unlink()
        assert await old == "b0"


async def test_routes_and_names_change(edited, session):
    """A name is there when the file says so, and not after."""
    async with FakeEngine() as one:
        router = await edited(remote(one))
        assert await status_of(session, router, "gpt-4") == 404
        await router.becomes(remote(one, routes="{gpt-4: demo}"))
        assert await status_of(session, router, "gpt-4") == 200
        await router.becomes(remote(one, routes="{'gpt-*': demo}"))
        assert await status_of(session, router, "gpt-4o") == 200
        await router.becomes(remote(one))
        assert await status_of(session, router, "gpt-4") == 404


async def test_settings_change(edited, session):
    """Bounds and keys count from the next request on."""
    async with FakeEngine() as one:
        router = await edited(remote(one))
        await router.becomes(remote(one, limits="{max_body: 1KiB}"))
        assert await status_of(session, router, "x" * 1024) == 413
        await router.becomes(remote(one, auth="{keys: [a-key-that-is-long]}"))
        assert await status_of(session, router) == 401


async def test_a_removed_backend_that_does_not_end_is_cut(edited, session):
    """After drain_timeout; the client is told why, and sees that the stream is not whole."""
    async with FakeEngine() as one, FakeEngine(fault="hang", fault_after=1) as two:
        router = await edited(remote(two, limits="{drain_timeout: 300ms}"))
        async with session.post(f"{router.app.url}/v1/chat/completions", json=ask("demo")) as answer:
            await answer.content.readuntil(b"\n\n")
            await router.becomes(remote(two, limits="{drain_timeout: 300ms}").replace(two.url, one.url))
            await answer.content.readuntil(b"data: ")
            assert b"was replaced" in await answer.content.readuntil(b"\n\n")
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()


# Files that are no configuration


async def test_a_mistake_changes_nothing(edited, session):
    """What was before serves on; the mistake is told with its place, until it is put right."""
    async with FakeEngine() as one:
        router = await edited(remote(one))
        last = await router.becomes("backends: [{url: 1}]\nlimits: {retires: 2}\n")
        assert [str(problem).partition("router.yaml:")[2] for problem in last.problems] == [
            "3:12 backends[0].url: expected text, got 1; put it in quotes",
            "4:10 limits.retires: there is no such key; did you mean 'retries'?",
        ] or last.problems
        assert len(last.problems) == 2
        assert await stream(session, router) == "b0"
        async with session.get(f"{router.app.url}/admin/status") as answer:
            assert (await answer.json())["reload"]["problems"] == [each.told() for each in last.problems]
        assert not (await router.becomes(remote(one))).problems


async def test_a_file_that_is_gone_changes_nothing(edited, session):
    """It may come again."""
    async with FakeEngine() as one:
        router = await edited(remote(one))
        router.file.unlink()
        await eventually(lambda: router.reloader.last is not None and router.reloader.last.problems)
        assert await stream(session, router) == "b0"
        assert not (await router.becomes(remote(one))).problems


async def test_a_launch_that_cannot_be_changes_nothing(edited, session):
    """A model that is not there is found before anything is done."""
    async with FakeEngine() as one:
        router = await edited(remote(one))
        last = await router.becomes(remote(one) + DEMO.replace("any", "missing") % "" + "routes: {x: demo}\n")
        assert list(map(str, last.problems)) == ["backends[1] (demo): missing: there is no such model"]
        assert await status_of(session, router, "x") == 404


# Engines


async def test_an_engine_joins_when_it_is_ready(edited, session):
    """Until then others are asked; then it gets its share, and nobody was refused."""
    async with FakeEngine() as one:
        router = await edited(remote(one))
        await router.becomes(remote(one) + DEMO % ", args: {start-delay: 0.3}")
        assert {await stream(session, router) for _ in range(5)} == {"b0"}
        await router.runs("demo")
        assert set(await asyncio.gather(*(stream(session, router, delay=0.05) for _ in range(20)))) == {"b0", "demo"}


async def test_an_engine_that_is_removed_ends_its_streams_first(edited, session, held):
    """And is gone then, its process with it."""
    turns = "balance: {policy: round_robin}\n"  # with least_latency, one slow answer may be its last for a minute
    async with FakeEngine() as one:
        router = await edited(remote(one) + DEMO % "" + turns)
        await router.runs("demo")
        running = [asyncio.create_task(stream(session, router, held_by=str(held))) for _ in range(2)]
        await eventually(lambda: router.member("demo")["in_flight"] == one.stats.in_flight == 1)
        await router.becomes(remote(one) + turns)
        assert router.member("demo")["ending"]
        held.unlink()
        assert set(await asyncio.gather(*running)) == {"b0", "demo"}
        await eventually(lambda: len(router.app.fleet.told()) == 1)


async def test_an_engine_that_the_edit_does_not_touch_keeps_its_process(edited):
    """Whatever else changes."""
    router = await edited("backends:\n" + DEMO % "")
    pid = await router.runs("demo")
    await router.becomes("backends:\n" + DEMO % ", start_timeout: 1m" + "routes: {a: demo}\nlimits: {retries: 5}\n")
    assert router.member("demo")["pid"] == pid
    await router.becomes("backends:\n" + DEMO % ", replicas: 2")
    await router.runs("demo-2")
    assert router.member("demo")["pid"] == pid
    await router.becomes("backends:\n" + DEMO % "")
    await eventually(lambda: len(router.app.fleet.told()) == 1)
    assert router.member("demo")["pid"] == pid


async def test_an_engine_is_replaced_without_a_gap(edited, session, held):
    """The new one is started first: no request is refused, and the old one's stream ends whole."""
    router = await edited("backends:\n" + DEMO % "")
    pid = await router.runs("demo")
    long = asyncio.create_task(stream(session, router, held_by=str(held)))
    await eventually(lambda: router.member("demo")["in_flight"])
    last = await router.becomes("backends:\n" + DEMO % ", args: {start-delay: 0.3}")
    assert [str(step) for step in last.steps] == ["replace demo: other args; the new one first"]
    async with asyncio.timeout(60):
        while router.member("demo")["pid"] in {pid, None} or router.member("demo")["state"] != "running":
            assert router.member("demo")["state"] != "fatal"
            assert await stream(session, router) == "demo"
            await asyncio.sleep(0)
    assert not long.done()
    assert await stream(session, router) == "demo"
    held.unlink()
    assert await long == "demo"
    await eventually(lambda: len(router.app.fleet.told()) == 1)
    assert router.member("demo")["pid"] != pid


async def test_an_engine_whose_successor_fails_serves_on(edited, session):
    """Until an edit mends it."""
    router = await edited("backends:\n" + DEMO % "")
    pid = await router.runs("demo")
    await router.becomes("backends:\n" + DEMO % ", args: {fail-start: true}")
    await eventually(lambda: router.member("demo")["state"] == "fatal")
    assert await stream(session, router) == "demo"
    await router.becomes("backends:\n" + DEMO % ", args: {events: 3}")
    await router.runs("demo")
    await eventually(lambda: len(router.app.fleet.told()) == 1)
    assert router.member("demo")["pid"] != pid
    assert await stream(session, router) == "demo"


async def test_an_engine_that_fails_holds_up_nobody(edited, session):
    """What failed to start is FATAL, and said; the rest of the edit is there."""
    async with FakeEngine() as one:
        router = await edited(remote(one))
        await router.becomes(
            remote(one, routes="{x: demo}").replace("routes", DEMO % ", args: {fail-start: true}" + "routes")
        )
        await eventually(lambda: router.member("demo")["state"] == "fatal")
        assert await status_of(session, router, "x") == 200


# Who asks for it


async def test_a_hangup_asks_for_it(tmp_path, session):
    """As service managers do; what can't be used is said, and changes nothing."""
    async with FakeEngine() as one, RunningRouter(tmp_path, "server: {port: 0}\n" + remote(one)) as router:
        await router.ready()
        router.signal(signal.SIGHUP)
        await eventually(lambda: "nothing has changed" in router.said)
        (tmp_path / "router.yaml").write_text("server: {port: 0}\n" + remote(one, routes="{x: demo}"))
        await eventually(lambda: "reload: route   x: is new" in router.said)
        (tmp_path / "router.yaml").write_text("backends: 1\n")
        await eventually(lambda: "router.yaml is not taken over: " in router.said)
        assert (await session.get(f"{router.url}/ready")).status == 200
        router.signal(signal.SIGTERM)
        assert await router.exit_code() == 0
        assert "Traceback" not in router.said


async def test_the_same_twice_at_once(edited, session):
    """Reloads never overlap, and each who asks is told."""
    async with FakeEngine() as one, FakeEngine() as two:
        router = await edited(remote(one))

        async def ask_for_it() -> int:
            async with session.post(f"{router.app.url}/admin/reload") as answer:
                return int(answer.status)

        router._text(remote(one, two))
        assert await asyncio.gather(*(ask_for_it() for _ in range(10))) == [200] * 10
        assert set(router.app.plane.backends) == {"b0", "b1"}


async def test_admin_says_what_is_wrong(edited, session):
    """With 422; and the configuration that is in force is the one before."""
    async with FakeEngine() as one:
        router = await edited(remote(one))
        router._text("backends: 1\n")
        async with session.post(f"{router.app.url}/admin/reload") as answer:
            assert answer.status == 422
            assert len((await answer.json())["problems"]) == 1
        async with session.get(f"{router.app.url}/admin/config") as answer:
            assert (await answer.json())["backends"][0]["name"] == "b0"


async def test_admin_is_for_who_may(edited, session):
    """With admin_keys, for those alone; a key to ask models is none."""
    async with FakeEngine() as one:
        keys = "{keys: [a-key-of-a-client], admin_keys: [a-key-of-an-admin]}"
        router = await edited(remote(one, auth=keys))
        for key, status in (("", 401), ("a-key-of-a-client", 401), ("a-key-of-an-admin", 200)):
            headers = {"authorization": f"Bearer {key}"} if key else {}
            async with session.get(f"{router.app.url}/admin/status", headers=headers) as answer:
                assert answer.status == status
