"""All errors that a request can end with: the status, the message, and the form in each API.

An error knows the HTTP status that it maps to, but knows no server. A foreign exception (a socket's, a parser's) is
mapped to one of these where it enters. `body` and `event` give the bytes for the client.

OpenAI's form is `{"error": {message, type, param, code}}`; Anthropic's, on /v1/messages, is
`{"type": "error", "error": {type, message}}`; Ollama's, on /api/…, is `{"error": message}`. They are taken from the
vendors' published API references.
"""

import html
import re
from typing import Any, ClassVar

import msgspec

_encode = msgspec.json.Encoder().encode

BUG = "The request failed because of a bug in the router; its log says more."


class RouterError(Exception):
    """An error that the router, not the engine, answers with.

    `message` is one sentence that says what to do. `param` names the request's field at fault, if one is.
    `retry_after` is in seconds, and becomes the Retry-After header. `type` is OpenAI's term, `anthropic_type`
    Anthropic's.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    anthropic_type: ClassVar[str] = "api_error"
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after


class BadRequestError(RouterError):
    """The request is invalid: no JSON, no model, a field of the wrong type."""

    status = 400
    type = anthropic_type = "invalid_request_error"
    code = "bad_request"


class NoModelError(BadRequestError):
    """The request names no model."""


class ApiMissingError(BadRequestError):
    """The engines of the model lack the API of the request's path.

    It is no 404, for which some clients say that the model doesn't exist.
    """

    code = "api_not_supported"


class UnauthorizedError(RouterError):
    """No key, or one that isn't in `auth.keys`."""

    status = 401
    type = "invalid_request_error"
    anthropic_type = "authentication_error"
    code = "invalid_api_key"


class ForbiddenError(RouterError):
    """The request isn't allowed without a key: see `core.access`."""

    status = 403
    type = "invalid_request_error"
    anthropic_type = "permission_error"
    code = "not_allowed"


class NotFoundError(RouterError):
    """A path that the router doesn't serve."""

    status = 404
    type = "invalid_request_error"
    anthropic_type = "not_found_error"
    code = "not_found"


class ModelNotFoundError(NotFoundError):
    """A name that is neither a model of a backend nor a route."""

    code = "model_not_found"


class MethodNotAllowedError(RouterError):
    """A path that the router serves, with a method that it doesn't."""

    status = 405
    type = anthropic_type = "invalid_request_error"
    code = "method_not_allowed"


class RequestTimeoutError(RouterError):
    """The rest of a request didn't come in time."""

    status = 408
    type = anthropic_type = "invalid_request_error"
    code = "request_timeout"


class ConflictError(RouterError):
    """What is asked for can't be done in the router's present state or configuration."""

    status = 409
    type = anthropic_type = "invalid_request_error"
    code = "conflict"


class BodyTooLargeError(RouterError):
    """A request's body over `limits.max_body`."""

    status = 413
    type = "invalid_request_error"
    anthropic_type = "request_too_large"
    code = "request_too_large"


class UnknownEncodingError(RouterError):
    """A body that is compressed in a way that isn't read here."""

    status = 415
    type = anthropic_type = "invalid_request_error"
    code = "unsupported_encoding"


class UnavailableError(RouterError):
    """No backend can take the request now; one may soon."""

    status = 503
    anthropic_type = "overloaded_error"
    code = "no_backend_available"


class StoppingError(UnavailableError):
    """The router stops; another one may soon be there."""

    code = "router_stopping"


class QueueFullError(RouterError):
    """The model's queue is full, or the requests that wait have too many bytes."""

    status = 429
    type = anthropic_type = "rate_limit_error"
    code = "queue_full"


class QueueTimeoutError(RouterError):
    """No backend had room within `limits.queue_timeout`."""

    status = 503
    anthropic_type = "overloaded_error"
    code = "queue_timeout"


class BadGatewayError(RouterError):
    """The engine broke off, or its answer wasn't HTTP."""

    status = 502
    code = "engine_failed"


