"""What every engine must do, behind a router as a person runs it: each that is installed here, for real.

One router for each engine serves the tests that leave it as they found it; starting some takes a minute.
"""

import asyncio
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openai
import psutil
import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from launchers.engines import ENGINES, Engine
from launchers.kin import shared_inodes
from tests.running import REPOSITORY, RunningRouter, alive, eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
WORDS = re.compile(r"[ a-z.,!?]+")
LONG = 3000  # tokens; whoever asks for them doesn't wait for the last
STARTS_WITHIN = 180.0  # seconds

CONFIG = """
server: {port: 0}
health: {stall_after: 8s}
backends:
  - name: demo
    launch: {engine: ENGINE, model: "FOLDER", args: ARGS, env: ENV}
routes: {public: demo}
"""


@dataclass(frozen=True)
class Case:
    """One engine, with what makes it small. `package` brings it; without `spoiled`, a file, it can't load the model."""

    package: str
    args: str
    spoiled: str
    env: str = "{}"


CASES = {
    "llama_cpp": Case("llama-cpp-python", "{n_ctx: 8192}", "demo.gguf"),
    "llama_server": Case("xllamacpp", "{ctx-size: 16384, threads: 1}", "demo.gguf"),
    "mlx": Case("mlx-lm", "{}", "config.json"),
    "vllm": Case(
        "vllm",
        "{max-model-len: 4096, max-num-seqs: 16, enforce-eager: true, kv-cache-memory-bytes: 64M}",
        "config.json",
        env='{VLLM_CPU_OMP_THREADS_BIND: nobind, OMP_NUM_THREADS: "1"}',
    ),
}


def installed() -> list[str]:
    """The engines to test: those that are here, and those that the tests' own set-up should have brought."""
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    set_up = {re.split(r"[^\w-]", requirement)[0] for requirement in extras["dev"]}
    return [
        name
        for name, case in CASES.items()
        if case.package in set_up
        or importlib.util.find_spec(ENGINES[name].module) is not None
        or shutil.which(ENGINES[name].program or "") is not None
    ]


def config(name: str, folder: Path) -> str:
    """A router.yaml that launches an engine on a model's folder, which clients know as `public`."""
    case = CASES[name]
    values = {"ENGINE": name, "FOLDER": str(folder), "ARGS": case.args, "ENV": case.env}
    return re.sub("|".join(values), lambda word: values[word[0]], CONFIG)


@pytest.fixture(scope="module", params=installed())
def name(request: pytest.FixtureRequest) -> str:
    """Name an engine."""
    return str(request.param)


@pytest.fixture
def engine(name: str) -> Engine:
    """What the router knows of it."""
    return ENGINES[name]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def router(tmp_path_factory: pytest.TempPathFactory, model: Path, name: str) -> AsyncIterator[RunningRouter]:
    """Start the router that an engine's tests share, and wait until it serves."""
    async with RunningRouter(tmp_path_factory.mktemp(name), config(name, model)) as running:
        yield await running.ready(STARTS_WITHIN)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(router: RunningRouter) -> AsyncIterator[AsyncOpenAI]:
    """Give OpenAI's own client, which doesn't try again by itself."""
    async with AsyncOpenAI(base_url=router.url + "/v1", api_key="none", max_retries=0) as made:
        yield made


