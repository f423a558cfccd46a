"""A first request to an engine that has just been loaded, so that the first client doesn't wait for what it sets up."""

import asyncio

import aiohttp
import structlog

from launchers.status import Status
from router.fleet.members import Member
from router.telemetry.logs import MODELS

log = structlog.get_logger(MODELS)

_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
"""Tried in turn: a model of embeddings has no chat."""

WITHIN = 120.0
"""Seconds for all of them; a model of 100 GB on a GPU takes some to compile its kernels."""


async def warm_up(member: Member, status: Status) -> None:
    """Ask an engine for one token, if router.yaml says so. An engine that refuses it serves all the same."""
    launch = member.planned.config.launch
    if launch is None or not launch.warm_up or status.address is None or member.planned.launch is None:
        return
    host, port = status.address
    name = member.planned.launch.spec.served_name
    said = ""
    try:
        async with asyncio.timeout(WITHIN), aiohttp.ClientSession() as session:
            for path in _PATHS:
                headers = {"authorization": f"Bearer {status.key}"}
                async with session.post(f"http://{host}:{port}{path}", json=_body(path, name), headers=headers) as got:
                    if got.status < 400:
                        return
                    said = f"it answered {got.status} to {path}"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        said = str(error) or type(error).__name__
    log.warning(f"{member.name}: the first request to it failed ({said}); it serves all the same")


def _body(path: str, model: str) -> dict[str, object]:
    if path.endswith("embeddings"):
        return {"model": model, "input": "Hello"}
    asked = {"messages": [{"role": "user", "content": "Hello"}]} if "chat" in path else {"prompt": "Hello"}
    return {"model": model, "max_tokens": 1, **asked}