class GatewayTimeoutError(RouterError):
    """The engine was silent for too long."""

    status = 504
    anthropic_type = "timeout_error"
    code = "engine_timeout"


class CancelledError(RouterError):
    """Whoever looks after the router has ended the request. It isn't one that clients try again, as they do a 5xx."""

    status = 499
    type = "invalid_request_error"
    anthropic_type = "invalid_request_error"
    code = "cancelled"


class EngineError(RouterError):
    """An error that the engine answered with; the client gets its `status`, and the words of its `kind`."""

    status = BadGatewayError.status
    code = BadGatewayError.code

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
        status: int = 502,
        kind: type[RouterError] = BadGatewayError,
        code: str = "",
    ) -> None:
        super().__init__(message, param=param, retry_after=retry_after)
        # What are constants of the other classes, the engine says here.
        self.status = status  # type: ignore[misc]
        self.type, self.anthropic_type = kind.type, kind.anthropic_type  # type: ignore[misc]
        self.code = code or kind.code  # type: ignore[misc]


_KINDS: dict[int, type[RouterError]] = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    413: BodyTooLargeError,
    429: QueueFullError,
    503: UnavailableError,
    504: GatewayTimeoutError,
    529: UnavailableError,
}


_CODES = {429: "rate_limit_exceeded", 503: "engine_unavailable", 529: "engine_unavailable"}
"""Codes of engines' errors that name none, where the router's own would speak of its queue."""

TOO_LONG = "context_length_exceeded"
"""The code by which clients know that they must shorten the conversation. Anthropic's know it by a sentence."""

_SENTENCE = 2048
"""Characters of an engine's message in which that sentence is looked for."""

_TOO_LONG_TYPES = frozenset({"exceed_context_size_error"})
"""llama_server's word for it."""

_SAYS_TOO_LONG = re.compile(
    # OpenAI's and vllm's, LM Studio's; SGLang's; llama.cpp's; Anthropic's; Gemini's; TGI's.
    r"maximum (?:context|model) length|context length of only|longer than the (?:model's )?context"
    r"|exceeds? (?:the )?(?:available |model's )?context|prompt is too long|input token count .{0,40}exceeds"
    r"|`inputs` tokens \+ `max_new_tokens` must be",
    re.IGNORECASE,
)
"""Sentences by which engines without a code for it say that a prompt is longer than their context."""

