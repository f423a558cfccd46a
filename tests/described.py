"""Schemathesis at a router: what it finds of answers that /admin/openapi.json doesn't allow."""

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import yaml

from router.api.admin import TABLE
from router.app import App
from router.config import load
from router.fleet.reload import Reloader
from tests.fakes.launched import FACTS, LaunchedFake

KEY = "opens-everything"
CHECKS = Path(__file__).with_name("schemathesis.toml")


@asynccontextmanager
async def a_router(folder: Path, fake_url: str):
    """Run a router with a file in this folder: it loads and unloads `qwen`, a fake engine; `box` is one elsewhere."""
    (folder / "model").touch()
    launch = {"engine": "llama_cpp", "model": str(folder / "model"), "load": "on_demand", "memory": "1MiB"}
    file = folder / "router.yaml"
    file.write_text(yaml.safe_dump({
        "server": {"port": 0},
        "health": {"interval": "1h"},
        "auth": {"admin_keys": [{"key": KEY, "name": "all", "scopes": ["read", "manage", "configure"]}]},
        "backends": [
            {"name": "qwen", "models": ["qwen"], "launch": launch},
            {"name": "box", "url": fake_url, "models": ["other"]},
        ],
    }), encoding="utf-8")  # fmt: skip
    loaded = load(file, {})
    app = App(
        loaded.config,
        folder,
        reloader=Reloader(loaded, lambda: load(file, {})),
        engines={"llama_cpp": LaunchedFake()},
        facts=FACTS,
    )
    await app.start()
    try:
        yield app
    finally:
        await app.kill()


async def found(url: str, folder: Path, *options: str) -> tuple[int, str]:
    """Let it try every endpoint but streams and engines' own paths, from a folder that it may write into.

    Gives its exit code, and what it says.
    """
    streams = [
        word for each in TABLE if each.streams or each.passes for word in ("--exclude-operation-id", each.operation)
    ]
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CHECKS),
        "run", f"{url}/admin/openapi.json", "--header", f"Authorization:Bearer {KEY}", "--no-color",
        "--warnings", "off", *streams, *options,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=folder,
    )  # fmt: skip
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return process.returncode, said.decode()
