"""Writes a request of an API that not every backend speaks: as it came, or translated, as its backend has to have it.

the backend lacks the API        → translated (`router.translate`), both ways
its answers there lack fields    → as it came; its answer is completed
it isn't known                   → as it came; if there is no such path, the same attempt is made translated
it has answered there before     → as it came
"""

import time
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import structlog

from router.core.apis import COUNT, MESSAGES, OLLAMA_STREAMS, RESPONSES
from router.core.form import names_as_json, renamed
from router.core.omissions import NONE, Omission, refused, without
from router.core.reshape import ALIKE, Reshape, limited, reshaped
from router.proxy.interpreter import Interpreter, Rewrite, Trial, head_of
from router.proxy.writing import fitted, message, put
from router.translate import ESTIMATES, MENDERS, OWN_FIELDS, SHORTENED, SPEECHES, tidied
from router.translate.reading import check_text
from router.translate.speech import JSON, AnswerTranslator, Context, ErrorTranslator, Translation

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.catalog import Backend, Route, Way
    from router.proxy.attempt import Attempt
    from router.proxy.heads import ResponseHead
    from router.proxy.plane import Plane
    from router.proxy.pool import Pool
    from router.proxy.requests import Request

_log = structlog.get_logger("router")

_REWORDED = frozenset({MESSAGES, COUNT})
"""Paths on which some engines that speak the API have errors of another form."""

_LIMITS = {MESSAGES: "max_tokens", RESPONSES: "max_output_tokens"}
"""The one name that an API has for the most tokens of an answer."""

_MOST_CUTS = 5
"""How often an attempt is made again for a shorter text."""

_MOST_REWRITES = 16
"""How often it is made again in all."""

_ESTIMATED = b"x-router-estimate: 1\r\n"


def tidy(request: "Request", body: bytes, route: "Route") -> bytes:
    """Take out of a body what differs each time and says nothing, so that prefix caches work."""
    return body if route.keep_billing_line else tidied(request.head.path, body)


def estimated(attempt: "Attempt", request: "Request", body: bytes) -> bool:
    """Answer with an estimate what the backend has no way to count; tell whether that was so."""
    path, apis = request.head.path, attempt.backend.apis
    if path != COUNT or path not in apis.lacks or apis.counter:
        return False
    _estimate(attempt, body)
    return True


def _estimate(attempt: "Attempt", body: bytes) -> None:
    told = ESTIMATES[COUNT](body)
    attempt.on_head(head_of(200, JSON, lines=_ESTIMATED), len(told))
    attempt.on_body(told)
    attempt.on_end()


class Told(NamedTuple):
    """A whole answer of the router's own."""

    head: "ResponseHead"
    body: bytes


def unloading(request: "Request", body: bytes, way: "Way", plane: "Plane") -> Told | None:
    """Unload what a request without a prompt wants unloaded, and give the answer; None: it is no such request.

    No engine is asked anything: one that isn't loaded would be loaded for it, and others can't unload. Raises
    BadRequestError.
    """
    stay = request.stay
    if stay is None or stay.seconds != 0 or request.head.path not in OLLAMA_STREAMS or not way.tiers:
        return None
    translation = _translation(request, body, plane)
    if translation.path:
        return None
    if plane.loading is not None:
        # A route is what its first model is.
        plane.loading.dismiss([each.backend for each in way.tiers[0]])
    return Told(head_of(200, translation.answer.content_type), translation.body)


class Sender:
    """What asks for a request to be written, and can have the same attempt made again: all attempts of an exchange."""

    # A base class, not a Protocol: compiled, its methods are called natively.

    def again(self, attempt: "Attempt", pool: "Pool", body: bytes | None = None) -> None:
        """Make the same attempt again: its backend has to have the request translated, or with another body."""
        raise NotImplementedError

    def waited(self, now: float) -> float:
        """Tell for how many seconds the request has waited before it is sent."""
        raise NotImplementedError


def spoken(
    attempt: "Attempt",
    sender: Sender,
    request: "Request",
    body: bytes,
    route: "Route",
    pool: "Pool",
    plane: "Plane",
) -> bytes:
    """Write a request for this attempt's backend, and have its answer translated if it must be.

    Raises RouterError if its engine can't be sent it.
    """
    path, apis = request.head.path, attempt.backend.apis
    attempt.between = None
    if path in apis.lacks:
        return _translated(attempt, sender, request, body, route, pool, plane)
    fit = fitted(request, body, attempt.candidate, _for_native(route.reshape, path))
    answer: AnswerTranslator | None = ErrorTranslator(path) if path in _REWORDED else None
    mends = path in apis.mends
    if mends:
        answer = MENDERS[path](fit, _context(request, plane))
        if answer is None:
            # The engine has the API, but not this part of it.
            return _translated(attempt, sender, request, body, route, pool, plane)
    if answer is not None or path not in apis.speaks:
        attempt.between = _trial(attempt, sender, path, pool, plane, answer, mends=mends)
    return put(request, fit, attempt.backend, pool)


def _judge(backend: "Backend", request: "Request") -> "Callable[[bytes], None]":
    """Give what raises RouterError for a form whose engine has no such API, or may not get one of its fields."""

    def judge(form: bytes) -> None:
        if backend.put_right is not None:
            fields = names_as_json(form, request.head.boundary) if backend.apis.guarded else b"{}"
            backend.put_right(request.head.path, fields)

    return judge


