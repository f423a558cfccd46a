"""Fields that strict servers refuse, and that a translated request can do without. Pure.

A request of another API becomes a chat with fields that OpenAI's API doesn't have. Most servers ignore fields that they
don't know. OpenAI, Azure, Mistral, Groq, Cerebras and others answer 400 or 422 to them. So:

  1. `refused` finds the fields that such an answer names, of those that may be left out (`_OPTIONAL`): what the
     translation has added, and wishes without which an answer is still an answer. Any other field is left as it is,
     and the client gets the error.
  2. The same attempt is made again without these fields (`without`). Many servers name one field at a time.
  3. `Omissions` remembers them for this model of this backend, so the next requests are sent without them at once.
     It forgets them after `LASTS` seconds, and when the backend's entry in router.yaml changes: a server that was
     upgraded gets the fields again.

Models differ in the name of their limit, too. `max_tokens` and `max_completion_tokens` are never left out: the one that
is refused gets the name of the other. If that is refused by a later request, the server has changed, and the first name
is used again.
"""

import re
from collections import OrderedDict
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from router.core.errors import of_engine
from router.core.reshape import ALIKE

if TYPE_CHECKING:
    from router.core.catalog import Backend, Candidate

LASTS: Final = 3600.0
"""Seconds for which a refusal is remembered."""

MOST: Final = 1024
"""Most models that refusals are remembered for."""

MOST_OF_ONE: Final = 32
"""Refusals of one model from which on those of values are forgotten: clients may make up any number of them."""

_LONGEST_VALUE: Final = 64
"""Bytes of a value that is left out for itself."""

STATUSES: Final = frozenset({200, 400, 422})
"""With these, servers refuse a field: with 200 by an error in the place of the answer, or as a stream's first event."""

_OPTIONAL: Final = frozenset({
    *ALIKE,
    "cache_prompt",
    "chat_template_kwargs",
    "encoding_format",
    "id_slot",
    "messages.reasoning_content",
    "min_p",
    "parallel_tool_calls",
    "priority",
    "reasoning_effort",
    "repeat_penalty",
    "repetition_penalty",
    "response_format.json_schema.strict",
    "stream_options",
    "tools.function.strict",
    "top_k",
    "typical_p",
    "user",
})  # fmt: skip
"""Fields of a translated request that may be left out; inside of others they are given by their path."""

_WISHES: Final = frozenset({"frequency_penalty", "presence_penalty", "seed", "temperature", "top_p"})
"""Further ones, where the client's API isn't OpenAI's: those of OpenAI's are in the client's own words."""

_UNKNOWN_CODES: Final = frozenset({"unknown_parameter", "unsupported_parameter"})
_VALUE_CODES: Final = frozenset({"unsupported_value", "invalid_value"})
"""Codes of errors whose `param` is a field that isn't known, or whose value isn't."""

_MOST_READ: Final = 16 * 1024
"""Bytes of an answer that are read."""

# All repeats are bounded: a server's words may be made to keep a search busy.
_SPACE, _SPACES = r"\s{0,4}", r"\s{1,8}"
_NAME: Final = r"(?<![\w$.])\\{0,3}[\"'`]?[A-Za-z_$][\w$.\[\]-]{0,80}\\{0,3}[\"'`]?"
_NAMES: Final = rf"({_NAME}(?:{_SPACE}(?:,|\band\b){_SPACE}{_NAME}){{0,20}})"
_UNKNOWN: Final = r"\b(?:unknown|unsupported|unrecogni[sz]ed|unexpected|extraneous)"
_FIELD: Final = rf"(?:request{_SPACES}|keyword{_SPACES})?(?:parameter|argument|field|property|key|name)"
_EXTRA: Final = r"extra[ _](?:forbidden|inputs|fields)"
_KNOWN: Final = r"(?:supported|permitted|allowed|recogni[sz]ed|expected|known)"