def ports(processes: list[psutil.Process]) -> list[int]:
    """The ports that processes listen at."""
    found = []
    for process in processes:
        with suppress(psutil.Error):
            found += [each.laddr.port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    return found


def nobody_listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def none_left(processes: list[psutil.Process]) -> Callable[[], bool]:
    return lambda: not any(alive(each) for each in processes)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Give a folder for temporary files, of a short path: the names of sockets are bounded."""
    folder = Path(tempfile.mkdtemp())
    yield folder
    shutil.rmtree(folder)


def files_in(folder: Path) -> list[str]:
    return [str(file) for file in folder.rglob("*")]


def in_shared_memory() -> set[str]:
    """What lies in the memory that processes share as files."""
    folder = Path("/dev/shm")  # noqa: S108
    return set(files_in(folder)) if folder.is_dir() else set()


def forgotten(files: set[str]) -> set[str]:
    """Those that no process has mapped: whoever made them is gone."""
    used = set[int]().union(*map(shared_inodes, psutil.pids()))
    return {file for file in files if Path(file).exists() and Path(file).stat().st_ino not in used}


async def status(router: RunningRouter) -> dict[str, Any]:
    """What the router says of its backend."""
    answer = await asyncio.to_thread(urllib.request.urlopen, f"{router.url}/admin/status")
    told: dict[str, Any] = json.load(answer)["backends"][0]
    return told


async def working(client: AsyncOpenAI) -> Any:
    """Have it begin a long stream."""
    stream = await client.chat.completions.create(model="public", messages=HELLO, max_tokens=LONG, stream=True)
    await anext(aiter(stream))
    return stream


async def told_or_whole(stream: Any) -> None:
    """Read on to the end: an error, or all that was asked for, where the engine was faster than its end."""
    reason = None
    with suppress(openai.APIError):
        async for chunk in stream:
            reason = chunk.choices[0].finish_reason or reason
        assert reason == "length", "half an answer passed for a whole one"


async def served(client: AsyncOpenAI) -> None:
    """Wait until a request is answered."""
    until = time.monotonic() + STARTS_WITHIN
    while True:
        try:
            answer = await client.chat.completions.create(model="public", messages=HELLO, max_tokens=5, timeout=20)
        except openai.APIError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.1)
        else:
            assert answer.usage is not None
            assert answer.usage.completion_tokens == 5
            return


async def test_chat(client):
    """The same words in one piece and streamed, as many as were asked for."""
    ask = {"model": "public", "messages": HELLO, "max_tokens": 20, "temperature": 0}
    answer = await client.chat.completions.create(**ask)
    assert answer.usage.completion_tokens == 20
    assert answer.choices[0].finish_reason == "length"
    assert WORDS.fullmatch(answer.choices[0].message.content)
    choices = [chunk.choices[0] async for chunk in await client.chat.completions.create(**ask, stream=True)]
    assert "".join(choice.delta.content or "" for choice in choices) == answer.choices[0].message.content
    assert choices[-1].finish_reason == "length"


async def test_completions(client):
    """The older API."""
    ask = {"model": "public", "prompt": "the cat", "max_tokens": 20, "temperature": 0}
    whole = (await client.completions.create(**ask)).choices[0].text
    stream = await client.completions.create(**ask, stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == whole
    assert WORDS.fullmatch(whole)


async def test_what_is_used_is_counted_though_no_client_asks(router):
    """A stream's tokens as those of the same answer in one piece, in every API; the client sees only what it knows."""
    asked: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": HELLO, "max_tokens": 9},
        "/v1/completions": {"prompt": "the cat", "max_tokens": 9},
        "/v1/messages": {"messages": HELLO, "max_tokens": 9},
        "/v1/responses": {"input": "Hello", "max_output_tokens": 9},
        "/api/chat": {"messages": HELLO, "options": {"num_predict": 9}},
    }
    async with aiohttp.ClientSession(router.url) as session:

        async def used(requests: int) -> dict[str, int]:
            async with asyncio.timeout(30):
                while True:
                    async with session.get("/admin/usage") as answer:
                        total = (await answer.json())["total"]
                    if total["requests"] >= requests:
                        return dict(total)
                    await asyncio.sleep(0.05)

        async def before_this() -> dict[str, int]:
            """What was used, once all that others have asked for is counted."""
            last = await used(0)
            for _ in range(30):
                await asyncio.sleep(1)
                if last == (last := await used(0)):
                    break
            return last

        now = await before_this()
        for path, body in asked.items():
            told = []
            for stream in (False, True):
                before = now
                async with session.post(path, json={"model": "public", "stream": stream, **body}) as answer:
                    said = await answer.text()
                    assert answer.status == 200, said
                now = await used(before["requests"] + 1)
                told.append([now[name] - before[name] for name in ("prompt_tokens", "completion_tokens", "estimated")])
            assert told[0] == told[1], path
            assert told[1][1:] == [9, 0], path
            assert '"choices":[]' not in said.replace(" ", "")


async def test_usage_in_a_stream(client, engine):
    """Told, or not, as its description says."""
    stream = await client.chat.completions.create(
        model="public", messages=HELLO, max_tokens=5, stream=True, stream_options={"include_usage": True}
    )
    told = [chunk.usage.completion_tokens async for chunk in stream if chunk.usage is not None]
    assert told == ([5] if engine.usage_in_streams else [])


async def test_a_chats_tokens_are_counted(router, client, engine):
    """By the engine's own counter, or by that of Anthropic's API: as many as the usage tells of the same chat."""
    messages = [{"role": "user", "content": "What is the weather in Århus?"}, *HELLO]
    answer = await client.chat.completions.create(model="public", messages=messages, max_tokens=1)
    body = {"model": "public", "messages": messages, "max_tokens": 1}
    url, headers = f"{router.url}/v1/messages/count_tokens", {"content-type": "application/json"}
    if engine.counter:
        (port,) = ports(router.engines)
        url, headers = f"http://127.0.0.1:{port}{engine.counter}", headers | router.key()
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 -- an address of ours
    with await asyncio.to_thread(urllib.request.urlopen, request) as counted:
        assert json.load(counted)["input_tokens"] == answer.usage.prompt_tokens