def written_form(attempt: "Attempt", request: "Request", body: bytes, pool: "Pool") -> bytes:
    """Write a request whose body is a form; a route's rules are for JSON.

    Raises RouterError if its engine has no such API, or may not get one of the fields.
    """
    backend = attempt.backend
    judge = _judge(backend, request)
    judge(body)
    if request.texts is not None:
        request.texts.judge = judge
    if attempt.candidate.model != request.model:
        body = renamed(body, request.head.boundary, attempt.candidate.model)
    credentials = pool.credentials or request.credentials
    return message(request, backend, request.head.target, credentials, body, pool)


def _trial(
    attempt: "Attempt",
    sender: Sender,
    path: str,
    pool: "Pool",
    plane: "Plane",
    answer: AnswerTranslator | None,
    *,
    mends: bool,
) -> Trial:
    def learn(*, speaks: bool) -> None:
        if not (speaks and path in attempt.backend.apis.speaks):
            plane.ledger.learn_api(attempt.backend, path, speaks=speaks)

    return Trial(attempt, learn, lambda: sender.again(attempt, pool), plane.loop.time, answer, mends=mends)


def _translated(
    attempt: "Attempt",
    sender: Sender,
    request: "Request",
    body: bytes,
    route: "Route",
    pool: "Pool",
    plane: "Plane",
) -> bytes:
    backend, model, rules, path = attempt.backend, attempt.candidate.model, route.reshape, request.head.path
    asked = body
    # Rules for fields that only the client's API has; those for a chat's come once there is one.
    before, after = (None, None) if rules is None else _parted(rules, path)
    body = reshaped(body, before, model)
    translation = _translation(request, body, plane, sender)
    body, target = translation.body, backend.apis.counter if path == COUNT else translation.path
    if after is not None:
        body = reshaped(body, after, model)
    body = limited(body)
    if backend.put_right is not None:
        body = backend.put_right(target, body)
    omitted = plane.directory.omissions.of(attempt.candidate, plane.loop.time())
    if omitted:
        body = without(body, omitted)
    # A counter can't count images; then there is an estimate.
    instead = (lambda: _estimate(attempt, asked)) if path == COUNT else None
    rewrite = _rewriter(attempt, sender, path, asked, body, pool, plane)
    attempt.between = Interpreter(attempt, translation.answer, plane.loop.time, instead, target=target, rewrite=rewrite)
    credentials = pool.credentials or _as_bearer(request)
    return message(request, backend, target.encode("ascii"), credentials, body, pool)


def _rewriter(
    attempt: "Attempt", sender: Sender, path: str, asked: bytes, sent: bytes, pool: "Pool", plane: "Plane"
) -> Rewrite | None:
    """Give what has an attempt made again with another body, where its error shows how to write it; None: nothing.

    `asked` is the client's body, `sent` the one that the backend got. What is known of an engine includes its fields.
    """
    learns = attempt.backend.apis.opaque
    if not learns and path not in SHORTENED:
        return None

    def rewrite(status: int, said: bytes, *, whole: bool) -> bool:
        if len(attempt.rewrites) >= _MOST_REWRITES:
            return False
        shorter: bytes | None = None
        found = _found_refused(attempt, path, status, said, sent, plane) if learns else NONE
        if not found:
            if path in SHORTENED and len(attempt.rewrites) < _MOST_CUTS:
                shorter = SHORTENED[path](asked, said)
            if shorter is None:
                return False
        attempt.rewrites = (*attempt.rewrites, found)
        if whole:
            attempt.let_go()
        else:
            attempt.end()
        sender.again(attempt, pool, shorter)
        return True

    return rewrite


def _found_refused(
    attempt: "Attempt", path: str, status: int, said: bytes, sent: bytes, plane: "Plane"
) -> frozenset[Omission]:
    """Give the fields that a server has refused and a request can do without, and note them."""
    found = refused(status, said, sent, NONE.union(*attempt.rewrites), is_openais=path == RESPONSES)
    if found:
        plane.directory.omissions.learn(attempt.candidate, found, plane.loop.time())
        fields = ", ".join(sorted({each.field for each in found}))
        _log.info(
            "a server refused fields, and gets requests without them", backend=attempt.backend.name, fields=fields
        )
    return found


@lru_cache(maxsize=64)
def _parted(rules: Reshape, path: str) -> tuple[Reshape, Reshape]:
    """Part a route's rules: for fields that only clients' APIs have, and for those of chats."""
    names = frozenset({*OWN_FIELDS, *ALIKE}) if path == MESSAGES else OWN_FIELDS
    return rules.only(names, inside=True), rules.only(names, inside=False)


@lru_cache(maxsize=64)
def _for_native(rules: Reshape | None, path: str) -> Reshape | None:
    """Give a route's rules for bodies of an API that the backend speaks itself."""
    limit = _LIMITS.get(path)
    return rules if rules is None or limit is None else rules.with_limit(limit)


def _translation(request: "Request", body: bytes, plane: "Plane", sender: Sender | None = None) -> Translation:
    check_text(body)
    return SPEECHES[request.head.path](body, _context(request, plane, sender))


def _context(request: "Request", plane: "Plane", sender: Sender | None = None) -> Context:
    path, now = request.head.path, plane.loop.time()
    waited = 0.0 if sender is None else sender.waited(now)
    return Context(request.id, request.model, path, time.time(), now, request.stream, waited)


def _as_bearer(request: "Request") -> bytes:
    """Write the client's key as OpenAI's API has it."""
    lines = request.credentials
    if b"authorization:" in lines or b"x-api-key:" not in lines:
        return lines
    return lines.replace(b"x-api-key: ", b"authorization: Bearer ")
