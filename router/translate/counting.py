"""Counts of a prompt's tokens: those of an engine's counter, or an estimate for engines that have none."""

from typing import Final

import msgspec

from router.core import errors
from router.core.errors import BadGatewayError
from router.translate.speech import AnswerTranslator, Context

BYTES: Final = 4.0
"""Bytes of text to a token."""

IMAGE: Final = 1500
"""Tokens of an image: what Anthropic's API counts for one of a megapixel, and more than most local models take."""

MESSAGE: Final = 4
"""Tokens of a message, a block or a tool beside its text: its role, its marks, line ends."""

_READ: Final = frozenset({"system", "messages", "tools"})
_UNREAD: Final = frozenset({"cache_control", "signature", "type", "id", "tool_use_id", "role"})


class _Count(msgspec.Struct):
    input_tokens: int


_decode = msgspec.json.Decoder(dict[str, object]).decode
_decode_count = msgspec.json.Decoder(_Count).decode
_encode = msgspec.json.Encoder().encode
_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class CountTranslator(AnswerTranslator):
    """Passes on the count of an engine's counter, which has the form that clients expect."""

    def __init__(self, context: Context) -> None:
        self._context: Final = context
        self.done = False

    def feed(self, data: bytes, now: float) -> bytes:  # noqa: ARG002
        """Counts don't come as streams."""
        raise BadGatewayError("The engine answered a count of tokens with a stream.")

    def ended(self, now: float) -> bytes:  # noqa: ARG002
        """Counts don't come as streams."""
        raise BadGatewayError("The engine answered a count of tokens with a stream.")

    def whole(self, body: bytes, now: float) -> bytes:  # noqa: ARG002 -- other answers need the time
        """Pass on the count."""
        self.done = True
        try:
            count = _decode_count(body).input_tokens
        except _BROKEN as error:
            raise BadGatewayError(f"The engine's count of tokens is none: {error}.") from error
        return b'{"input_tokens":%d}' % count

    def error(self, status: int, body: bytes) -> bytes:
        """Translate an error's body."""
        return errors.body(errors.of_engine(status, body), self._context.path)


def estimate(body: bytes) -> bytes:
    """Estimate the tokens of a request of /v1/messages/count_tokens; give the answer.

    A token is `BYTES` bytes of the texts, in UTF-8, and of the tools' JSON. A body that isn't a request counts as none:
    the engine says what is wrong with it.
    """
    try:
        fields = _decode(body)
    except _BROKEN:
        fields = {}
    count = sum(_weight(fields[name]) for name in _READ if name in fields)
    return b'{"input_tokens":%d}' % max(1, round(count))


def _weight(value: object) -> float:
    """Give the tokens of a part of the request."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace")) / BYTES
    if isinstance(value, list):
        return sum([_weight(each) for each in value])
    if not isinstance(value, dict):
        return 1.0
    if "input_schema" in value:
        return MESSAGE + len(_encode(value)) / BYTES
    if value.get("type") == "image":
        return IMAGE
    return MESSAGE + sum([_weight(each) for name, each in value.items() if name not in _UNREAD])