async def test_what_its_model_can_do(client):
    """The context is the one that the engine names when a prompt is too long for it."""
    told = (await client.models.retrieve("public")).model_dump()
    context = told["context_length"]
    assert told["max_model_len"] == context
    assert "completion" in told["capabilities"]
    assert not {"vision", "embeddings", "reasoning", "tools"} & set(told["capabilities"])
    with pytest.raises(openai.BadRequestError, match=rf"\b{context}\b"):
        await client.completions.create(model="public", prompt="the" + " the" * (context + 10), max_tokens=1)


async def test_its_load_is_read(client, router, engine):
    """Where its description says that it is published."""

    async def work() -> None:
        while True:
            async with await working(client) as stream:
                async for _ in stream:
                    pass

    at_work = asyncio.create_task(work())
    try:
        until = time.monotonic() + STARTS_WITHIN  # a page that took its time isn't asked for again at once
        while (load := (await status(router)).get("published")) != {"running": 1, "waiting": 0} and engine.publishes:
            assert time.monotonic() < until, load
            await asyncio.sleep(0.2)
    finally:
        at_work.cancel()
        await asyncio.wait([at_work])
    assert (load is not None) == engine.publishes


async def test_8_clients_at_once(client):
    """All are answered, and none cuts off another."""

    async def one(stream: bool) -> Any:
        ask: Any = {"model": "public", "messages": HELLO, "max_tokens": 30}
        if not stream:
            return (await client.chat.completions.create(**ask)).choices[0].finish_reason
        chunks = [chunk async for chunk in await client.chat.completions.create(**ask, stream=True)]
        return chunks[-1].choices[0].finish_reason

    assert await asyncio.gather(*(one(number % 2 == 0) for number in range(8))) == ["length"] * 8


async def test_any_request_id_will_do(client):
    """One that is no UUID, too."""
    ask = {"model": "public", "messages": HELLO, "max_tokens": 1}
    await client.chat.completions.create(**ask, extra_headers={"x-request-id": "no-uuid"})


async def test_an_empty_prompt_does_no_harm(client, engine):
    """Where it would, the client is told what is wrong."""
    harmed = engine.name in {"llama_cpp", "mlx"}
    with pytest.raises(openai.BadRequestError) if harmed else suppress(openai.BadRequestError):
        await client.completions.create(model="public", prompt="", max_tokens=1)
    await served(client)


async def test_clients_that_leave_mid_stream_free_the_engine(client, router, engine):
    """As many as it takes at once, or four: the next is answered soon, and then it rests."""
    streams = [await working(client) for _ in range(min(engine.parallel, 4))]
    await asyncio.gather(*(stream.close() for stream in streams))
    left = time.monotonic()
    await client.chat.completions.create(model="public", messages=HELLO, max_tokens=1)
    assert time.monotonic() - left < 5.0
    until = time.monotonic() + 10.0
    while await busy(router.engines) > 0.5:
        assert time.monotonic() < until, "it works on for nobody"


async def test_clients_that_leave_before_an_answer_free_the_engine(client, router, engine):
    """Of an answer in one piece, too: nothing is generated for nobody."""
    ask: Any = {"model": "public", "messages": HELLO, "max_tokens": LONG}
    asking: list[asyncio.Task[Any]] = []
    while not (await status(router))["in_flight"]:
        if all(each.done() for each in asking):  # none yet, or the engine was faster than the look at it
            asking = [
                asyncio.create_task(client.chat.completions.create(**ask)) for _ in range(min(engine.parallel, 4))
            ]
    for task in asking:
        task.cancel()
    left = time.monotonic()
    await client.chat.completions.create(model="public", messages=HELLO, max_tokens=1)
    assert time.monotonic() - left < 5.0
    until = time.monotonic() + 10.0
    while await busy(router.engines) > 0.5:
        assert time.monotonic() < until, "it works on for nobody"


async def busy(processes: list[psutil.Process]) -> float:
    """How many CPUs processes keep busy, over half a second."""

    def used() -> float:
        return sum(sum(each.cpu_times()[:2]) for each in processes)

    before, began = used(), time.monotonic()
    await asyncio.sleep(0.5)
    return (used() - before) / (time.monotonic() - began)


async def test_kill_9_of_each_of_its_processes(client, router):
    """While it works: the client is told, nothing of the old is left, and it serves again."""
    for number in range(len(router.engines)):
        before = sorted(router.engines, key=lambda each: each.create_time())
        if "resource_tracker" in " ".join(before[number].cmdline()):
            continue  # Python's own; nothing depends on it
        stream = await working(client)
        before[number].kill()
        await told_or_whole(stream)
        await eventually(none_left(before), within=30.0)
        await served(client)


@pytest.mark.same_with_each
async def test_kill_9_of_the_keeper(client, router):
    """Its engines end with it, all of them; with another keeper it serves again."""
    before = router.engines
    router.keeper.kill()
    await eventually(none_left(before), within=30.0)
    await served(client)


