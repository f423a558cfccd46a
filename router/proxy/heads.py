"""What the router reads of heads, and what of them it passes on.

The grammar is `router.http1`'s; what stands here is policy. Which requests the fast lane takes (*ordinary* ones, see
`parse_request`), which headers go on to an engine or to a client, and which responses are not a good answer. All of
that is worked out once for a head, and comes with it when the next one like it is recalled (`http1.heads.Known`).
"""

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote
from uuid import UUID

from router.core import hops
from router.core.access import is_forwarded
from router.core.apis import COUNT, OLLAMA_STREAMS, PARTIAL, TRANSLATABLE
from router.core.form import boundary_of
from router.core.paths import is_of_models, meant
from router.http1 import requests, responses
from router.http1.bodies import Framing
from router.http1.heads import Headers, Known, end_to_end, header_lines, split_at_length, status_line

MAX_REQUEST_HEAD = 32 * 1024
"""Bytes of a request's head on the fast lane; a client's has a few hundred."""

MAX_HEADERS = 256
"""Headers of a request; a client's has a dozen."""

_CACHED_HEAD = 4 * 1024
"""Bytes up to which a parsed head is cached for the next one like it."""

CHUNKS = -1
"""The length of a body in chunks."""

_NOT_ORDINARY = frozenset({
    b"content-length",  # a second one
    b"expect",
    b"content-encoding",
    b"trailer",
})  # fmt: skip

AT_ONCE = b"x-accel-buffering: no\r\n"
"""The line of a stream's head that has nginx pass on each event as it comes."""

OURS = b"server: router\r\n"
"""The line in the head of an answer that the router itself gives; an engine's has that engine's own."""

JSON = b"application/json"

_MAX_REQUEST_ID = 128
_LONGEST_TARGET = 512
"""Bytes of a bad head's first line that are looked at."""

_WRITTEN_TO_CLIENTS = frozenset({
    b"content-length",
    b"x-request-id",
    b"x-router-backend",
    b"x-router-queue-ms",
    b"x-router-explain",
    b"location",
    b"content-location",
    b"refresh",
    b"set-cookie",
    b"clear-site-data",
    b"strict-transport-security",
    b"alt-svc",
    b"timing-allow-origin",
    # A browser would ask for a password in the router's name.
    b"www-authenticate",
    b"service-worker-allowed",
    b"report-to",
    b"nel",
})  # fmt: skip
"""Response headers that the router writes itself, or that a browser would apply to the router instead of the engine.

The router alone decides which pages may read an answer, so access-control-* and cross-origin-* are dropped, too."""

_CREDENTIALS = frozenset({b"authorization", b"x-api-key"})

_WRITTEN_TO_ENGINES = _CREDENTIALS | frozenset({
    b"host",
    b"content-length",
    # The body was read as JSON, whatever curl calls it. Engines go by this header.
    b"content-type",
    b"expect",
    # Answers pass as bytes: an event must not wait for a compressor's block.
    b"accept-encoding",
    b"x-request-id",
    b"x-router-explain",
    hops.NAME,
    b"origin",
    b"referer",
    b"cookie",
    b"cookie2",
    # Azure's clients show the router's key in it.
    b"api-key",
})  # fmt: skip
"""Request headers that the router writes itself, drops, or passes on only where they are meant for the backend.

A browser's headers about its page (access-control-*, sec-*) and a proxy's about its client are dropped, too: the router
has applied its rules to them, and an engine would apply rules of its own."""


_FOR_ONE_SERVER = (b"access-control-", b"cross-origin-", b"sec-", b"x-accel-")
"""Beginnings of headers that a browser, or nginx, and the server it speaks to tell each other; the next server is not
meant. An engine's x-accel-redirect would have the nginx before the router send a file of its own."""


