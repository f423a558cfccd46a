"""A real Prometheus that scrapes a router of this test."""

import asyncio
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
import uvloop
import yaml

from launchers.states import RestartPolicy
from router.app import App
from router.config import load
from router.fleet.reload import Reloader
from tests.fakes.launched import FACTS, LaunchedFake

EVERY = "1s"
Holds = Callable[[Any], bool]


def program(name: str) -> str:
    """Find Debian's prometheus or promtool, or the one that PROMETHEUS or PROMTOOL names."""
    found = os.environ.get(name.upper()) or shutil.which(name)
    assert found, f"no {name} here: apt install prometheus, or set {name.upper()} to the path of one"
    return found


class Prometheus:
    """A Prometheus with these rules, from entering to leaving. It scrapes the job `router` at `target`."""

    def __init__(self, folder: Path, target: str, rules: str) -> None:
        folder.mkdir()
        self._folder = folder
        (folder / "alerts.yml").write_text(rules, encoding="utf-8")
        (folder / "prometheus.yml").write_text(
            yaml.safe_dump({
                "global": {"scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": EVERY},
                "rule_files": ["alerts.yml"],
                "scrape_configs": [{"job_name": "router", "static_configs": [{"targets": [target]}]}],
            }),
            encoding="utf-8",
        )  # fmt: skip
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        with (self._folder / "log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                program("prometheus"), f"--config.file={self._folder}/prometheus.yml",
                f"--storage.tsdb.path={self._folder}/data", f"--web.listen-address={self.url.removeprefix('http://')}",
                stdout=log, stderr=log,
            )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        self._process.kill()
        await self._process.wait()

    async def _get(self, path: str, **query: str) -> Any:
        async with self._session.get(f"{self.url}/api/v1/{path}", params=query) as answer:
            told = await answer.json()
            assert told["status"] == "success", told
            return told["data"]

    async def ask(self, expression: str) -> list[float]:
        """Give the values that an expression has now."""
        found = (await self._get("query", query=expression))["result"]
        return [float(each["value"][1]) for each in found]

    async def firing(self) -> set[str]:
        """Give the alerts that fire."""
        return {
            each["labels"]["alertname"] for each in (await self._get("alerts"))["alerts"] if each["state"] == "firing"
        }

    async def until(self, look: Callable[[], Awaitable[Any]], holds: Holds, within: float = 60.0) -> Any:
        """Look again and again, until what is seen is as it should be."""
        seen: Any = None
        try:
            async with asyncio.timeout(within):
                while True:
                    try:
                        seen = await look()
                    except (aiohttp.ClientError, json.JSONDecodeError):
                        assert self._process.returncode is None, (self._folder / "log").read_text(encoding="utf-8")
                    else:
                        if holds(seen):
                            return seen
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"it never came true: {seen}") from None


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[tuple[App, Path]]]]:
    """Give a function that starts a router on these keys of a router.yaml, which launches fake engines."""
    (tmp_path / "model").touch()
    async with AsyncExitStack() as stack:

        async def starting(**keys: Any) -> tuple[App, Path]:
            file = tmp_path / "router.yaml"
            file.write_text(yaml.safe_dump({"server": {"port": 0}, **keys}), encoding="utf-8")
            loaded = load(file, {})
            app = App(
                loaded.config, tmp_path, reloader=Reloader(loaded, lambda: load(file, {})),
                engines={"llama_cpp": LaunchedFake()}, facts=FACTS, policy=RestartPolicy(),
            )  # fmt: skip
            stack.push_async_callback(app.kill)
            await app.start()
            return app, file

        yield starting


@pytest.fixture
def launch(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Give a function that writes an entry of a launched fake engine."""

    def entry(name: str, *models: str, **more: Any) -> dict[str, Any]:
        told = {"engine": "llama_cpp", "model": str(tmp_path / "model"), "memory": "1GiB", **more}
        return {"name": name, "models": list(models) or [name], "launch": told}

    return entry


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on the loop that the router itself runs on."""
    return {"uvloop": uvloop.new_event_loop}
