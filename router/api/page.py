"""The web page at /: static files, which the browser makes the page of. All that it shows, it asks /admin for.

The files have no secrets, so everybody who reaches the port may have them. What they may do is bounded by a
Content-Security-Policy: scripts, styles and requests of this router alone, nothing inline, no frame around the page.
"""

import hashlib
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

from aiohttp import web

from router.api.ollama import RUNNING
from router.core.access import is_for_page

_KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)

_HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # A new version is seen at once: the browser asks each time, and mostly hears that nothing has changed.
    "cache-control": "no-cache",
}


class File(NamedTuple):
    """One of the page's files."""

    kind: str
    body: bytes
    tag: str


def files() -> Mapping[str, File]:
    """Read the page's files, by their paths."""
    return dict(_read(resources.files("router") / "web", ""))


def _read(folder: Traversable, path: str) -> list[tuple[str, File]]:
    found = []
    for each in sorted(folder.iterdir(), key=lambda each: each.name):
        name = f"{path}{each.name}"
        if each.is_dir():
            found += _read(each, f"{name}/")
        elif kind := _KINDS.get(name[name.rfind(".") :]):
            body = each.read_bytes()
            found.append((name, File(kind, body, f'"{hashlib.sha256(body).hexdigest()[:16]}"')))
    return found


class Page:
    """The handlers. Ollama's clients ask for /, too: they want no HTML, and get what Ollama says."""

    def __init__(self) -> None:
        self._files = files()

    async def home(self, request: web.Request) -> web.Response:
        """Give the page to a browser, and Ollama's sentence to all others."""
        if is_for_page(request.method, request.path, request.headers.get("accept", "")):
            return self._give(request, "index.html")
        return web.Response(text=RUNNING)

    async def file(self, request: web.Request) -> web.Response:
        """Give one of the files that the page is made of."""
        return self._give(request, request.match_info["path"])

    def _give(self, request: web.Request, path: str) -> web.Response:
        found = self._files.get(path)
        if found is None:
            raise web.HTTPNotFound
        headers = {**_HEADERS, "etag": found.tag}
        if found.tag in request.headers.get("if-none-match", ""):
            return web.Response(status=304, headers=headers)
        return web.Response(body=found.body, headers={**headers, "content-type": found.kind})

    def routes(self) -> list[web.RouteDef]:
        """Give the routes, for aiohttp."""
        return [web.get("/", self.home), web.get("/web/{path:.+}", self.file)]
