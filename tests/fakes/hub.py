"""A hub of Hugging Face's kind, with the faults that downloads meet.

Its forms are those that huggingface_hub reads (tests/unit/hub/test_beside_the_library.py has that read them): a list of
a repository's files with checksums; small files as they are; large ones by a redirect to where they lie, with what is
known of them in the redirect's headers.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Self

from aiohttp import web

COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"
LARGE: Final = (".gguf", ".safetensors", ".bin")
SIGNED: Final = "Signature=a%2Bb~c&Expires=1"
"""The query of where a large file lies: a signature counts each letter."""


def digest(name: str, content: bytes) -> str:
    """Give the checksum by which the hub knows a file."""
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass
class FakeHub:
    """The hub at `url`. `asked` has what it was asked: method, path, Range and Authorization.

    `cuts`: so many bytes are sent of each of the next answers with a large file, then the connection is cut.
    `flips`: the next answers' first byte is another one. `elsewhere`: where it sends on to for large
    files, by itself to another of its ports.
    `statuses`: what the next answers with large files are instead; `status`: what lists are. `token`: nobody else is
    told of what is `gated`.
    `holds`: large files are sent by half until it is set, but for the first ones, which are as many as `passes`.
    """

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    moved: dict[str, str] = field(default_factory=dict)
    token: str = ""
    cuts: list[int] = field(default_factory=list)
    flips: int = 0
    statuses: list[int] = field(default_factory=list)
    elsewhere: str = ""
    status: int = 200
    knows_ranges: bool = True
    more: bytes = b""
    holds: asyncio.Event | None = None
    passes: int = 0
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)
    url: str = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/api/models/{org}/{name}", self._list)
        app.router.add_get("/api/models/{org}/{name}/revision/{revision}", self._list)
        app.router.add_get("/{org}/{name}/resolve/{revision}/{path:.+}", self._resolve)
        app.router.add_get("/files/{org}/{name}/{path:.+}", self._file)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        for _ in range(2):
            await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url, self.elsewhere = (f"http://127.0.0.1:{address[1]}" for address in self._runner.addresses)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.holds is not None:
            self.holds.set()
        await self._runner.cleanup()

    @property
    def ranges(self) -> list[str]:
        """What parts of files it was asked for, where these lie."""
        return [range_ for _, path, range_, _ in self.asked if path.startswith("/files/")]

    def _heard(self, request: web.Request) -> str:
        """Note what is asked; give the repository's name."""
        said = request.headers
        self.asked.append((request.method, request.path, said.get("range", ""), said.get("authorization", "")))
        return f"{request.match_info['org']}/{request.match_info['name']}"

    def _refused(self, request: web.Request, name: str) -> web.Response | None:
        shown = request.headers.get("authorization", "")
        if name in self.gated and shown != f"Bearer {self.token}":
            return self._error(401 if not shown else 403, "GatedRepo", f"Access to model {name} is restricted.")
        if name not in self.repositories:
            # The hub tells nobody who may not know whether there is such a repository.
            return self._error(404 if shown else 401, "RepoNotFound", "Repository not found")
        return None

    def _error(self, status: int, code: str, message: str) -> web.Response:
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        return web.json_response({"error": message}, status=status, headers=headers)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        name = self._heard(request)
        if self.status != 200:
            return web.Response(status=self.status)
        if name in self.moved:
            return web.Response(status=307, headers={"location": f"/api/models/{self.moved[name]}?blobs=true"})
        if refused := self._refused(request, name):
            return refused
        files = self.repositories[name]
        siblings = [_sibling(path, content) for path, content in files.items()]
        told = {"_id": "0", "id": name, "modelId": name, "sha": COMMIT, "private": False, "siblings": siblings}
        return web.Response(body=json.dumps(told).encode(), content_type="application/json")

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        name, path = self._heard(request), request.match_info["path"]
        if refused := self._refused(request, name):
            return refused
        if path not in self.repositories[name]:
            return self._error(404, "EntryNotFound", "Entry not found")
        content = self.repositories[name][path]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest(path, content)}"', "Accept-Ranges": "bytes"}
        if not path.endswith(LARGE):
            return _answer(request, content, headers)
        place = f"{self.elsewhere}/files/{name}/{path}?{SIGNED}"
        linked = {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(len(content)), "Location": place}
        return web.Response(status=302, headers=headers | linked)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name, path = self._heard(request), request.match_info["path"]
        if request.raw_path.partition("?")[2] != SIGNED:
            return web.Response(status=403, text="SignatureDoesNotMatch")
        if self.statuses:
            return web.Response(status=self.statuses.pop(0))
        content = self.repositories[name][path]
        if self.flips:
            self.flips -= 1
            content = bytes([content[0] ^ 1]) + content[1:]
        if not self.knows_ranges:
            return web.Response(body=content + self.more)
        answer = _answer(request, content, {})
        self.passes -= 1
        is_held = self.holds is not None and self.passes < 0
        if not self.cuts and not is_held:
            return answer
        cut = self.cuts.pop(0) if self.cuts else len(content) // 2
        stream = web.StreamResponse(status=answer.status, headers=answer.headers)
        await stream.prepare(request)
        assert isinstance(answer.body, bytes)
        await stream.write(answer.body[:cut])
        if self.holds is not None and is_held:
            await self.holds.wait()
        assert request.transport is not None
        request.transport.close()
        return stream


def _sibling(path: str, content: bytes) -> dict[str, Any]:
    told = {"rfilename": path, "size": len(content), "blobId": hashlib.sha1(content, usedforsecurity=False).hexdigest()}
    if not path.endswith(LARGE):
        return told | {"blobId": digest(path, content)}
    return told | {"lfs": {"sha256": digest(path, content), "size": len(content), "pointerSize": 134}}


def _answer(request: web.Request, content: bytes, headers: dict[str, str]) -> web.Response:
    """Answer with a file, or with the part of it that is asked for."""
    asked = request.headers.get("range", "")
    if not asked:
        return web.Response(body=content, headers=headers)
    first, last = _bounds(asked.removeprefix("bytes=").split("-"), len(content))
    headers = headers | {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
    return web.Response(status=206, body=content[first : last + 1], headers=headers)


def _bounds(said: Iterable[str], size: int) -> tuple[int, int]:
    first, last = said
    return int(first), min(int(last or size - 1), size - 1)
