"""What a translation is: a request as the engine is sent it, and what turns the engine's answer into the client's.

Each API has a function that makes one (`router.translate.SPEECHES`). Nothing here reads a clock or makes up a random
name: `Context` brings both.
"""

from typing import Final, NamedTuple

from router.core import errors
from router.core.errors import RouterError

EVENT_STREAM = b"text/event-stream; charset=utf-8"
NDJSON = b"application/x-ndjson"
JSON = b"application/json"

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"


class Context(NamedTuple):
    """What a translation must know beside the request's body.

    `id` is the request's, from which other ids are made. `model` is the name that the client asked for. `unix` is the
    time at which the request is sent on, as a Unix time in seconds, and `now` is the same moment on the loop's clock.
    `path` is the client's, by which errors have their form. `streams`: it asked for a stream. `waited` are the seconds
    that it waited before, for room or until its model was loaded.
    """

    id: str
    model: str
    path: str
    unix: float
    now: float
    streams: bool = False
    waited: float = 0.0

    @property
    def token(self) -> str:
        """Letters and digits that are this request's alone, for ids in its answer."""
        return "".join(letter for letter in self.id if letter.isalnum() and letter.isascii())[-32:] or "0"


class AnswerTranslator:
    """Turns one answer of the engine into the client's.

    An answer comes as a stream of events (`feed` until the end, then `ended`), in one piece (`whole`), or as an error
    (`error`). `content_type` is that of a good answer. `done`: the client has got the end of its message. Times `now`
    are in seconds of the loop's clock.

    All methods raise BadGatewayError for an answer that isn't of the API that the engine should speak. `whole` raises
    EngineError for an error that came with the status 200.
    """

    # A base class, not a Protocol: compiled, its methods are called natively.

    done = False

    @property
    def content_type(self) -> bytes:
        """The content type of a good answer."""
        return JSON

    def feed(self, data: bytes, now: float) -> bytes:
        """Take the next bytes of a stream, cut anywhere; give the client's."""
        raise NotImplementedError

    def ended(self, now: float) -> bytes:
        """Take the end of the stream; give what the client's still lacks. If `done` is False then, it broke off."""
        raise NotImplementedError

    def fail(self, error: RouterError, now: float) -> bytes:  # noqa: ARG002 -- others need both
        """End the client's stream with an error; give nothing if that has no form of its own."""
        return b""

    def whole(self, body: bytes, now: float) -> bytes:
        """Translate an answer in one piece: into one piece, or into a stream if the client asked for that."""
        raise NotImplementedError

    def error(self, status: int, body: bytes) -> bytes:
        """Translate an error's body."""
        raise NotImplementedError


class Translation:
    """A request as the engine is sent it: `path` and `body`; and `answer`, for what comes back."""

    def __init__(self, path: str, body: bytes, answer: AnswerTranslator) -> None:
        self.path: Final = path
        self.body: Final = body
        self.answer: Final = answer


class ErrorTranslator(AnswerTranslator):
    """Puts errors into the form of a path's API, where an engine that speaks it has errors of another form."""

    def __init__(self, path: str) -> None:
        self._path = path

    def error(self, status: int, body: bytes) -> bytes:
        """Translate an error's body."""
        return errors.reworded(status, body, self._path)
