"""Routers on several machines: each is a process, before fake engines, behind HAProxy or in a network of its own."""

import os
import shutil
from pathlib import Path

import aiohttp
import pytest

from tests.walk.documents import blocks


@pytest.fixture
async def session():
    """An HTTP client."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as client:
        yield client


def haproxy() -> str:
    """Find Debian's haproxy, or the one that HAPROXY names."""
    found = os.environ.get("HAPROXY") or shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    assert found, "no haproxy here: apt install haproxy, or set HAPROXY to the path of one"
    return found


def block(language: str, containing: str = "") -> str:
    """Give the block of docs/machines.md in this language, with these words."""
    (text,) = [each.text for each in blocks(language) if each.page == "docs/machines.md" and containing in each.text]
    return text


def folder_of(path: Path) -> Path:
    """Make a folder."""
    path.mkdir()
    return path
