"""Writes a client's request for the backend that gets it."""

from typing import TYPE_CHECKING

from router.core.hops import line
from router.core.peek import STAYS
from router.core.reshape import Reshape, reshaped
from router.proxy.heads import is_uuid
from router.proxy.usage import asking

if TYPE_CHECKING:
    from router.core.catalog import Backend, Candidate
    from router.proxy.pool import Pool
    from router.proxy.requests import Request


def written(
    request: "Request",
    body: bytes,
    candidate: "Candidate",
    reshape: Reshape | None,
    pool: "Pool",
    *,
    asks: bool = False,
) -> bytes:
    """Write a request for this backend; `asks`: its stream is to tell its usage.

    Raises RouterError if its engine can't be sent it.
    """
    return put(request, fitted(request, body, candidate, reshape), candidate.backend, pool, asks=asks)


def fitted(request: "Request", body: bytes, candidate: "Candidate", reshape: Reshape | None) -> bytes:
    """Apply a route's rules to a body, and give it the backend's name of the model."""
    # Engines that are launched don't know for how long they run; a server elsewhere may be an Ollama.
    drops = request.stay is not None and candidate.backend.supervised
    if reshape is not None or candidate.model != request.model or drops:
        return reshaped(body, reshape, candidate.model, STAYS if drops else ())
    return body


def put(request: "Request", body: bytes, backend: "Backend", pool: "Pool", *, asks: bool = False) -> bytes:
    """Write a request with a body meant for this backend. Raises RouterError if its engine can't be sent it."""
    head = request.head
    if backend.put_right is not None:
        body = backend.put_right(head.path, body)
    if asks:
        body = asking(body)
    return message(request, backend, head.target, pool.credentials or request.credentials, body, pool)


def message(
    request: "Request", backend: "Backend", target: bytes, credentials: bytes, body: bytes, pool: "Pool"
) -> bytes:
    """Write the head and the body, or the outline of that, of a request that a backend gets at `target`."""
    if not backend.uuid_request_ids or is_uuid(request.id):
        credentials += b"x-request-id: %s\r\n" % request.id.encode("ascii")
    lines = request.head.lines
    if request.trace is not None:
        lines = request.trace.passed_on(lines)
    if b"?" in target and backend.apis.guarded:
        # An engine's APIs have no query; some clients write their key there.
        target = target.partition(b"?")[0]
    if not pool.is_plain:
        target, lines = pool.adapted(target, lines)
        if pool.hop:
            lines += line(request.head.hops, pool.hop)
    length, texts = len(body), request.texts
    if texts is not None:
        length = sum([len(piece) for piece in texts.filled(body)]) + texts.missing
    return b"POST %s%s HTTP/1.1\r\n%s%s%scontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (
        pool.base,
        target,
        pool.host_line,
        lines,
        credentials,
        request.head.kind,
        length,
        body,
    )