_SAYS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # OpenAI, Azure: "Unrecognized request argument supplied: x", "Unknown parameter: 'x'.",
        # "Unsupported parameter: 'x' is not supported with this model."; Rust, Go: "unknown field `x`";
        # Gemini: 'Unknown name "x": Cannot find field.'; Bedrock: "extraneous key [x] is not permitted".
        rf"{_UNKNOWN}{_SPACES}{_FIELD}(?:s|\(s\))?(?:{_SPACES}supplied)?{_SPACE}[:\[]?{_SPACE}{_NAMES}",
        # Groq, Cerebras: "property 'x' is unsupported"; OpenAI's older form: "('x' was unexpected)".
        rf"({_NAME}){_SPACES}(?:is|was|are|were){_SPACES}(?:not{_SPACES}|un){_KNOWN}",
        # xAI: "Model m does not support parameter x".
        rf"\b(?:does{_SPACES}not|doesn't){_SPACES}support{_SPACES}(?:the{_SPACES})?(?:{_FIELD}{_SPACES})?{_NAMES}",
        # Anthropic: "messages.1.x: Extra inputs are not permitted"; pydantic's own text has a line end between.
        rf"({_NAME}):?{_SPACES}{_EXTRA}",
        # Fireworks: "Extra inputs are not permitted, field: 'x'".
        rf"{_EXTRA}[^\"]{{0,40}}\bfield:{_SPACE}({_NAME})",
    )
)
"""How servers say that they don't know a field; quotes may be escaped, line ends are not."""

_SAYS_WHERE: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # Mistral, vllm: {"type": "extra_forbidden", "loc": ["body", "x"], "msg": "Extra inputs are not permitted"},
        # in JSON, as text in JSON, or as Python writes it.
        rf"\bloc\\{{0,3}}[\"']{_SPACE}:{_SPACE}[\[(]([^\])]{{0,200}})[\])][^{{}}]{{0,200}}?{_EXTRA}",
        rf"\bextra_forbidden[^{{}}]{{0,200}}?\bloc\\{{0,3}}[\"']{_SPACE}:{_SPACE}[\[(]([^\])]{{0,200}})",
    )
)
"""The same where the place of the field is a list."""

_SAYS_VALUE: Final = re.compile(
    rf"\bunsupported value:{_SPACE}({_NAME})|({_NAME}){_SPACES}must be one of\b", re.IGNORECASE
)
"""How servers without codes say that they don't know a value: OpenAI's words, and Groq's."""

_BETWEEN: Final = re.compile(r",|\band\b")
_WORD: Final = re.compile(r"[A-Za-z_$][\w$-]*")

_NOTHING_SAID: Final = msgspec.Raw(b'{"role":"assistant","content":""}')
"""What is left of a message that was reasoning alone; some servers refuse such a message."""

_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items_of = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class Omission(NamedTuple):
    """A field to leave out: always, or, with a `value` in JSON, only where it has that value."""

    field: str
    value: bytes = b""


NONE: Final[frozenset[Omission]] = frozenset()


class Omissions:
    """What is left out of translated requests, by the backend and its name for the model. Times are in seconds."""

    def __init__(self) -> None:
        # Each with the time until which it counts.
        self._known: OrderedDict[Candidate, tuple[frozenset[Omission], float]] = OrderedDict()

    def of(self, candidate: "Candidate", now: float) -> frozenset[Omission]:
        """Give what is left out of requests for this candidate."""
        found, until = self._known.get(candidate, (NONE, 0.0))
        return found if now < until else NONE

    def learn(self, candidate: "Candidate", refused: frozenset[Omission], now: float) -> None:
        """Note what a candidate has refused. It counts as long as what was known before: that may be out of date."""
        known = self.of(candidate, now)
        until = self._known[candidate][1] if known else now + LASTS
        if len(known) >= MOST_OF_ONE:
            known = frozenset(each for each in known if not each.value)
        renamed_before = {Omission(ALIKE[each.field]) for each in refused if each.field in ALIKE}
        self._known[candidate] = (known - renamed_before) | refused, until
        self._known.move_to_end(candidate)
        if len(self._known) > MOST:
            self._known.popitem(last=False)

    def forget(self, backend: "Backend") -> None:
        """Forget all that a backend has refused."""
        for each in [each for each in self._known if each.backend is backend]:
            del self._known[each]


