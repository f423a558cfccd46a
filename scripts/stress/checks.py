"""Checks whether a server of OpenAI's API does what it should.

A check asks, and gives a sentence of what it saw. BrokenError says what it saw instead; SkippedError says why the check
doesn't apply to this server. Checks of the router's own promises are skipped where no `x-router-backend` comes.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec

from scripts.instruments.answers import BACKEND, TimedAnswer
from scripts.instruments.client import ClientPool, LoadTarget
from scripts.stress import units
from scripts.stress.load import Asking
from scripts.stress.results import Check

_NOBODY = "no-such-model"
_PATIENCE = 2.0
"""Seconds in which a refusal must come."""

_HUGE = 10**12
"""Bytes of a body that every server refuses."""

_LEAST_REST = 0.05
"""Seconds below which nobody can tell whether an engine went on with the rest of an answer."""

_LONG, _TRIES = 1500, 3
"""Tokens of an answer that is left early, and how often that is tried, since a busy machine may be slow once."""


class BrokenError(Exception):
    """The server does not do as it should."""


class SkippedError(Exception):
    """The check doesn't apply to this server."""


class CheckClient:
    """A client that asks a target, one request after another."""

    def __init__(self, target: LoadTarget, asking: Asking) -> None:
        self.target = target
        self.model = asking.model
        self._timeout = asking.timeout
        self._pool = ClientPool(target)

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        auth: bool = True,
        leave_after: int = 0,
        timeout: float | None = None,  # noqa: ASYNC109  (it is told of)
    ) -> TimedAnswer:
        """Send a request, and give its answer, with its body. Raises BrokenError where none comes."""
        answer = TimedAnswer(time.perf_counter(), leave_after, keep=True)
        request = self.target.request(method, path, body, headers, auth=auth)
        await self._pool.ask(request, answer, timeout or self._timeout)
        if not answer.status:
            raise BrokenError(f"{answer.failure}: {answer.detail}")
        return answer

    async def post(self, path: str, fields: Mapping[str, object]) -> TimedAnswer:
        """Post JSON."""
        return await self.ask("POST", path, msgspec.json.encode(fields))

    async def chat(
        self, tokens: int, *, stream: bool = False, headers: Mapping[str, str] | None = None, leave_after: int = 0
    ) -> TimedAnswer:
        """Ask for an answer of so many tokens; raises BrokenError where it fails."""
        fields: dict[str, object] = {"model": self.model, "max_tokens": tokens, "messages": [_HELLO], "stream": stream}
        if stream:
            fields["stream_options"] = {"include_usage": True}
        body = msgspec.json.encode(fields)
        return _well(await self.ask("POST", "/v1/chat/completions", body, headers=headers, leave_after=leave_after))

    def close(self) -> None:
        """Close its connections."""
        self._pool.close()


_HELLO = {"role": "user", "content": "Hello"}


async def behaviour(target: LoadTarget, asking: Asking) -> AsyncIterator[Check]:
    """Make all checks."""
    for name in CHECKS:
        yield await look(target, asking, name)


async def look(target: LoadTarget, asking: Asking, name: str) -> Check:
    """Make one check."""
    return await _seen(name, target, asking, CHECKS[name])


async def reload(target: LoadTarget) -> Check:
    """Have the router read its configuration again."""
    return await _seen("a reload under load", target, Asking(""), _reload)


async def _seen(name: str, target: LoadTarget, asking: Asking, check: Callable[[CheckClient], Awaitable[str]]) -> Check:
    client = CheckClient(target, asking)
    try:
        return Check(name, target.name, "passed", await check(client))
    except SkippedError as why:
        return Check(name, target.name, "skipped", str(why))
    except BrokenError as seen:
        return Check(name, target.name, "failed", str(seen))
    except (LookupError, TypeError, AttributeError) as error:  # of JSON that isn't built as it is read here
        return Check(name, target.name, "failed", f"an answer of another form: {error!r}")
    finally:
        client.close()


# --------------------------------------------------------------------------- what was answered


def _expect(condition: object, seen: str) -> None:
    if not condition:
        raise BrokenError(seen)


def _well(answer: TimedAnswer) -> TimedAnswer:
    _expect(not answer.failure, f"{answer.failure}: {answer.detail}")
    return answer


def _json(text: bytes) -> Any:  # noqa: ANN401  (JSON may be anything)
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise BrokenError(f"no JSON: {text[:100]!r}") from None


def _refusal(answer: TimedAnswer, *statuses: int) -> str:
    """Read an error in OpenAI's form, of one of these statuses."""
    wanted = " or ".join(map(str, statuses))
    _expect(answer.status in statuses, f"{answer.status} instead of {wanted}: {answer.body[:100]!r}")
    error = _json(answer.body).get("error")
    _expect(isinstance(error, dict), f"{answer.status}, but no error in it: {answer.body[:100]!r}")
    missing = {"message", "type", "param", "code"} - set(error)
    _expect(not missing, f"the error has no {', '.join(sorted(missing))}")
    return f"{answer.status}, {error['code']}: {error['message']}"


