"""How an engine looks at a request's body before it is sent: the top level alone, each value as it stood.

A null at the top level means what leaving the field out means; some engines know the latter only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

import msgspec

from launchers.errors import UnfitRequestError

Fields = dict[str, msgspec.Raw]

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
NULL, TRUE, NO_TEXT = msgspec.Raw(b"null"), msgspec.Raw(b"true"), msgspec.Raw(b'""')
"""Values as they stand in a body. Only a Raw equals a Raw."""

Text = Annotated[str, msgspec.Meta(min_length=1)]
Positive = Annotated[int, msgspec.Meta(ge=1)]


APIS = frozenset({
    CHAT, COMPLETIONS, EMBEDDINGS, "/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/v1/rerank",
    "/v1/score", "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/audio/speech", "/v1/images/generations",
})  # fmt: skip
"""What some engine serves. Of a 404 for one of these, some clients say that there is no such model."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a field may be, and the words for it, which follow the field's name in a sentence."""

    kind: Any
    words: str
    required: bool = False

    def holds(self, value: msgspec.Raw) -> bool:
        """Whether a value is of that kind. Not strict: "20" passes for 20, as it does in most engines."""
        try:
            msgspec.json.decode(value, type=self.kind, strict=False)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        return True


NUMBER, WHOLE = Rule(float, "must be a number"), Rule(int, "must be a whole number")
SWITCH, OBJECT = Rule(bool, "must be true or false"), Rule(dict[str, object], "must be an object")
TYPES: Mapping[str, Rule] = MappingProxyType({
    **dict.fromkeys(("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty"), NUMBER),
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "n", "seed", "top_k"), WHOLE),
    **dict.fromkeys(("stream", "parallel_tool_calls"), SWITCH),
    "stream_options": OBJECT,
    "logit_bias": Rule(dict[str, float], "must be an object of numbers"),
})  # fmt: skip
"""What every engine asks of the fields of a chat or a completion; some tell it in many words, or in none."""

_decode = msgspec.json.Decoder(Fields).decode
_encode = msgspec.json.Encoder().encode


def fields(body: bytes) -> tuple[Fields, bool]:
    """Read a body's top level without its nulls, and whether there were any.

    Raises UnfitRequestError for what is no JSON object.
    """
    try:
        found = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnfitRequestError(f"The request's body is not valid JSON: {error}.") from error
    nulls = [name for name, value in found.items() if value == NULL]
    for name in nulls:
        del found[name]
    return found, bool(nulls)


def check_path(path: str, apis: frozenset[str], engine: str) -> None:
    """Raise UnfitRequestError for an API that others have, and this engine has not."""
    if path in APIS - apis:
        raise UnfitRequestError(f"This model runs on {engine}, which has no {path}; it has {', '.join(sorted(apis))}.")


def check(found: Fields, rules: Mapping[str, Rule]) -> None:
    """Raise UnfitRequestError for the first field that breaks its rule."""
    for name, rule in rules.items():
        value = found.get(name)
        if value is None:
            if rule.required:
                raise UnfitRequestError(f"The request has no {name}; {name} {rule.words}.", name)
        elif not rule.holds(value):
            raise UnfitRequestError(f"{name} {rule.words}.", name)


def written(found: Fields) -> bytes:
    """The body again."""
    return _encode(found)


def raw(value: object) -> msgspec.Raw:
    """A value as it stands in a body."""
    return msgspec.Raw(_encode(value))


def value(found: msgspec.Raw) -> Any:  # noqa: ANN401 -- it is what a client wrote
    """What stands in a field that `check` has passed."""
    return msgspec.json.decode(found)


def whole(found: msgspec.Raw) -> int:
    """The whole number in a field that `check` has passed as one, perhaps written as a text."""
    number: int = msgspec.json.decode(found, type=int, strict=False)
    return number