def refused(
    status: int, said: bytes, sent: bytes, before: frozenset[Omission], *, is_openais: bool
) -> frozenset[Omission]:
    """Find what must be left out of a request, by the error that it got: `said`. Nothing: the client gets this error.

    `sent` is the request's body. `before` is what the same attempt has had refused. `is_openais`: the client's own API
    is one of OpenAI's.
    """
    if status not in STATUSES:
        return NONE
    optional = _OPTIONAL if is_openais else _OPTIONAL | _WISHES
    fields = _fields_of(sent)
    found: set[Omission] = set()
    for place, is_value in _named(said):
        for field in optional:
            if not is_value:
                if _is_at(field, place):
                    found.add(Omission(field))
            elif [field] == place and field in fields and field not in ALIKE:
                value = bytes(fields[field])
                if len(value) <= _LONGEST_VALUE:
                    found.add(Omission(field, value))
    # Each has to change something, so that the same error can't come for ever.
    return frozenset(each for each in found if without(sent, before | {each}) is not sent)


def _named(said: bytes) -> Iterator[tuple[list[str], bool]]:
    """Find the fields that an error names, each by its path; and whether only its value is refused."""
    error = of_engine(400, said)
    if error.param and error.code in _UNKNOWN_CODES | _VALUE_CODES:
        yield _place(error.param), error.code in _VALUE_CODES
    text = said[:_MOST_READ].decode("utf-8", "replace").replace("\\n", "\n")
    for pattern in _SAYS:
        for match in pattern.finditer(text):
            for name in _BETWEEN.split(match[1]):
                yield _place(name), False
    for pattern in _SAYS_WHERE:
        for match in pattern.finditer(text):
            yield _place(match[1]), False
    for match in _SAYS_VALUE.finditer(text):
        yield _place(match[1] or match[2]), True


def _place(name: str) -> list[str]:
    """Give the names in `messages[1].x`, or in `"body", "messages", 1, "x"`."""
    names = _WORD.findall(name)
    return names[1:] if names[:1] == ["body"] else names


def _is_at(field: str, place: list[str]) -> bool:
    """Whether an error's place means a field: its own name alone, or its path, with words of the server's between."""
    path = field.split(".")
    if place == path[-1:]:
        return True
    rest = iter(place)
    return place[:1] == path[:1] and all(name in rest for name in path)


def without(body: bytes, omissions: Collection[Omission]) -> bytes:
    """Leave fields out of a chat's body, or rename its limit; the same object if that changes nothing."""
    fields = _fields_of(body)
    was, names = dict(fields), {each.field for each in omissions}
    for field, value in omissions:
        name, *inside = field.split(".")
        given = fields.get(name)
        if given is None:
            continue
        if inside:
            fields[name] = _without(given, inside)
        elif field in ALIKE:
            if ALIKE[field] not in names:
                fields.setdefault(ALIKE[field], fields.pop(field))
        elif not value or given == msgspec.Raw(value):
            del fields[name]
    return body if fields == was else _encode(fields)


def _without(given: msgspec.Raw, path: list[str]) -> msgspec.Raw:
    """Leave a field out of an object, or of each object of a list."""
    text = bytes(given)
    if b'"%s"' % path[-1].encode() not in text:
        return given
    if text[:1] == b"[":
        items = [(each, _without(each, path)) for each in _items_of(text)]
        return msgspec.Raw(_encode([after for before, after in items if after == before or after != _NOTHING_SAID]))
    if text[:1] == b"{":
        fields = _fields_of(text)
        if len(path) == 1:
            fields.pop(path[0], None)
        elif path[0] in fields:
            fields[path[0]] = _without(fields[path[0]], path[1:])
        return msgspec.Raw(_encode(fields))
    return given
