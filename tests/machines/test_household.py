"""docs/machines.md, followed word by word on three machines with a network of their own."""

import asyncio
import re
import signal
from contextlib import AsyncExitStack

import aiohttp
import pytest

from tests.machines.conftest import block
from tests.machines.lan import Card, Lan, Router
from tests.running import descendants

KEYS = {"MAC_KEY": "key-of-mac", "MAC_ADMIN_KEY": "admin-of-mac", "PC_KEY": "key-of-pc", "ROUTER_KEY": "key-of-all"}
DESK = "http://127.0.0.1:8001"


@pytest.fixture
async def lan():
    async with Lan() as made:
        yield made


async def until(condition, within=60.0):
    """Wait until something that is asked for holds; give it."""
    async with asyncio.timeout(within):
        while not (found := await condition()):  # noqa: ASYNC110  (it is another process)
            await asyncio.sleep(0.05)
        return found


class Household:
    """The desk's router as its clients see it."""

    def __init__(self, session):
        self._session = session

    async def models(self):
        """Give the models with their states."""
        try:
            async with self._session.get(f"{DESK}/v1/models") as answer:
                return {each["id"]: each["state"] for each in (await answer.json())["data"]}
        except aiohttp.ClientConnectionError:
            return {}

    async def ask(self, model):
        """Ask for some words; give the status, the backend and the milliseconds in the queue."""
        body = {"model": model, "max_tokens": 2, "messages": [{"role": "user", "content": "Hello"}]}
        async with self._session.post(f"{DESK}/v1/chat/completions", json=body) as answer:
            await answer.read()
            return (
                answer.status,
                answer.headers.get("x-router-backend"),
                int(answer.headers.get("x-router-queue-ms", "0")),
            )

    async def backends(self):
        """Give the backends."""
        async with self._session.get(f"{DESK}/admin/status") as answer:
            return {each["name"]: each["health"] for each in (await answer.json())["backends"]}


def stop(router: Router, what: signal.Signals) -> None:
    """Have all processes of a machine sleep, or wake."""
    for each in descendants(router.process.pid):
        each.send_signal(what)
    router.process.send_signal(what)


@pytest.mark.timeout(300)
async def test_a_household(lan, session, tmp_path):
    """The other Mac; the PC that sleeps; what is managed from here; what fails."""
    house = Household(session)
    async with AsyncExitStack() as stack:

        async def router(name, machine):
            text = block("yaml", f"# router.yaml of {name}\n")
            return await stack.enter_async_context(Router(tmp_path / name, text, machine, KEYS))

        await router("mac-studio", lan.mac)
        desk = await router("desk", None)

        async def knows_all():
            return {"small", "qwen", "coder"} <= set(await house.models())

        await until(knows_all)
        assert (await house.ask("coder"))[:2] == (200, "mac-studio/coder")
        assert (await house.ask("small"))[:2] == (200, "small")
        await desk.command("load", "mac-studio/qwen")
        said = await desk.command("ps")
        assert [row for row in said.splitlines() if {"mac-studio", "qwen", "loaded"} <= set(row.split())], said

        # The PC joins by an edit; then both serve qwen.
        pc = await router("gaming-pc", lan.pc)
        with desk.file.open("a") as file:
            file.write(block("yaml", "wake: 00:11:22:33:44:55"))

        async def has(health):
            return (await house.backends()).get("gaming-pc/qwen") == health

        await until(lambda: has("up"))

        # It sleeps: no failure, and nobody wakes it for what the Mac serves.
        card = await stack.enter_async_context(Card(lan.other))
        lan.pc.cut()
        stop(pc, signal.SIGSTOP)
        await until(lambda: has("asleep"))
        assert (await house.ask("qwen"))[:2] == (200, "mac-studio/qwen")
        assert not card.calls
        assert "asleep" in await desk.command("status")

        # The Mac's cable is cut: the PC is all that is left, and is woken.
        lan.mac.cut()

        async def mac_is_out():
            return (await house.backends())["mac-studio/qwen"] == "down"

        await until(mac_is_out)
        asked = asyncio.create_task(house.ask("qwen"))

        async def is_called():
            return card.calls

        await until(is_called)
        assert "waking" in await desk.command("status")
        stop(pc, signal.SIGCONT)
        lan.pc.mend()
        status, backend, waited = await asked
        assert (status, backend) == (200, "gaming-pc/qwen")
        assert waited > 0

        # The Mac is back.
        lan.mac.mend()

        async def coder():
            return (await house.ask("coder"))[0] == 200

        await until(coder)

        # A sleeping machine's models are known after a restart of the desk's router.
        lan.pc.cut()
        stop(pc, signal.SIGSTOP)
        await until(lambda: has("asleep"))
        await desk.restart()

        async def is_known_asleep():
            return (await house.models()) and await has("asleep")

        await until(is_known_asleep)
        stop(pc, signal.SIGCONT)


@pytest.mark.timeout(120)
async def test_machines_find_each_other(lan, tmp_path):
    """As `status` says it, with what to write; word for word but for the names."""
    async with AsyncExitStack() as stack:
        text = block("yaml", "discover: mdns") + "backends: [{url: 'http://127.0.0.1:9', models: [x]}]\n"
        for name, machine in (("mac-studio", lan.mac), ("gaming-pc", lan.pc)):
            last = await stack.enter_async_context(Router(tmp_path / name, text, machine, KEYS))
        shown = block("", "is another router on the network")

        async def found():
            return re.search(r"^.* is another router .*$", await last.command("status"), re.MULTILINE)

        line = (await until(found))[0]
        assert re.sub(r"^\S+ 8001(-2)?", "mac-studio 8001", line) == shown.strip()
