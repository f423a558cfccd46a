"""Asks a hub for its lists and files, and says in one sentence what is wrong.

The environment says what it says to every program of Hugging Face's: HF_ENDPOINT (another hub), HF_TOKEN, HF_TOKEN_PATH
and HF_HOME (the token), HF_HUB_OFFLINE; and HTTPS_PROXY as ever.
"""

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from launchers.files import read_ordinary
from router.hub import redirects
from router.hub.errors import BusyError, HubError, RefusedError
from router.hub.listing import RemoteFile, Repository, listed
from router.telemetry import unreached
from router.telemetry.logs import printable

USUAL: Final = "https://huggingface.co"
MOST_LIST: Final = 64 << 20
"""Bytes of an answer that lists a repository: some have ten thousand files."""
CONNECT_WITHIN: Final = 15.0
SILENT: Final = 30.0
"""Seconds without a byte after which a connection is taken to be cut."""

_YES: Final = frozenset({"1", "on", "yes", "true"})


def endpoint(environ: Mapping[str, str]) -> URL:
    """Say which hub is asked. Raises HubError."""
    said = environ.get("HF_ENDPOINT") or USUAL
    try:
        url = URL(said.rstrip("/"))
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host or url.query or url.fragment:
        raise HubError(f"HF_ENDPOINT is {said!r}, which is no address of a hub: write https://HOST")
    return url


def is_offline(environ: Mapping[str, str]) -> bool:
    """Whether no hub is to be asked."""
    return environ.get("HF_HUB_OFFLINE", "").lower() in _YES


def token(environ: Mapping[str, str], home: Path) -> str:
    """Find the token: that of HF_TOKEN, or the one that `hf auth login` has kept; empty if there is none.

    Raises HubError.
    """
    if said := environ.get("HF_TOKEN", "").strip():
        return _as_header(said, "HF_TOKEN")
    if environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").lower() in _YES:
        return ""
    usual = Path(environ.get("HF_HOME") or Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "huggingface")
    place = Path(environ.get("HF_TOKEN_PATH") or usual / "token").expanduser()
    try:
        kept = read_ordinary(place, 1024).decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return _as_header(kept, str(place))


def _as_header(text: str, whose: str) -> str:
    if not text.isprintable():
        raise HubError(f"{whose} has a line break in it, or another character that no token has")
    return text


class Hub:
    """A hub. `cdns` are hosts to which it may send on, besides those that `redirects` knows."""

    def __init__(self, session: aiohttp.ClientSession, url: URL, key: str = "", cdns: Collection[str] = ()) -> None:
        self._session = session
        self._key = key
        self._cdns = frozenset(each.lower() for each in cdns)
        self.url = url

    async def repository(self, name: str) -> Repository:
        """List a repository. Raises HubError."""
        url = self.url.joinpath("api", "models", *name.split("/")).with_query(blobs="true")
        try:
            async with self._opened(url, name) as got:
                body = await got.content.read(MOST_LIST + 1)
                while body and len(body) <= MOST_LIST and (more := await got.content.read(MOST_LIST)):
                    body += more
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise HubError(f"the hub at {self.url} can't be asked: {reason(error)}", may_pass=True) from error
        if len(body) > MOST_LIST:
            raise HubError(f"the list of {name} is longer than {MOST_LIST >> 20} MiB")
        return listed(name, body)

    @asynccontextmanager
    async def part(
        self, repository: Repository, file: RemoteFile, start: int, end: int
    ) -> AsyncGenerator[tuple[int, aiohttp.StreamReader], None]:
        """Ask for the bytes of a file from `start` to before `end`; give where those begin that come: there, or at 0.

        Raises HubError, and whatever aiohttp raises of a connection.
        """
        path = [*repository.name.split("/"), "resolve", repository.commit, *file.name.split("/")]
        wanted = {"range": f"bytes={start}-{end - 1}", "accept-encoding": "identity"}
        async with self._opened(self.url.joinpath(*path), repository.name, wanted, file.name) as answer:
            if answer.status == 206:
                begins = answer.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
                if begins != str(start):
                    raise HubError(f"{file.name}: the hub was asked for its bytes from {start}, and sends others")
                yield start, answer.content
            else:
                yield 0, answer.content

    @asynccontextmanager
    async def _opened(
        self, url: URL, name: str, headers: Mapping[str, str] | None = None, file: str = ""
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """Ask, and follow redirects by the rules of `redirects`."""
        for _ in range(redirects.MOST + 1):
            shown = dict(headers or {})
            if self._key and redirects.is_hub(self.url, url):
                shown["authorization"] = f"Bearer {self._key}"
            async with self._session.get(url, headers=shown, allow_redirects=False, proxy=_proxy(url)) as answer:
                if answer.status not in {301, 302, 303, 307, 308}:
                    self._check(answer, url, name, file)
                    yield answer
                    return
                url = self._next(url, answer.headers.get("location", ""))
        raise HubError(f"the hub sends on more than {redirects.MOST} times")

    def _next(self, url: URL, location: str) -> URL:
        try:
            # As it is written: a signature counts each letter.
            to = url.join(URL(location, encoded=True))
            why = redirects.refusal(self.url, url, to, self._cdns)
        except ValueError:
            why = "the hub sends on to what is no address"
        if why:
            raise HubError(printable(why))
        return to

    def _check(self, answer: aiohttp.ClientResponse, url: URL, name: str, file: str) -> None:
        """Raise HubError for an answer that isn't what was asked for: the list of `name`, or a file of it."""
        status, code = answer.status, answer.headers.get("x-error-code", "")
        if status in {200, 206}:
            return
        if not redirects.is_hub(self.url, url):
            # Addresses of files elsewhere are for minutes; the next request gets a new one.
            error = BusyError if _may_pass(status) else RefusedError
            raise error(f"{url.host}, which has the hub's files, answers {status}")
        page = f"{self.url}/{name}"
        if code == "GatedRepo":
            raise HubError(
                f"{name} is for those alone who have accepted its terms: do that at {page}, and set HF_TOKEN to a "
                f"token of that account ({self._what_was_shown()})"
            )
        if status in {401, 403, 404} and not (file and status == 404 and code != "RepoNotFound"):
            raise HubError(
                f"{self.url} has no model {name}, or not for everybody: check how it is written; if it is private, set "
                f"HF_TOKEN to a token that may read it ({self._what_was_shown()})"
            )
        if _may_pass(status):
            raise BusyError(f"the hub at {self.url} answers {status}: try again later")
        raise HubError(f"the hub at {self.url} answers {status} to a question for {printable(file) or name}")

    def _what_was_shown(self) -> str:
        return "the token that was shown isn't enough" if self._key else "none was shown"


def _may_pass(status: int) -> bool:
    return status in {408, 429} or status >= 500


def session() -> aiohttp.ClientSession:
    """Open a session for a hub."""
    timeout = aiohttp.ClientTimeout(None, sock_connect=CONNECT_WITHIN, sock_read=SILENT)
    # Not `trust_env`: it would take passwords from ~/.netrc, and show those of its `default` wherever files lie.
    return aiohttp.ClientSession(timeout=timeout)


def _proxy(url: URL) -> str | None:
    """Give the proxy that the environment, or this system, has for an address."""
    return None if proxy_bypass(url.host or "") else getproxies().get(url.scheme)


def reason(error: Exception) -> str:
    """Say why a connection failed."""
    if isinstance(error, TimeoutError):
        return "it says nothing"
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError):
        return "the connection was cut"
    said = unreached.reason(error) if isinstance(error, OSError) else str(error)
    return said or type(error).__name__
