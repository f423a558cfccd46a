"""A network of machines on this one: a bridge, and for each machine a network namespace with a card of its own.

The test itself runs on the first machine, `desk`. It needs a network that it may change: `make test-machines`.
"""

import asyncio
import os
import re
import socket
import subprocess
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Self

from tests.running import REPOSITORY

DESK = "192.168.1.10"
PC_CARD = "00:11:22:33:44:55"

CARD = """\
import socket, sys
card = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
card.bind(("", 9))
print("listens", flush=True)
while True:
    print(card.recv(200).hex(), flush=True)
"""
"""What a network card does while its machine sleeps: it reads packets."""


def ip(*words: str) -> None:
    """Change the network."""
    subprocess.run(["ip", *words], check=True)  # noqa: S607


class Machine:
    """A machine at an address. `cut` pulls its cable, and `mend` puts it in again."""

    def __init__(self, name: str, address: str, card: str = "") -> None:
        self.name = name
        self.address = address
        self._card = card

    def start(self) -> None:
        """Put it into the network."""
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])  # noqa: S607
        inside, outside = Path(f"/proc/{self._holder.pid}/ns/net"), Path("/proc/self/ns/net")
        while inside.readlink() == outside.readlink():
            pass
        ip("link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", str(self._holder.pid))
        self.enter = ["nsenter", f"--net={inside}", "--"]
        if self._card:
            self.ip("link", "set", "eth0", "address", self._card)
        self.ip("addr", "add", f"{self.address}/24", "dev", "eth0")
        for each in ("lo", "eth0"):
            self.ip("link", "set", each, "up")
        ip("link", "set", self.name, "master", "lan", "up")

    def ip(self, *words: str) -> None:
        """Change its network."""
        subprocess.run([*self.enter, "ip", *words], check=True)

    def cut(self) -> None:
        """Pull its cable."""
        ip("link", "set", self.name, "down")

    def mend(self) -> None:
        """Put it in again."""
        ip("link", "set", self.name, "up")

    def end(self) -> None:
        """Take it away: its cable first, as what ran there may take a moment to end."""
        ip("link", "del", self.name)
        self._holder.kill()
        self._holder.wait()


class Card:
    """Reads the packets that everybody in the network gets."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.read: list[str] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._machine.enter, sys.executable, "-c", CARD, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert await self._process.stdout.readline() == b"listens\n"
        self._reading = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.read.append(line.decode().strip())

    @property
    def calls(self) -> bool:
        """Whether a magic packet for the PC has come."""
        return "ff" * 6 + PC_CARD.replace(":", "") * 16 in self.read

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        await self._process.wait()
        await self._reading


class Router:
    """`python -m router` at a machine, None: at this one; `keys` are in its environment."""

    def __init__(self, folder: Path, text: str, machine: Machine | None, keys: dict[str, str]) -> None:
        folder.mkdir()
        self.file = folder / "router.yaml"
        self._env = {**os.environ, **keys}
        self._enter = [] if machine is None else machine.enter
        self.said = ""
        for name in re.findall(r"models/[\w.-]+\.gguf", text):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes((REPOSITORY / "models/demo/demo.gguf").read_bytes())
        self.file.write_text(text)

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            *self._enter, sys.executable, "-m", "router", "--config", str(self.file),
            cwd=REPOSITORY, env=self._env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.said += line.decode()

    async def restart(self) -> None:
        """Stop it as a service would, and start it again."""
        self.process.terminate()
        await self.process.wait()
        await self._reading
        await self.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self._reading
        print(f"---- {self.file.parent.name}\n{self.said}")  # noqa: T201  (pytest shows it of a test that fails)

    async def command(self, *words: str) -> str:
        """Run a command of the router beside it; give what it prints."""
        asked = await asyncio.create_subprocess_exec(
            *self._enter, sys.executable, "-m", "router", *words, "--config", str(self.file),
            cwd=REPOSITORY, env=self._env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await asked.communicate()
        return said.decode()


class Lan:
    """The network, from entering to leaving."""

    def __init__(self) -> None:
        self.mac = Machine("mac-studio", "192.168.1.20")
        self.pc = Machine("gaming-pc", "192.168.1.30", PC_CARD)
        self.other = Machine("other", "192.168.1.99")
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        assert {name for _, name in socket.if_nameindex()} == {"lo"}, (
            "this would change the network of this machine: make test-machines runs it"
        )
        ip("link", "add", "lan", "type", "bridge")
        self._stack.callback(ip, "link", "del", "lan")
        ip("addr", "add", f"{DESK}/24", "dev", "lan")
        ip("link", "set", "lan", "up")
        for each in (self.mac, self.pc, self.other):
            each.start()
            self._stack.callback(each.end)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
