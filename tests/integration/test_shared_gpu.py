"""vllm engines that share a GPU: a router with a fake nvidia-smi and a fake vllm, which treats memory as vllm does."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.fakes import gpu
from tests.running import REPOSITORY, RunningRouter, eventually

H200 = 143771  # MiB
GIB = 1 << 30
CHAT = "/v1/chat/completions"
ASK = {"messages": [{"role": "user", "content": "Hello"}]}
QWEN = {
    "model_type": "qwen2", "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    "hidden_size": 3584, "intermediate_size": 18944, "max_position_embeddings": 32768, "vocab_size": 152064,
    "torch_dtype": "bfloat16",
}  # fmt: skip
TINY = {**QWEN, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "hidden_size": 64,
        "intermediate_size": 128, "max_position_embeddings": 8192, "vocab_size": 742}  # fmt: skip


class Machine:
    """A folder with models and a GPU, and routers on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gpu = folder / "gpu"
        self.env = gpu.install(self.gpu, H200)
        for name, config, size in (("qwen", QWEN, 15 << 30), ("tiny", TINY, 1 << 20)):
            (folder / name).mkdir()
            (folder / name / "config.json").write_text(json.dumps(config))
            with (folder / name / "model.safetensors").open("wb") as file:
                file.truncate(size)

    def text(self, *backends: str) -> str:
        """Write a router.yaml; a backend is `name model`, perhaps with more of its launch."""
        parts = (backend.split(" ", 2) for backend in backends)
        entries = (f"  - {{name: {name}, launch: {{model: {model}{''.join(more)}}}}}\n" for name, model, *more in parts)
        return "server: {port: 0}\nhealth: {interval: 1h}\nbackends:\n" + "".join(entries)

    def router(self, *backends: str) -> RunningRouter:
        """Give a router on these backends."""
        return RunningRouter(self.folder, self.text(*backends), env=self.env)

    def make_demo_model(self) -> None:
        """Make what `make setup` does."""
        place = str(self.folder / "models" / "demo")
        subprocess.run((sys.executable, "scripts/make_demo_model.py", place), cwd=REPOSITORY, check=True)

    def caches(self) -> dict[object, object]:
        """What each one's latest start that came to something has for its cache, in GiB."""
        return {
            start["name"]: round(float(str(start["cache"])) / 1024)
            for start in gpu.starts(self.gpu)
            if "cache" in start
        }

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of the router's commands."""
        return subprocess.run(
            (sys.executable, "-m", "router", *words),
            cwd=REPOSITORY,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Give a machine with one H200."""
    return Machine(tmp_path)


@pytest.fixture
async def hog(machine: Machine) -> AsyncIterator[Callable[[int], Awaitable[asyncio.subprocess.Process]]]:
    """Give another program, which holds so many GiB of the GPU."""
    made: list[asyncio.subprocess.Process] = []

    async def start(gibibytes: int) -> asyncio.subprocess.Process:
        made.append(await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(600)"))
        gpu.hold(machine.gpu, gibibytes << 10, made[-1].pid)
        return made[-1]

    yield start
    for process in made:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def told(router: RunningRouter) -> dict[str, dict[str, object]]:
    """Ask for the status of each backend."""
    async with aiohttp.ClientSession() as session, session.get(router.url + "/admin/status") as answer:
        return {each["name"]: each for each in (await answer.json())["backends"]}


async def until(router: RunningRouter, **states: str) -> dict[str, dict[str, object]]:
    """Wait until backends are in these states."""
    async with asyncio.timeout(60):
        while True:
            now = await told(router) if router.url else {}
            if all(now.get(name, {}).get("state") == state for name, state in states.items()):
                return now
            await asyncio.sleep(0.02)


async def test_two_that_share_a_gpu_start_one_after_the_other(machine):
    """Each has its whole share, and twice in a row; started together, the second would have next to no cache."""
    for _ in range(2):
        async with machine.router("one qwen", "two qwen") as router:
            await until(router, one="running", two="running")
            assert machine.caches() == {"one": 61, "two": 61}
            assert "waits until one has started: they share NVIDIA GPU 0" in router.said
            router.signal()
            assert await router.exit_code() == 0
    assert not any("error" in start for start in gpu.starts(machine.gpu))


async def test_the_status_tells_who_has_what_of_the_gpu(machine):
    """Its sensors, and the bytes of each backend, as its driver tells them; of RAM, what is resident."""
    async with machine.router("one qwen", "two qwen") as router:
        await until(router, one="running", two="running")
        caches = {name: GIB * size for name, size in machine.caches().items()}
        async with aiohttp.ClientSession() as session, asyncio.timeout(60):
            while True:
                async with session.get(router.url + "/admin/status") as answer:
                    ram, told = (await answer.json())["machine"]["devices"]
                # A reading is good for some seconds, and may be of before both had their caches, or either of it.
                in_use = told["bytes"] - told["free"] - (gpu.RESERVED << 20)
                are_held = all(told["held"].get(name, 0) > size for name, size in caches.items())
                if are_held and sum(told["held"].values()) == in_use:
                    break
                await asyncio.sleep(0.1)
        sensors = {name: told[name] for name in ("utilisation", "temperature", "power", "power_limit")}
        assert sensors == {"utilisation": 37, "temperature": 41, "power": 212.3, "power_limit": 700.0}
        assert ram["held"].keys() == {"one", "two"}
        assert ram["utilisation"] is None
        said = machine.command("status", "--url", router.url).stdout
        assert re.search(r"^NVIDIA 0 .* free; 37% busy, 41 °C, 212 W of 700 W; (one|two) has ", said, re.MULTILINE)


async def test_replicas_take_turns_too(machine):
    async with machine.router("one qwen , replicas: 3") as router:
        await until(router, **{"one": "running", "one-2": "running", "one-3": "running"})
        starts = gpu.starts(machine.gpu)
        assert [(start["share"], "error" in start) for start in starts] == [(0.3, False)] * 3


async def test_one_that_crashes_while_another_starts_waits_for_its_turn(machine):
    """What it gives back may fail the other's start; both serve in the end, each with its share."""
    async with machine.router("one qwen", "two qwen") as router:
        first = await until(router, one="running", two="starting")
        os.kill(int(str(first["one"]["pid"])), signal.SIGKILL)
        await until(router, one="waiting")
        assert "one: waits until two has started" in router.said
        await until(router, one="running", two="running")
        assert machine.caches() == {"one": 61, "two": 61}


async def test_the_second_backend_of_the_readme(machine):
    """A small model leaves the GPU to others: another is added live, and has what it needs."""
    async with machine.router("demo tiny") as router:
        await until(router, demo="running")
        (start,) = gpu.starts(machine.gpu)
        assert float(str(start["share"])) <= 0.05
        (machine.folder / "router.yaml").write_text(machine.text("demo tiny", "second tiny"))
        await until(router, demo="running", second="running")
        assert "but" not in router.said
        assert [start["cache"] for start in gpu.starts(machine.gpu)] == [start["cache"]] * 2


async def test_what_does_not_fit_beside_another_waits_and_says_what_to_write(machine):
    """In the plan, in the log, in the answer and in the status; written, it works, live."""
    async with machine.router("one qwen") as router:
        await until(router, one="running")
        both = machine.text("one qwen", "two qwen")
        (machine.folder / "new.yaml").write_text(both)
        plan = machine.command(
            "plan", "--config", str(machine.folder / "new.yaml"), "--running", str(machine.folder / "router.yaml")
        )
        write = "one has 0.9; to share it, write `args: {gpu-memory-utilization: 0.45}`"
        assert write in plan.stdout
        (machine.folder / "router.yaml").write_text(both)
        status = await until(router, two="waiting")
        assert write in str(status["two"]["detail"])
        await eventually(lambda: router.said.count(write) == 2)  # of the reload, and of the start
        async with aiohttp.ClientSession() as session:
            async with session.post(router.url + CHAT, json={**ASK, "model": "two"}) as answer:
                assert answer.status == 503
                assert write in await answer.text()
            async with session.post(router.url + CHAT, json={**ASK, "model": "one"}) as answer:
                assert answer.status == 200
        share = ", args: {gpu-memory-utilization: 0.45}"
        (machine.folder / "router.yaml").write_text(machine.text(f"one qwen {share}", f"two qwen {share}"))
        await until(router, one="running", two="running")
        assert machine.caches() == {"one": 61, "two": 61}


@pytest.mark.long
async def test_it_waits_for_memory_of_another_program(machine, hog):
    """As long as it takes, for it is no failure; doctor says so before."""
    other = await hog(135)
    (machine.folder / "router.yaml").write_text(machine.text("one qwen"))
    said = machine.command("doctor", "--config", str(machine.folder / "router.yaml")).stdout
    assert "4.9 GiB of 140.4 GiB are free now" in said
    assert "other programs hold the rest; end them, or take a smaller model" in said
    async with machine.router("one qwen") as router:
        await until(router, one="waiting")
        await eventually(lambda: "no model can be served yet" in router.said)
        other.kill()
        await other.wait()
        await until(router, one="running")
        assert [start["share"] for start in gpu.starts(machine.gpu)] == [0.9]


@pytest.mark.long
async def test_a_share_that_nobody_wrote_is_lowered_to_what_is_free(machine, hog):
    await hog(80)
    async with machine.router("one qwen") as router:
        await until(router, one="running")
        assert [start["share"] for start in gpu.starts(machine.gpu)] == [0.41]
        assert "one: takes 0.41 of its GPU's memory, instead of 0.9: no more is free" in router.said


@pytest.mark.long
async def test_what_is_free_is_shared_by_all_that_start(machine, hog):
    """The first doesn't take its planned half of a GPU of which another has 60 GiB: the second would lack it."""
    await hog(60)
    async with machine.router("one qwen", "two qwen") as router:
        await until(router, one="running", two="running")
        assert [start["share"] for start in gpu.starts(machine.gpu)] == [0.27, 0.28]


async def test_a_share_that_is_written_is_not_lowered(machine, hog):
    await hog(80)
    async with machine.router("one qwen , args: {gpu-memory-utilization: 0.6}") as router:
        status = await until(router, one="waiting")
        assert "write `args: {gpu-memory-utilization: 0.41}`" in str(status["one"]["detail"])


@pytest.mark.long
async def test_what_it_is_told_to_write_works_beside_another_program(machine, hog):
    """Equal shares of what ours have and of what is free, not of the whole GPU: neither would start any more."""
    await hog(80)
    async with machine.router("one qwen") as router:
        await until(router, one="running")
        (machine.folder / "router.yaml").write_text(machine.text("one qwen", "two qwen"))
        detail = str((await until(router, two="waiting"))["two"]["detail"])
        assert "but NVIDIA GPU 0 has 1.9 of 140.4 GiB free" in router.said  # of the reload, which says the same
        assert router.said.count("one has 0.41; to share it, write `args: {gpu-memory-utilization: 0.2}`") == 2
        doctor = machine.command("doctor", "--config", str(machine.folder / "router.yaml")).stdout
        assert "has 0.41 of NVIDIA GPU 0" in doctor
        written = re.findall(r"`(args: \{.*?\})`", detail)
        assert len(written) == 1
        both = machine.text(f"one qwen , {written[0]}", f"two qwen , {written[0]}")
        (machine.folder / "router.yaml").write_text(both)
        await until(router, one="running", two="running")
        assert [start["share"] for start in gpu.starts(machine.gpu)] == [0.41, 0.2, 0.2]


async def test_a_model_that_needs_more_than_an_equal_share_gets_it(machine):
    """And the other what is left."""
    with (machine.folder / "qwen" / "model.safetensors").open("wb") as file:
        file.truncate(90 << 30)
    (machine.folder / "small").mkdir()
    (machine.folder / "small" / "config.json").write_text(json.dumps(QWEN))
    with (machine.folder / "small" / "model.safetensors").open("wb") as file:
        file.truncate(15 << 30)
    async with machine.router("one qwen", "two small") as router:
        await until(router, one="running", two="running")
        assert [start["share"] for start in gpu.starts(machine.gpu)] == [0.71, 0.18]


async def test_of_two_that_do_not_fit_beside_each_other_one_serves(machine):
    """And the other says so, instead of both failing with half of what they need."""
    with (machine.folder / "qwen" / "model.safetensors").open("wb") as file:
        file.truncate(100 << 30)
    async with machine.router("one qwen", "two qwen") as router:
        await eventually(lambda: "there is no room for all of them: take a smaller model, or another" in router.said)
        await until(router, one="running", two="waiting")
    assert not any("error" in start for start in gpu.starts(machine.gpu))


def test_doctor_says_that_a_share_is_too_small_for_its_model(machine):
    (machine.folder / "router.yaml").write_text(machine.text("one qwen , args: {gpu-memory-utilization: 0.05}"))
    said = machine.command("doctor", "--config", str(machine.folder / "router.yaml")).stdout
    assert "0.05 of NVIDIA GPU 0 are 7.0 GiB, and this needs about 16.0 GiB: write `args: {gpu-mem" in said


@pytest.mark.long
async def test_the_reason_of_a_failed_start_is_the_cores(machine):
    """In the log, the answer and the status."""
    async with machine.router("one qwen , args: {gpu-memory-utilization: 0.015}") as router:
        await eventually(lambda: router.said.count("next try") >= 2)
        reason = "while starting: ValueError: No available memory for the cache blocks"
        assert reason in router.said
        assert "ValueError: No available memory" in str((await told(router))["one"]["detail"])
        async with (
            aiohttp.ClientSession() as session,
            session.post(router.url + CHAT, json={**ASK, "model": "one"}) as answer,
        ):
            assert answer.status == 503
            assert "ValueError: No available memory" in await answer.text()


async def test_the_shipped_router_yaml_and_the_docs_second_backend_run_here(machine):
    """As they stand, by the engine of this machine."""
    machine.make_demo_model()
    shipped = (REPOSITORY / "router.yaml").read_text().replace("  port: 8001", "  port: 0")
    page = (REPOSITORY / "docs/first-steps.md").read_text()
    (second,) = re.findall(r"```yaml\n(  - name: second\n.*?)```", page, re.DOTALL)
    async with RunningRouter(machine.folder, shipped, env=machine.env) as router:
        await until(router, demo="running")
        lines = shipped.splitlines(keepends=True)
        at = lines.index("backends:\n") + 1
        (machine.folder / "router.yaml").write_text("".join([*lines[:at], second, *lines[at:]]))
        await until(router, demo="running", second="running")
        assert [(start["name"], "error" in start) for start in gpu.starts(machine.gpu)] == [("demo", False)] * 2


async def test_a_driver_that_says_nothing_for_a_moment_has_no_model_run_on_the_cpu(machine):
    """A reload meanwhile: what is added runs in vllm, too, and the log says what is wrong."""
    async with machine.router("one tiny") as router:
        await until(router, one="running")
        program = machine.gpu / "bin" / "nvidia-smi"
        program.write_text("#!/bin/sh\necho NVIDIA-SMI has failed\n")
        (machine.folder / "router.yaml").write_text(machine.text("one tiny", "two tiny"))
        await until(router, one="running", two="running")
        assert "NVIDIA-SMI has failed" in router.said
        assert [start["name"] for start in gpu.starts(machine.gpu)] == ["one", "two"]


def test_a_start_that_fails_for_no_gpu_is_seen_says_so(machine):
    """The model is right for vllm, and there is no other engine for it. `plan` says so, too."""
    (machine.gpu / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho NVIDIA-SMI has failed\n")
    file = machine.folder / "router.yaml"
    file.write_text(machine.text("one qwen"))
    said = "nvidia-smi names no GPU; it said: NVIDIA-SMI has failed"
    assert said in machine.command("--config", str(file)).stderr
    assert said in machine.command("plan", "--config", str(file), "--running", str(file)).stderr


async def test_a_share_that_is_written_as_it_was_planned_is_written(machine, hog):
    """No other args, and so no restart; but what a person wrote is not lowered when it starts again."""
    async with machine.router("one qwen") as router:
        await until(router, one="running")
        (machine.folder / "router.yaml").write_text(machine.text("one qwen , args: {gpu-memory-utilization: 0.9}"))
        await eventually(lambda: "nothing has changed" in router.said)
        await hog(60)
        os.kill(int(str((await told(router))["one"]["pid"])), signal.SIGKILL)
        assert "asks for 0.9 of it" in str((await until(router, one="waiting"))["one"]["detail"])


@pytest.mark.long
async def test_a_kept_engine_is_taken_over_though_its_share_was_lowered(machine, hog):
    """It is known by what was planned; what it has is nobody else's."""
    other = await hog(80)
    text = machine.text("one qwen").replace("port: 0", "port: 0, keep_engines: true")
    async with RunningRouter(machine.folder, text, env=machine.env) as router:
        pid = (await until(router, one="running"))["one"]["pid"]
        router.signal()
        assert await router.exit_code() == 0
    other.kill()
    await other.wait()
    async with RunningRouter(machine.folder, text, env=machine.env) as router:
        assert (await until(router, one="running"))["one"]["pid"] == pid
        (machine.folder / "router.yaml").write_text(
            text.replace("keep_engines: true", "keep_engines: true ")
            + machine.text("two qwen").partition("backends:\n")[2]
        )
        await until(router, one="running", two="running")
        assert [start["name"] for start in gpu.starts(machine.gpu)] == ["one", "two"]
        router.signal()
        assert await router.exit_code() == 0
    for each in (machine.gpu / "held").iterdir():
        if gpu.lives(int(each.name)):
            os.kill(int(each.name), signal.SIGKILL)


async def test_who_waits_for_an_engine_that_fails_to_start_is_told_why(machine):
    """Also where the next start is under way: the last one's reason is told."""
    text = machine.text("one qwen , args: {gpu-memory-utilization: 0.015}") + "limits: {queue_timeout: 1s}\n"
    async with RunningRouter(machine.folder, text, env=machine.env) as router:
        await eventually(lambda: "next try" in router.said)
        async with (
            aiohttp.ClientSession() as session,
            session.post(router.url + CHAT, json={**ASK, "model": "one"}) as answer,
        ):
            assert answer.status == 503
            assert "ValueError: No available memory" in await answer.text()
