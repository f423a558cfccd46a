"""What a translated answer says, and what writes it in the client's API.

    begin → (thinking | text)* → (call → arguments*)* → (thinking | text)* → end

is the order in which a `Writer` is told of a stream; see `router.translate.chat`. A `Gatherer` writes nothing, and
keeps all of it: a server may stream an answer to who has asked for one piece.
"""

from typing import Final, NamedTuple

import msgspec

from router.core import errors
from router.core.errors import RouterError
from router.translate.speech import EVENT_STREAM, JSON, Context

STOP, LENGTH, CALLS, FILTERED = "stop", "length", "tool_calls", "content_filter"
"""The finish reasons of chat completions; a writer gets one of these."""


class Usage(NamedTuple):
    """Tokens of an answer. `prompt` includes those that were `cached`, `completion` those of `reasoning`.

    `told`: the engine said so; else all are 0. `prompt_seconds` and `completion_seconds` are the times that llama.cpp
    tells, else 0.
    """

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0
    told: bool = False
    prompt_seconds: float = 0.0
    completion_seconds: float = 0.0


class Call(NamedTuple):
    """One call of a tool. `arguments` are JSON as the model wrote it, which may be empty or no JSON."""

    id: str
    name: str
    arguments: str


class WholeAnswer(NamedTuple):
    """An answer in one piece. `finish` is one of `STOP` and the others; `stopped_by` the stop text that ended it."""

    thinking: str
    text: str
    calls: tuple[Call, ...]
    finish: str
    usage: Usage
    stopped_by: str | None = None


class Writer:
    """Writes one answer in a client's API; each method gives the bytes for the client. `context` is its request's."""

    # A base class, not a Protocol: compiled, its methods are called natively.

    def __init__(self, context: Context, *, streams: bool) -> None:
        self.context: Final = context
        self.streams: Final = streams

    @property
    def content_type(self) -> bytes:
        """The content type of a good answer."""
        return EVENT_STREAM if self.streams else JSON

    def comment(self, line: bytes) -> bytes:
        """Pass on a comment of the engine's stream, or leave it out where the client's has none."""
        return line + b"\n\n"

    def begin(self, now: float) -> bytes:
        """Begin a stream."""
        raise NotImplementedError

    def thinking(self, text: str) -> bytes:
        """Write a piece of the reasoning; never empty."""
        raise NotImplementedError

    def text(self, text: str) -> bytes:
        """Write a piece of the answer's text; never empty."""
        raise NotImplementedError

    def probabilities(self, told: msgspec.Raw) -> None:
        """Take the log probabilities of what comes next; most APIs don't tell them."""

    def call(self, id_: str, name: str) -> bytes:
        """Begin a call of a tool."""
        raise NotImplementedError

    def arguments(self, text: str) -> bytes:
        """Write a piece of the arguments of the call that was begun last; never empty."""
        raise NotImplementedError

    def end(self, finish: str, usage: Usage, stopped_by: str | None, now: float) -> bytes:
        """End a stream."""
        raise NotImplementedError

    def fail(self, error: RouterError, now: float) -> bytes:  # noqa: ARG002 -- other writers need the time
        """End a stream with an error; it may not have begun."""
        return errors.event(error, self.context.path)

    def whole(self, answer: WholeAnswer, now: float) -> bytes:
        """Write an answer in one piece."""
        raise NotImplementedError


class Gatherer(Writer):
    """Keeps what a stream says, as an answer in one piece. `failed` is the error that ended it, if one did."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, streams=True)
        self.failed: RouterError | None = None
        self.answer: WholeAnswer | None = None
        self._thinking: list[str] = []
        self._text: list[str] = []
        self._calls: list[tuple[str, str, list[str]]] = []

    def begin(self, now: float) -> bytes:  # noqa: ARG002  (others need the time)
        """Write nothing yet."""
        return b""

    def thinking(self, text: str) -> bytes:
        """Keep a piece of the reasoning."""
        self._thinking.append(text)
        return b""

    def text(self, text: str) -> bytes:
        """Keep a piece of the answer's text."""
        self._text.append(text)
        return b""

    def call(self, id_: str, name: str) -> bytes:
        """Keep a call of a tool."""
        self._calls.append((id_, name, []))
        return b""

    def arguments(self, text: str) -> bytes:
        """Keep a piece of its arguments."""
        self._calls[-1][2].append(text)
        return b""

    def end(self, finish: str, usage: Usage, stopped_by: str | None, now: float) -> bytes:  # noqa: ARG002
        """Make the answer."""
        calls = tuple([Call(id_, name, "".join(pieces)) for id_, name, pieces in self._calls])
        self.answer = WholeAnswer("".join(self._thinking), "".join(self._text), calls, finish, usage, stopped_by)
        return b""

    def fail(self, error: RouterError, now: float) -> bytes:  # noqa: ARG002
        """Keep the error."""
        self.failed = error
        return b""
