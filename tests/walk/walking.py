"""Walks a page as a reader does: writes its router.yaml, types its commands, and keeps what they say."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.running import REPOSITORY
from tests.walk.documents import Block, blocks_of, lines_of

ADDRESS = "http://127.0.0.1:8001"
WITHIN = 60.0
RELOADED = re.compile(r'"(?:reload: |router\.yaml is not taken over)')


def model_of_a_megabyte(path: Path) -> None:
    """Make the model that a page names: a file, or a folder."""
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        return
    if path.suffix == ".gguf":
        shutil.copy(REPOSITORY / "models/demo/demo.gguf", path)
    else:
        path.symlink_to(REPOSITORY / "models/demo")


class Walk:
    """One reader in a folder, who has these variables, and the machine that `needs` says (`on NVIDIA`).

    `said` has what each command printed. `fails` are commands that end with another code than 0 at their place.
    """

    def __init__(
        self,
        folder: Path,
        *,
        variables: Mapping[str, str] | None = None,
        needs: Iterable[str] = (),
        fails: Iterable[str] = (),
        model: Callable[[Path], None] = model_of_a_megabyte,
    ) -> None:
        self.folder = folder
        self.said: dict[str, str] = {}
        self._needs, self._fails, self._model = {*needs, ""}, {*fails}, model
        self._router: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        given = {**os.environ, **(variables or {})}
        self._env = {
            **given,
            "HOME": str(folder),
            "PATH": f"{Path(sys.executable).parent}:{given['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            "ROUTER_SERVER__HOST": "127.0.0.1",
            "ROUTER_SERVER__PORT": str(port),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._router is None:
            return
        self._router.send_signal(signal.SIGINT)
        try:
            code = self._router.wait(WITHIN)
        finally:
            self._router.kill()
        if error is None:
            assert code == 0, self._log()
        else:
            print(self._log())  # noqa: T201  (pytest shows it of a test that fails)

    def _log(self) -> str:
        with suppress(OSError):
            return (self.folder / "said").read_text()
        return ""

    def follow(self, page: str, heading: str = "") -> None:
        """Do all that a page says, or what it says below a heading."""
        for block in blocks_of(page, heading):
            if block.language == "yaml":
                self.write(block)
            elif block.language == "sh":
                for command, needs in lines_of(block):
                    if needs in self._needs:
                        self.type(command)

    def write(self, block: Block) -> None:
        """Save a router.yaml; whoever saves it while the router runs sees that it is taken over."""
        assert re.search(r"^backends:", block.text, re.MULTILINE), f"{block} is no whole router.yaml"
        for name in set(re.findall(r"model: ([\w./-]+)", block.text)):
            self._model(self.folder / name)
        before = self._reloads()
        (self.folder / "router.yaml").write_text(block.text)
        if self._router is not None:
            self.until(lambda: self._reloads() > before)

    def _reloads(self) -> int:
        with suppress(OSError):
            return len(RELOADED.findall((self.folder / "logs/router.log").read_text()))
        return 0

    def type(self, command: str) -> None:
        """Type a command. `router` alone is typed in a terminal of its own, and goes on."""
        if command == "router":
            self._start()
            return
        typed = command.replace(ADDRESS, self.url)
        done = subprocess.run(
            ["/bin/sh", "-c", typed],
            cwd=self.folder,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )
        self.said[command] = done.stdout
        assert (done.returncode != 0) == (command in self._fails), f"{command}: {done.stdout}{done.stderr}"

    def _start(self) -> None:
        with (self.folder / "said").open("wb") as said:
            self._router = subprocess.Popen(
                [sys.executable, "-m", "router"], cwd=self.folder, env=self._env, stdout=said, stderr=said
            )
        self.until(self._answers)

    def _answers(self) -> bool:
        assert self._router is not None
        assert self._router.poll() is None, self._log()
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=5):  # noqa: S310
            return True
        return False

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + WITHIN
        while not condition():
            assert time.monotonic() < end, self._log()
            time.sleep(0.02)

    def answer(self, words: str) -> str:
        """Give what the one command with these words in it has printed last."""
        (said,) = (said for command, said in self.said.items() if words in command)
        return said
