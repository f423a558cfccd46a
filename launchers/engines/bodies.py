"""Reads and writes the top level of a request's body before it is sent to an engine; each value stays as raw JSON.

A null at the top level means the same as no field; some engines accept only the latter.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec

from launchers.errors import UnfitRequestError

Fields = dict[str, msgspec.Raw]

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
COUNTER = "/v1/router/count_tokens"
"""The path at which a wrapper of ours counts the tokens of a chat's prompt. It takes the body of a chat."""

NULL, TRUE, ZERO, NO_TEXT = msgspec.Raw(b"null"), msgspec.Raw(b"true"), msgspec.Raw(b"0"), msgspec.Raw(b'""')
NO_LIMIT = msgspec.Raw(b"-1")
"""Values as raw JSON. Only a Raw equals a Raw."""

A_LIST, A_TEXT, AN_OBJECT = b'["{'
"""The first bytes of each kind of JSON value."""

Text = Annotated[str, msgspec.Meta(min_length=1)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
One = Annotated[int, msgspec.Meta(ge=1, le=1)]


APIS = frozenset({
    CHAT, COMPLETIONS, EMBEDDINGS, "/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/v1/rerank",
    "/v1/score", "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/audio/speech", "/v1/images/generations",
    "/v1/images/edits", "/v1/images/variations", "/v1/moderations", "/v1/reranking", "/v1/responses/input_tokens",
    "/apply-template", "/classify", "/completion", "/detokenize", "/embedding", "/infill", "/pooling", "/rerank",
    "/reranking", "/score", "/tokenize", "/v2/embed", "/v2/rerank",
})  # fmt: skip
"""Paths that at least one engine serves. At a 404 for one of these, some clients say that the model doesn't exist."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The type of a field, and the words that follow the field's name in an error."""

    kind: Any
    words: str
    required: bool = False

    def read(self, value: msgspec.Raw) -> msgspec.Raw | None:
        """Give the value if it is of that type. "20" and 20.0 become 20, as engines differ about them."""
        try:
            found = msgspec.json.decode(value, type=self.kind, strict=False)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if isinstance(found, bool):
            return raw(found)
        if isinstance(found, int):  # of any size
            return msgspec.Raw(b"%d" % found)
        return raw(found) if isinstance(found, float) and begins(value) == A_TEXT else value


LIMITS = ("max_tokens", "max_completion_tokens")
NUMBER, WHOLE = Rule(float, "must be a number"), Rule(int, "must be a whole number")
SWITCH, OBJECT = Rule(bool, "must be true or false"), Rule(dict[str, object], "must be an object")
TYPES: Mapping[str, Rule] = MappingProxyType({
    **dict.fromkeys(("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty"), NUMBER),
    **dict.fromkeys((*LIMITS, "n", "seed", "top_k"), WHOLE),
    **dict.fromkeys(("stream", "parallel_tool_calls"), SWITCH),
    "stream_options": OBJECT,
    "logit_bias": Rule(dict[str, float], "must be an object of numbers"),
})  # fmt: skip
"""The rules of every engine for fields of a chat or a completion. Some engines' own errors are long, or missing."""

CHAT_TYPES: Mapping[str, Rule] = MappingProxyType({
    **TYPES,
    "logprobs": SWITCH,
    "top_logprobs": Rule(Annotated[int, msgspec.Meta(ge=0)], "must be a whole number, 0 or more"),
    "modalities": Rule(list[Literal["text"]], 'must be ["text"]: no engine here makes anything else'),
})  # fmt: skip
"""The same for chats alone, and for what no engine can do but all would ignore."""


class AnyForm(msgspec.Struct, tag_field="type", tag="text"):
    """A response format that asks for nothing."""


class AnyJson(msgspec.Struct, tag_field="type", tag="json_object"):
    """A response format of JSON, by a schema or not."""

    schema: dict[str, msgspec.Raw] = {}


class Schema(msgspec.Struct):
    """A schema."""

    schema: dict[str, msgspec.Raw]


_decode = msgspec.json.Decoder(Fields).decode
_encode = msgspec.json.Encoder().encode


def fields(body: bytes) -> tuple[Fields, bool]:
    """Read a body's top level without its nulls; tell whether there were any.

    Raises UnfitRequestError if it is no JSON object.
    """
    check_text(body)
    try:
        found = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnfitRequestError(f"The request's body is not valid JSON: {error}.") from error
    nulls = [name for name, value in found.items() if value == NULL]
    for name in nulls:
        del found[name]
    return found, bool(nulls)


def check_text(body: bytes) -> None:
    """Raise UnfitRequestError if it isn't UTF-8; a decoder doesn't check values that it copies."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise UnfitRequestError(f"The request's body must be UTF-8, which it is not at byte {error.start}.") from error


def check_path(path: str, apis: frozenset[str], engine: str, allow: Container[str] = ()) -> None:
    """Raise UnfitRequestError for a path that this engine lacks, or that is its own affair, and isn't allowed."""
    if path not in apis and path not in allow:
        raise UnfitRequestError(f"This model runs on {engine}, which has no {path}; it has {', '.join(sorted(apis))}.")


def check(found: Fields, rules: Mapping[str, Rule]) -> None:
    """Normalise numbers. Raises UnfitRequestError for the first field that breaks its rule."""
    for name, rule in rules.items():
        value = found.get(name)
        if value is None:
            if rule.required:
                raise UnfitRequestError(f"The request has no {name}; {name} {rule.words}.", name)
        else:
            read = rule.read(value)
            if read is None:
                raise UnfitRequestError(f"{name} {rule.words}.", name)
            found[name] = read


def written(found: Fields) -> bytes:
    """Write the body."""
    return _encode(found)


def raw(value: object) -> msgspec.Raw:
    """Encode a value as raw JSON."""
    return msgspec.Raw(_encode(value))


def check_limits(found: Fields) -> None:
    """Raise UnfitRequestError for a limit of 0 tokens: llama.cpp would give one, or as many as fit."""
    for name in LIMITS:
        if found.get(name) == ZERO:
            raise UnfitRequestError(f"{name} must be a whole number, 1 or more.", name)


def drop_no_limits(found: Fields) -> None:
    """Leave out limits of -1, which clients of llama.cpp and LM Studio send for no limit."""
    for name in LIMITS:
        if found.get(name) == NO_LIMIT:
            del found[name]


def put_limit_right(found: Fields) -> None:
    """Keep one limit, under its older name: the smaller of the two. -1 is no limit."""
    limits = [whole(found[name]) for name in LIMITS if name in found]
    if found.pop("max_completion_tokens", None) is not None:
        found["max_tokens"] = raw(min(limits, key=lambda limit: limit if limit > 0 else inf))


def check_best_of(found: Fields, engine: str) -> None:
    """Raise UnfitRequestError if `best_of` exceeds `n`: engines generate only as many answers as they give."""
    if "best_of" in found and whole(found["best_of"]) > whole(found.get("n", raw(1))):
        raise UnfitRequestError(
            f"best_of is not for {engine}: it gives every answer that it makes; n says how many.", "best_of"
        )


def check_log_probabilities(found: Fields) -> None:
    """Raise UnfitRequestError for `top_logprobs` without `logprobs`."""
    if found.get("top_logprobs", ZERO) != ZERO and found.get("logprobs") != TRUE:
        raise UnfitRequestError("top_logprobs needs logprobs: true.", "top_logprobs")


def value(found: msgspec.Raw) -> Any:  # noqa: ANN401 -- it is what a client wrote
    """Decode a field that `check` has passed."""
    return msgspec.json.decode(found)


def whole(found: msgspec.Raw) -> int:
    """Decode a whole number, perhaps in a string, that `check` has passed."""
    number: int = msgspec.json.decode(found, type=int, strict=False)
    return number


def read(value: msgspec.Raw | bytes, kind: Any, problem: str, param: str) -> Any:  # noqa: ANN401
    """Decode JSON as a type. Raises UnfitRequestError if it isn't of that type."""
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnfitRequestError(problem, param) from error


def begins(value: msgspec.Raw) -> int:
    """Give the first byte of JSON, which tells its kind: the value may be an image of megabytes."""
    return memoryview(value)[0]
