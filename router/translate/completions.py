"""What is read of an engine's answer in the API of chat completions. Engines send null for what they don't have.

No file that mypyc compiles may define a class as these: msgspec reads the types of the fields, and mypyc leaves none.
"""

import re

import msgspec

from router.core.errors import BadGatewayError
from router.core.peek import SURROGATES


class Details(msgspec.Struct):
    """Parts of the usage."""

    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class ToldUsage(msgspec.Struct):
    """The usage, in tokens."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None


class Timings(msgspec.Struct):
    """llama.cpp's own figures."""

    prompt_ms: float | None = None
    predicted_ms: float | None = None


class Function(msgspec.Struct):
    """The function of a call, or a piece of it."""

    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()


class ToldCall(msgspec.Struct):
    """A call, or a piece of it."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Part(msgspec.Struct):
    """A part of a content; some engines write a text in parts."""

    text: str | None = None


class Message(msgspec.Struct):
    """A message, or a piece of it."""

    content: str | list[Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToldCall] | None = None


class Choice(msgspec.Struct):
    """One of the answers."""

    index: int | None = None
    delta: Message | None = None
    message: Message | None = None
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: msgspec.Raw = msgspec.Raw()
    logprobs: msgspec.Raw = msgspec.Raw()


class Answer(msgspec.Struct):
    """An answer, or an event of its stream."""

    choices: list[Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    timings: Timings | None = None
    error: msgspec.Raw = msgspec.Raw()


_read = msgspec.json.Decoder(Answer).decode
_read_usage = msgspec.json.Decoder(ToldUsage).decode
_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def _whole(found: re.Match[bytes]) -> bytes:
    """Put U+FFFD in the place of half a pair: engines cut texts between the two."""
    return found[0] if found[1] is None else b"\\ufffd"


_read_text = msgspec.json.Decoder(str).decode
NULL = (msgspec.Raw(), msgspec.Raw(b"null"))
"""No value, and null; only a Raw equals a Raw."""


def read_answer(said: bytes) -> Answer:
    """Read an answer in one piece, or an event. Raises BadGatewayError."""
    try:
        return _read(said)
    except _BROKEN as error:
        mended = SURROGATES.sub(_whole, said)
        if mended != said:
            return read_answer(mended)
        raise BadGatewayError(f"The engine's answer is not as chat completions should be: {error}.") from error


def is_error(said: bytes) -> bool:
    """Tell whether an event of a stream is an error."""
    if b'"error"' not in said:
        return False
    try:
        return read_answer(said).error not in NULL
    except BadGatewayError:
        return False


def text_of(message: Message) -> str:
    """Give the text of a message, or what it says instead of an answer."""
    content = message.content
    if isinstance(content, list):
        return "".join([part.text or "" for part in content])
    return content or message.refusal or ""


def read_usage(said: msgspec.Raw) -> ToldUsage | None:
    """Read the counts of tokens; no answer is given up for one that is none."""
    try:
        return None if said in NULL else _read_usage(said)
    except _BROKEN:
        return None


def first_choice(answer: Answer) -> Choice | None:
    """Give the first choice; other APIs have one only."""
    for choice in answer.choices or ():
        if not choice.index:
            return choice
    return None


def arguments_of(given: msgspec.Raw) -> str:
    """Read the arguments of a call: a text with JSON, or, from some engines, the JSON itself."""
    if given in NULL:
        return ""
    text = bytes(given)
    if text[:1] != b'"':
        return text.decode("utf-8", "replace")
    try:
        return _read_text(given)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadGatewayError(f"The arguments of a call are no text: {error}.") from error