@pytest.mark.long
async def test_a_worker_that_is_stopped_is_a_stall(client, router):
    """SIGSTOP: it holds its port and its memory, and does nothing. Its client is told, and another takes its place."""
    before = router.engines
    worker = max(before, key=lambda each: each.memory_info().rss)
    stream = await working(client)
    worker.send_signal(signal.SIGSTOP)
    await told_or_whole(stream)
    await eventually(none_left(before), within=60)
    await served(client)
    assert "stalled" in router.said


async def test_memory_of_all_its_processes(router):
    """As /admin/status tells it: the model's, the workers', whatever the engine has started."""
    told, actual = None, 0
    # It is measured each few seconds, and grows for a while.
    while told is None or not 0.5 * actual < told < 2 * actual:
        await asyncio.sleep(0.1)
        status = await asyncio.to_thread(urllib.request.urlopen, f"{router.url}/admin/status")
        told = json.loads(status.read())["backends"][0]["memory_bytes"]
        actual = sum(each.memory_info().rss for each in router.engines)
    assert told > 20 * 2**20


async def test_a_model_that_can_not_be_loaded(tmp_path, model, name):
    """It is said at once what is wrong: the engine ends, and its last words are shown."""
    folder = tmp_path / "spoiled"
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).write_bytes(b"{}" if file.name == CASES[name].spoiled else file.read_bytes())
    async with RunningRouter(tmp_path, config(name, folder)) as router:
        await eventually(lambda: "next try in" in router.said, within=STARTS_WITHIN)
        assert re.search(r"demo: .*(exited with code [1-9]|was ended by SIGTERM).*\n( +\| .*\n)+", router.said)
        router.signal()
        assert await router.exit_code() == 0


async def test_a_models_name_beyond_the_locale(tmp_path, model, name):
    """It is the engine's as it was given, where neither it nor the router would read it so by itself."""
    words = config(name, model).replace("- name: demo", '- name: demo\n    models: ["modèle 🦙", demo]')
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    async with RunningRouter(tmp_path, words, env=env) as router:
        await router.ready(STARTS_WITHIN)
        async with AsyncOpenAI(base_url=f"{router.url}/v1", api_key="none", max_retries=0) as client:
            messages: list[Any] = [{"role": "user", "content": "Hello there"}]
            answer = await client.chat.completions.create(model="modèle 🦙", messages=messages, max_tokens=2)
        assert answer.choices


async def test_stopped_while_it_starts(tmp_path, model, name):
    """It ends within the time that it has for it, and leaves nothing."""
    async with RunningRouter(tmp_path, config(name, model)) as router:
        await eventually(lambda: router.engines)
        await asyncio.sleep(0.3)  # well into it, for those that take long
        started = router.engines
        router.signal()
        assert await router.exit_code() == 0
        await eventually(none_left(started))


async def test_stopped_while_it_works(tmp_path, temporary, model, name):
    """The second Ctrl-C stops now: no process and no port is left, no file in the temporary folder or shared memory."""
    shared = in_shared_memory()
    env = {**os.environ, "TMPDIR": str(temporary)}
    async with RunningRouter(tmp_path, config(name, model), env=env) as router:
        await router.ready(STARTS_WITHIN)
        async with AsyncOpenAI(base_url=router.url + "/v1", api_key="none", max_retries=0) as client:
            started, taken = router.engines, ports(router.engines)
            assert taken
            stream = await working(client)
            router.signal()
            await eventually(lambda: "may end within" in router.said)
            router.signal()
            await told_or_whole(stream)
        assert await router.exit_code() == 130
        await eventually(none_left(started))
        await eventually(lambda: all(map(nobody_listens, taken)))
    assert forgotten(in_shared_memory() - shared) == set()
    assert files_in(temporary) == []


async def test_kill_9_of_the_router(tmp_path, temporary, model, name):
    """While it works: soon nothing of the engine is left, no file of it either; nobody has to start another router."""
    shared = in_shared_memory()
    env = {**os.environ, "TMPDIR": str(temporary)}
    async with RunningRouter(tmp_path, config(name, model), env=env) as router:
        await router.ready(STARTS_WITHIN)
        started = [*router.engines, router.keeper]
        async with AsyncOpenAI(base_url=router.url + "/v1", api_key="none", max_retries=0) as client:
            stream = await working(client)
            router.signal(signal.SIGKILL)
            await eventually(none_left(started), within=10.0)
            with suppress(openai.APIError):
                await told_or_whole(stream)
        await router.exit_code()
    assert forgotten(in_shared_memory() - shared) == set()
    assert files_in(temporary) == []
    assert list((tmp_path / "logs" / "run").iterdir()) == []