def _here(answer: TimedAnswer, what: str) -> TimedAnswer:
    """Give the answer; raise SkippedError for a path that this server lacks, or doesn't open to all."""
    if answer.status in (401, 403, 404, 405, 501):
        raise SkippedError(f"no {what} here ({answer.status})")
    return answer


# --------------------------------------------------------------------------- the checks


async def _models(client: CheckClient) -> str:
    listed = _json(_well(await client.ask("GET", "/v1/models")).body)
    names = [each["id"] for each in listed["data"]]
    _expect(listed.get("object") == "list", "it isn't called a list")
    return f"{len(names)}: {', '.join(names[:5])}"


async def _one_model(client: CheckClient) -> str:
    shown = _json(_here(await client.ask("GET", f"/v1/models/{client.model}"), "page for one model").body)
    _expect(shown.get("id") == client.model, f"it is called {shown.get('id')!r}")
    return f"{shown['id']}, {shown.get('state', shown.get('owned_by', ''))}"


async def _whole(client: CheckClient) -> str:
    said = _json((await client.chat(8)).body)
    choice, usage = said["choices"][0], said.get("usage") or {}
    _expect(isinstance(choice["message"].get("content"), str), "the message has no content")
    _expect(choice.get("finish_reason") in ("stop", "length"), f"finish_reason is {choice.get('finish_reason')!r}")
    _expect(usage.get("completion_tokens", 0) <= 8, f"{usage.get('completion_tokens')} tokens, 8 were asked for")
    return f"{usage.get('completion_tokens', '?')} tokens, finish_reason {choice['finish_reason']}"


async def _stream(client: CheckClient) -> str:
    answer = await client.chat(16, stream=True)
    _expect(answer.streamed, f"its type is {answer.headers.get('content-type')!r}")
    lines = [line[5:].strip() for line in answer.body.splitlines() if line.startswith(b"data:")]
    _expect(lines[-1:] == [b"[DONE]"], f"it ends with {lines[-1:]!r}")
    events = [_json(line) for line in lines[:-1]]
    _expect(len({event["id"] for event in events}) == 1, "its events have different ids")
    _expect({event["object"] for event in events} == {"chat.completion.chunk"}, "its events aren't called chunks")
    ends = [choice["finish_reason"] for event in events for choice in event["choices"] if choice.get("finish_reason")]
    _expect(len(ends) == 1, f"finish_reason came {len(ends)} times")
    return f"{len(events)} events, finish_reason {ends[0]}, {'with' if answer.usage else 'without'} usage"


async def _at_once(client: CheckClient) -> str:
    # On a busy machine a short one may arrive whole before it is read; a long one is still being written then.
    for most in (64, 256, 1024, 4096):
        answer = await client.chat(most, stream=True)
        if answer.tokens < 8:
            raise SkippedError(f"too short an answer to tell: {answer.tokens} tokens")
        if answer.last > answer.first:
            break
    _expect(answer.last > answer.first, f"all {answer.tokens} tokens came at the same moment")
    return f"{answer.tokens} tokens in {units.time(answer.last - answer.first)}"


async def _completions(client: CheckClient) -> str:
    answer = await client.post("/v1/completions", {"model": client.model, "prompt": "Hello", "max_tokens": 4})
    said = _json(_well(_here(answer, "completions")).body)
    _expect(isinstance(said["choices"][0].get("text"), str), "there is no text")
    return f"{answer.usage} tokens"


async def _embeddings(client: CheckClient) -> str:
    answer = await client.post("/v1/embeddings", {"model": client.model, "input": "Hello"})
    if answer.status != 200:
        raise SkippedError(f"not of this model: {_refusal(answer, 400, 404, 405, 422, 500, 501)}")
    return f"of {len(_json(answer.body)['data'][0]['embedding'])} numbers"


async def _unknown_model(client: CheckClient) -> str:
    return _refusal(await client.post("/v1/chat/completions", {"model": _NOBODY, "messages": [_HELLO]}), 404)


async def _broken_json(client: CheckClient) -> str:
    return _refusal(await client.ask("POST", "/v1/chat/completions", b'{"model": '), 400, 422)


async def _no_messages(client: CheckClient) -> str:
    return _refusal(await client.post("/v1/chat/completions", {"model": client.model}), 400, 422)


async def _no_path(client: CheckClient) -> str:
    return _refusal(await client.ask("GET", "/nowhere"), 404)


async def _wrong_method(client: CheckClient) -> str:
    return _refusal(await client.ask("GET", "/v1/chat/completions"), 405)