_PAGE = re.compile(r"\s*<(?:!doctype|html|\?xml|head|body|h1|title)\b", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*(?:>|\Z)")
_HIDDEN = re.compile(r"<(head|script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.IGNORECASE | re.DOTALL)
"""What isn't shown of a web page."""

_MOST_OF_A_PAGE = 4096
"""Characters of a web page that are read."""


def _is_anthropic(path: str) -> bool:
    return path.startswith("/v1/messages")


def _is_ollama(path: str) -> bool:
    return path.startswith("/api/")


def told(error: RouterError) -> dict[str, Any]:
    """Describe an error as OpenAI's API does."""
    return {"message": error.message, "type": error.type, "param": error.param, "code": error.code}


def _sentence(error: RouterError) -> str:
    """Give the message for an API without codes: that a prompt is too long can only be told in words."""
    if error.code == TOO_LONG and "prompt is too long" not in error.message.lower():
        return f"prompt is too long: {error.message}"
    return error.message


def _anthropic(error: RouterError) -> dict[str, Any]:
    return {"type": "error", "error": {"type": error.anthropic_type, "message": _sentence(error)}}


def of_engine(status: int, said: bytes) -> RouterError:
    """Give an engine's error answer as an error of the same status, with its message."""
    kind = _KINDS.get(status, BadRequestError if 400 <= status < 500 else BadGatewayError)
    fields = _error_fields(said)
    code, param, message = fields.get("code"), fields.get("param"), _words(said)
    of_request = kind is BadRequestError or kind is BodyTooLargeError
    if fields.get("type") in _TOO_LONG_TYPES or (of_request and _SAYS_TOO_LONG.search(message[:_SENTENCE])):
        code = TOO_LONG
    return EngineError(
        message or f"The engine answered {status}, and nothing more.",
        param=param if isinstance(param, str) else None,
        status=status,
        kind=kind,
        code=code if isinstance(code, str) else _CODES.get(status, ""),
    )


def reworded(status: int, said: bytes, path: str) -> bytes:
    """Put an engine's error into the form of this path's API, unless it has it."""
    if _is_anthropic(path) and _is_anthropics(said):
        return said
    return body(of_engine(status, said), path)


def amended(said: bytes, error: RouterError, path: str) -> bytes:
    """Write an engine's refusal of a long prompt with this message, and the code where the path's API has codes.

    Whatever else the engine said stays.
    """
    fields, sentence = _fields(said), error.message if _has_codes(path) else _sentence(error)
    before = fields.get("error")
    if isinstance(before, dict):
        after: object = {**before, "message": sentence} | ({"code": TOO_LONG} if _has_codes(path) else {})
    elif isinstance(before, str):
        after = sentence
    else:
        return body(error, path)
    return said if after == before else _encode({**fields, "error": after})


def _has_codes(path: str) -> bool:
    return not (_is_anthropic(path) or _is_ollama(path))


def refusal(status: int, said: bytes) -> RouterError:
    """Turn an engine's error answer into an error for a stream: with its message, and in its status's class."""
    sentence = f"The engine answered {status}: {_words(said) or 'nothing more'}"
    if status in {429, 503}:
        return UnavailableError(sentence)
    return BadRequestError(sentence) if 400 <= status < 500 else BadGatewayError(sentence)


def _fields(said: bytes) -> dict[str, object]:
    """Read an object; what is none has no fields."""
    try:
        return msgspec.json.decode(said, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


def _error_fields(said: bytes) -> dict[str, object]:
    """Give the fields of an error in OpenAI's form or an older one."""
    fields = _fields(said)
    error = fields.get("error", fields)
    return error if isinstance(error, dict) else {}


def _is_anthropics(said: bytes) -> bool:
    fields = _fields(said)
    return fields.get("type") == "error" and isinstance(fields.get("error"), dict)


def _words(said: bytes) -> str:
    """Give the message of an error in OpenAI's form, Anthropic's, or an older one; else the whole text."""
    fields = _fields(said)
    error = fields.get("error", fields)
    for each in (error.get("message"), error.get("detail")) if isinstance(error, dict) else (error,):
        if isinstance(each, str):
            return each
    text = said.decode("utf-8", "replace")
    return _read_page(text[:_MOST_OF_A_PAGE]) if _PAGE.match(text) else text


def _read_page(page: str) -> str:
    """Give the words of a web page, as proxies and frameworks write their errors; of its title if it has no others."""
    shown = (html.unescape(_TAG.sub(" ", each)) for each in (_HIDDEN.sub(" ", page), page))
    return next(filter(None, (" ".join(each.split()) for each in shown)), "")


def body(error: RouterError, path: str) -> bytes:
    """Give the error as a JSON body in the form of this path's API."""
    if _is_ollama(path):
        return _encode({"error": _sentence(error)})
    return _encode(_anthropic(error) if _is_anthropic(path) else {"error": told(error)})


def event(error: RouterError, path: str, number: int = 0) -> bytes:
    """Give the error as the last event of a stream that has begun, behind `number` others, in the path's API's form.

    It begins with an empty line, because the bytes before may end in the middle of an event. Ollama's streams are lines
    of JSON, and the router itself writes them, each whole.
    """
    if _is_ollama(path):
        return _encode({"error": _sentence(error)}) + b"\n"
    if _is_anthropic(path):
        return b"\n\nevent: error\ndata: " + _encode(_anthropic(error)) + b"\n\n"
    if path.startswith("/v1/responses"):
        said = {
            "type": "error",
            "sequence_number": number,
            "code": error.code,
            "message": error.message,
            "param": error.param,
        }
        return b"\n\nevent: error\ndata: " + _encode(said) + b"\n\n"
    return b"\n\ndata: " + _encode({"error": told(error)}) + b"\n\n"