class ResponseHead(NamedTuple):
    """A response's head, except the length of its body.

    `is_event_stream`: the body is server-sent events. `odd`: it is not a good answer, but an error, a redirection, an
    empty body or a web page. `lines` are its status line and end-to-end headers, serialised, without those that the
    router writes. `counts_one`: of several choices in one piece, its server counts one (see `router.core.usage`).
    """

    status: int
    headers: Headers
    framing: Framing
    keep_alive: bool
    is_event_stream: bool
    odd: bool
    lines: bytes
    counts_one: bool = False


class RequestHead(NamedTuple):
    """A request's head, except the length of its body, and what follows from it for every request that has it.

    `target` is the path with its query, in the one form that engines know (`core.paths`). `id` is the client's own
    X-Request-ID, if it can stand in a header and a log. `lines` are its end-to-end headers, serialised, without those
    that the router writes; `credentials` are the client's headers that hold a key, serialised. `well_addressed`: its
    path is one of the data plane's, and names no parent folder. `explain`: the answer has to say why this backend was
    chosen. `translatable`: not every backend speaks the API of its path. `streams`: that API gives a stream unless the
    body says otherwise. `counts`: it asks for a count of tokens, which takes no engine's time.

    `elective`: not every backend can be sent such a request as it is. `model` is the one that the path names, and
    `boundary` separates the parts of a form; mostly both are empty. `plain`: it is well addressed, and has neither.
    `kind` is the Content-Type for engines, and `hops` the routers that the request has passed (`core.hops`).
    """

    target: bytes
    path: str
    headers: Headers
    keep_alive: bool
    id: str
    lines: bytes
    credentials: bytes
    well_addressed: bool
    explain: bool
    translatable: bool
    streams: bool
    counts: bool
    elective: bool = False
    plain: bool = True
    model: str = ""
    boundary: bytes = b""
    kind: bytes = JSON
    hops: bytes = b""


def parse_response(data: bytes) -> tuple[Known[ResponseHead], int, bytes] | None:
    """Parse a response's head; give it, the length of its body in bytes, and the bytes after the head.

    None while the head is incomplete; the length is 0 unless the head gives one. Raises ProtocolError.
    """
    end = responses.head_ends(data)
    if not end:
        return None
    before, digits, behind = split_at_length(data[:end])
    known = _known_response(before, behind) if end <= _CACHED_HEAD else _known_response.__wrapped__(before, behind)
    return known, int(digits or 0), data[end:]


@lru_cache(maxsize=256)
def _known_response(before: bytes, behind: bytes) -> Known[ResponseHead]:
    """Parse a split head, and work out what the router needs of it."""
    status, headers, framing, keep_alive = responses.parse_response(before, behind)
    # There should be one; if there are several, each of them counts.
    kinds = b"\n".join([b"", *[value.lower() for name, value in headers if name == b"content-type"]])
    is_event_stream = b"\ntext/event-stream" in kinds
    head = ResponseHead(
        status,
        headers,
        framing,
        keep_alive,
        is_event_stream,
        not 200 <= status < 300 or status in {204, 205} or b"\ntext/html" in kinds,
        status_line(status) + _passed_on(headers, _WRITTEN_TO_CLIENTS) + (AT_ONCE if is_event_stream else b""),
        not is_event_stream and (b"server", b"llama.cpp") in headers,
    )
    return Known(before, behind, head)


def parse_request(head: bytes) -> tuple[Known[RequestHead], int] | None:
    """Parse a client's head, with the empty line at its end; give it, and the length of its body in bytes, or CHUNKS.

    None if it isn't ordinary. Ordinary is: POST of a path of the data plane's, HTTP/1.1, one Content-Length or chunks,
    one Host, no encoding, no expectation, every line well-formed. An offered upgrade is declined. What isn't
    ordinary isn't refused here: the slow lane's parser knows the rest of HTTP.
    """
    before, digits, behind = split_at_length(head)
    # Most forms have a boundary of their own, so a head like theirs never comes again.
    again = len(head) <= _CACHED_HEAD and b"boundary=" not in head
    known = _known_request(before, behind) if again else _known_request.__wrapped__(before, behind)
    return None if known is None else (known, int(digits or CHUNKS))


