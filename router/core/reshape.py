"""How a route changes a request's body: only its top level, in one pass together with the model's name.

The body is split into field names and the bytes of their values, and joined again. A value without a rule is copied
unchanged, to the last digit.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec

from router.core.errors import BadRequestError

_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _plain(value: object) -> object:
    """Convert types that msgspec can't encode: read-only mappings, and subclasses of str."""
    return dict(value) if isinstance(value, Mapping) else str(value)


_encode = msgspec.json.Encoder(enc_hook=_plain).encode

ALIKE: Mapping[str, str] = MappingProxyType(
    {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
)
"""Two names of one field: a client may use either."""

_GO_WITH: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "tools": ("tool_choice", "parallel_tool_calls"),
    "functions": ("function_call",),
    "logprobs": ("top_logprobs",),
})  # fmt: skip
"""A field → those that mean nothing without it, and that engines refuse then."""

_LIMITS = frozenset({*ALIKE, "max_output_tokens", "num_predict", "n_predict"})
"""Names of the most tokens of an answer; for some engines a negative number means that there is no limit."""

_NOTHING: Mapping[str, object] = MappingProxyType({})
_NULL = msgspec.Raw(b"null")
NO_LIMIT = -1
"""A limit of tokens that is none, in what `router.translate` writes."""

_NO_LIMIT = msgspec.Raw(b"-1")
_SAYS_NO_LIMIT = b'"max_tokens":-1'
_NUMBER = tuple(b"-0123456789")


class Reshape:
    """A route's rules for a body's fields. Values may be anything that JSON can express; they are encoded once, here.

    Fields in `strip` are dropped, and with them those that mean nothing without them. A `default` applies if the client
    gives none, or null. `set` always applies. `at_most` then bounds numbers, in quotes, too, as engines read these; any
    other value is left for the engine to judge. A client can't avoid what is set or bounded by using a field's other
    name, or by a limit that means none.
    """

    def __init__(
        self,
        set: Mapping[str, object] = _NOTHING,  # noqa: A002  (router.yaml's names)
        default: Mapping[str, object] = _NOTHING,
        at_most: Mapping[str, float] = _NOTHING,  # type: ignore[assignment]
        strip: Iterable[str] = (),
    ) -> None:
        self._set = _written(set)
        self._default = [(name, ALIKE.get(name, name), value) for name, value in _written(default).items()]
        bounds = {
            other: most for name, most in at_most.items() if name in ALIKE for other in (ALIKE[name], "n_predict")
        }
        bounds |= at_most
        self._at_most = [(name, most, msgspec.Raw(_encode(most))) for name, most in bounds.items()]
        others = (ALIKE[name] for name in set if name in ALIKE and ALIKE[name] not in set)
        self._strip: tuple[str, ...] = (*(each for name in strip for each in (name, *_GO_WITH.get(name, ()))), *others)

    def only(self, names: frozenset[str], *, inside: bool) -> "Reshape":
        """Give the rules for fields `inside` these names, or for all others."""
        part = Reshape()
        part._set = {name: value for name, value in self._set.items() if (name in names) is inside}
        part._default = [rule for rule in self._default if (rule[0] in names) is inside]
        part._at_most = [rule for rule in self._at_most if (rule[0] in names) is inside]
        part._strip = tuple(name for name in self._strip if (name in names) is inside)
        return part

    def with_limit(self, limit: str) -> "Reshape":
        """Give the rules for bodies of an API in which `limit` is the one name of the most tokens of an answer."""

        def named(name: str) -> str:
            return limit if name in ALIKE else name

        part = Reshape()
        part._set = {named(name): value for name, value in self._set.items()}
        part._default = [(named(name), named(alike), value) for name, alike, value in self._default]
        part._at_most = [(named(name), most, written) for name, most, written in self._at_most]
        part._strip = tuple(limit if name == "max_tokens" else name for name in self._strip)
        return part

    def apply(self, fields: dict[str, msgspec.Raw]) -> None:
        """Apply the rules to the fields of a body, in place."""
        for name in self._strip:
            fields.pop(name, None)
        for name, alike, value in self._default:
            if fields.get(name, _NULL) == _NULL and (alike == name or fields.get(alike, _NULL) == _NULL):
                fields[name] = value
        fields.update(self._set)
        for name, most, written in self._at_most:
            if name in fields and _exceeds(fields[name], most, is_limit=name in _LIMITS):
                fields[name] = written


def reshaped(body: bytes, reshape: Reshape | None, model: str | None, drop: Iterable[str] = ()) -> bytes:
    """Apply a route's rules to a body that `peek` has read, and replace the model's name; None changes neither.

    The fields `drop` are left out. If a field is given twice, the last one counts. Raises BadRequestError for field
    names that are invalid text, which `peek` doesn't check.
    """
    fields = _read(body)
    for name in drop:
        fields.pop(name, None)
    if reshape is not None:
        reshape.apply(fields)
    if model is not None:
        fields["model"] = msgspec.Raw(_encode(model))
    return _encode(fields)


def with_one_model(body: bytes, model: str) -> bytes:
    """Give a body that `peek` has read, in which no server finds another model than this one.

    Of two fields with one name some servers take the first; and programs in Go take `Model` for `model`.
    """
    if body.lower().count(b'"model"') == 1 and b"\\u00" not in body:
        return body
    others = [name for name in _read(body) if name != "model" and name.lower() == "model"]
    return reshaped(body, None, model, others)


def limited(body: bytes) -> bytes:
    """Leave out a translated body's limit if it is `NO_LIMIT`, which servers refuse. A route's rules have seen it."""
    if _SAYS_NO_LIMIT not in body:
        return body
    fields = _fields_of(body)
    if fields.get("max_tokens") != _NO_LIMIT:
        return body
    del fields["max_tokens"]
    return _encode(fields)


def _read(body: bytes) -> dict[str, msgspec.Raw]:
    try:
        return _fields_of(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequestError(f"The request's body is not valid JSON: {error}.") from error


def _written(values: Mapping[str, object]) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(_encode(value)) for name, value in values.items()}


def _exceeds(value: msgspec.Raw, most: float, *, is_limit: bool) -> bool:
    text = bytes(value).strip(b'"')
    if not text or text[0] not in _NUMBER:
        return False
    try:
        number = float(text)
    except ValueError:
        # In quotes, anything may stand.
        return False
    return number > most or (is_limit and number < 0)