async def _huge_body(client: CheckClient) -> str:
    try:
        answer = await client.ask(
            "POST", "/v1/chat/completions", headers={"content-length": str(_HUGE)}, timeout=_PATIENCE
        )
    except BrokenError:
        raise SkippedError(f"nothing was said of {_HUGE:,} bytes in {units.time(_PATIENCE)}") from None
    return _refusal(answer, 413)


async def _huge_head(client: CheckClient) -> str:
    answer = await client.ask("GET", "/v1/models", headers={"x-filling": "x" * 200_000})
    _expect(answer.status in (400, 413, 431), f"{answer.status} instead of 431")
    return str(answer.status)


async def _no_key(client: CheckClient) -> str:
    if not client.target.api_key:
        raise SkippedError("no --api-key was given")
    return _refusal(await client.ask("GET", "/v1/models", auth=False), 401)


async def _leaving(client: CheckClient) -> str:
    """An engine that is told stops its work, so the next answer doesn't wait for the rest of the first."""
    for _ in range(_TRIES):
        left = await client.chat(_LONG, stream=True, leave_after=8)
        if not left.left:
            raise SkippedError(f"too short an answer to leave: {left.tokens} tokens")
        rest = (_LONG - left.tokens) * (left.last - left.first) / (left.tokens - 1)
        begin = time.perf_counter()
        await client.chat(1)
        took = time.perf_counter() - begin
        if took < rest / 2:
            return f"the next answer came after {units.time(took)}; the rest would have taken {units.time(rest)}"
    if max(rest, took) < _LEAST_REST:
        raise SkippedError(f"the engine is too quick: the next answer came after {units.time(took)}")
    raise BrokenError(f"the next answer came after {units.time(took)}; the rest took {units.time(rest)} at most")


async def _of_router(client: CheckClient) -> str:
    answer = await client.chat(1, headers={"x-request-id": "stress-1"})
    if not answer.backend:
        raise SkippedError(f"no {BACKEND}: this isn't the router")
    id_ = answer.headers.get("x-request-id")
    _expect(id_ == "stress-1", f"x-request-id is {id_!r}, not the client's")
    return f"by {answer.backend}"


async def _anthropic(client: CheckClient) -> str:
    await _of_router(client)
    answer = await client.post("/v1/messages", {"model": _NOBODY, "max_tokens": 1, "messages": [_HELLO]})
    said = _json(answer.body)
    _expect(answer.status == 404, f"{answer.status} instead of 404")
    _expect(said.get("type") == "error" and set(said["error"]) >= {"type", "message"}, f"{answer.body[:100]!r}")
    return f"404, {said['error']['type']}: {said['error']['message']}"


async def _health(client: CheckClient) -> str:
    seen = [_here(await client.ask("GET", path), path).status for path in ("/health", "/ready")]
    _expect(seen == [200, 200], f"/health says {seen[0]}, /ready {seen[1]}")
    return "200, 200"


async def _metrics(client: CheckClient) -> str:
    answer = _here(await client.ask("GET", "/metrics"), "metrics")
    lines = [line for line in answer.body.splitlines() if line and not line.startswith(b"#")]
    _expect(answer.status == 200 and lines, f"{answer.status}, {len(lines)} values")
    return f"{len(lines)} values"


async def _status(client: CheckClient) -> str:
    answer = _here(await client.ask("GET", "/admin/status"), "admin API")
    _expect(answer.status == 200 and isinstance(_json(answer.body), dict), f"{answer.status}: {answer.body[:100]!r}")
    return "200"


async def _reload(client: CheckClient) -> str:
    begin = time.perf_counter()
    answer = _here(await client.ask("POST", "/admin/reload"), "admin API")
    _expect(answer.status == 200, f"{answer.status}: {answer.body[:200]!r}")
    return f"applied after {units.time(time.perf_counter() - begin)}"


CHECKS: dict[str, Callable[[CheckClient], Awaitable[str]]] = {
    "models are listed": _models,
    "a model has its page": _one_model,
    "a whole answer": _whole,
    "a stream's form": _stream,
    "a stream comes as it is written": _at_once,
    "completions": _completions,
    "embeddings": _embeddings,
    "an unknown model": _unknown_model,
    "a body that is no JSON": _broken_json,
    "a body without messages": _no_messages,
    "an unknown path": _no_path,
    "a wrong method": _wrong_method,
    "a body beyond the limit": _huge_body,
    "a head beyond the limit": _huge_head,
    "a client without a key": _no_key,
    "a client that leaves frees the engine": _leaving,
    "ids and backends": _of_router,
    "errors in Anthropic's form": _anthropic,
    "health and readiness": _health,
    "metrics": _metrics,
    "the admin API's status": _status,
}
"""The checks, by their names in reports."""