@lru_cache(maxsize=256)
def _known_request(before: bytes, behind: bytes) -> Known[RequestHead] | None:
    """Parse a split head, and work out what the router needs of it; None if it isn't ordinary."""
    parsed = requests.parse_request(before, behind)
    if parsed is None or not _is_ordinary(parsed, has_length=behind != b""):
        return None
    return Known(before, behind, describe_request(parsed.target, parsed.headers, keep_alive=parsed.keep_alive))


def _is_ordinary(parsed: requests.ParsedRequest, *, has_length: bool) -> bool:
    method, target, http11, headers, _ = parsed
    if method != b"POST" or not http11 or not is_of_models(meant(target).target) or len(headers) > MAX_HEADERS:
        return False
    hosts, framed = 0, has_length
    for name, value in headers:
        if name == b"transfer-encoding":
            if framed or value.lower() != b"chunked":
                return False
            framed = True
        if name in _NOT_ORDINARY:
            return False
        hosts += name == b"host"
    return framed and hosts == 1


def path_in(data: bytes) -> str:
    """Give the path of a request whose head can't be read, as far as it shows: errors have the form of its API."""
    words = data.lstrip(b"\r\n")[:_LONGEST_TARGET].partition(b"\r\n")[0].split(b" ")
    return requests.path_of(meant(words[1]).target) if len(words) > 1 and words[1][:1] == b"/" else "/v1/"


def describe_request(target: bytes, headers: Headers, *, keep_alive: bool) -> RequestHead:
    """Work out all that the router needs of a request's head, whichever lane parsed it."""
    target, model = meant(target)
    path = requests.path_of(target)
    kind = next((value for name, value in headers if name == b"content-type"), b"")
    boundary = boundary_of(kind)
    well_addressed = is_of_models(target) and ".." not in unquote(path).split("/")
    credentials = [header for header in headers if header[0] in _CREDENTIALS]
    passed = hops.hops_of(headers)
    return RequestHead(
        target,
        path,
        headers,
        keep_alive,
        usable_id(headers),
        _passed_on(headers, _WRITTEN_TO_ENGINES),
        header_lines(credentials),
        well_addressed,
        (b"x-router-explain", b"1") in headers,
        path in TRANSLATABLE,
        path in OLLAMA_STREAMS,
        path == COUNT,
        bool(boundary) or path in TRANSLATABLE or path in PARTIAL or passed != b"",
        well_addressed and not model and not boundary,
        model,
        boundary,
        kind if boundary else JSON,
        passed,
    )


def usable_id(headers: Headers) -> str:
    """Give the client's own id for a request, if it can stand in a header and a log; else nothing."""
    for name, value in headers:
        if name == b"x-request-id" and 0 < len(value) <= _MAX_REQUEST_ID and value.isascii():
            theirs = value.decode("ascii")
            if theirs.isprintable():
                return theirs
    return ""


def retry_after(headers: Headers) -> float:
    """Give the seconds that an answer's Retry-After asks for; 0: none."""
    said = next((value for name, value in headers if name == b"retry-after"), b"")
    return float(said) if said.isdigit() and len(said) < 7 else 0.0


def is_uuid(text: str) -> bool:
    """Whether this is a UUID in a form that strict engines accept."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def for_engines(headers: Headers) -> Headers:
    """Give those of a client's headers that any backend may be told."""
    return _kept(headers, _WRITTEN_TO_ENGINES)


def _passed_on(headers: Headers, dropped: frozenset[bytes]) -> bytes:
    """Serialise the headers that go on."""
    return header_lines(_kept(headers, dropped))


def _kept(headers: Headers, dropped: frozenset[bytes]) -> Headers:
    """Give the headers that go on: not `dropped`, nor those of one connection, nor those for one server."""
    kept = end_to_end(headers, dropped)
    return tuple([h for h in kept if not h[0].startswith(_FOR_ONE_SERVER) and not is_forwarded(h[0])])
