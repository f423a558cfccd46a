"""The fields of a request's body that the router needs: the model, the stream, the priority, and the model's stay.

The body is parsed once, and only these are built (about 2 µs for 8 KB). Everything else passes to the engine as the
bytes that came. The body is rewritten only if the engine knows the model by another name, or if the client says for how
long the model stays loaded, and then only its top level: each value is copied unchanged.
"""

import re
from dataclasses import dataclass
from math import inf

import msgspec

from router.core.errors import BadRequestError, NoModelError

MAX_NAME = 512
"""Most characters of a model's name; a hub's id has fewer than a hundred."""

HALF_A_PAIR = (
    "a text has half of a surrogate pair (such as \\ud83d without the \\ude00 that follows it in an emoji);"
    " whoever cuts texts must not cut between the two"
)
STAYS = ("keep_alive", "ttl")
"""Fields that say for how long the model stays loaded: Ollama's, and LM Studio's."""

LONGEST_STAY = 10 * 365 * 86400.0
"""Seconds beyond which a stay is one for ever."""

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = r"\d{1,15}(?:\.\d{0,15})?"
_PART = re.compile(rf"({_NUMBER})(ns|us|µs|ms|s|m|h)")
_DURATION = re.compile(rf"([+-]?)((?:{_NUMBER}(?:ns|us|µs|ms|s|m|h))+|{_NUMBER})")
_EXPECTED = (
    'Give keep_alive as for Ollama: seconds such as 300, or a text such as "5m" or "1h30m"; 0 unloads the model after'
    " this request, and a negative number keeps it."
)
_TTL_EXPECTED = "Give ttl as for LM Studio: the seconds that the model stays loaded after this request."

SURROGATES = re.compile(rb"\\(?:\\|u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|(u[dD][89a-fA-F]\w\w))")
"""Matches escapes: of a backslash, of a pair of surrogates, or (the group) of a lone one, where a text was cut."""


class Peek(msgspec.Struct, frozen=True):
    """The fields of a request's body that decide where it goes.

    `priority` isn't decoded: in other APIs a field of this name may mean something else.
    """

    model: str | None = None
    stream: bool | None = None
    priority: msgspec.Raw = msgspec.Raw()
    keep_alive: msgspec.Raw = msgspec.Raw()
    ttl: msgspec.Raw = msgspec.Raw()


@dataclass(frozen=True, slots=True)
class Stay:
    """What a request says of how long its model stays loaded: `seconds` after it, maybe infinite; None: nothing."""

    seconds: float | None


_peek = msgspec.json.Decoder(Peek).decode
_scalar = msgspec.json.Decoder(float | str | None).decode


def peek(body: bytes, *, streams: bool = False) -> tuple[str, bool, int | None, Stay | None]:
    """Read the model's name, whether a stream is asked for, the priority (as in vLLM's API), and the model's stay.

    `streams`: the API gives a stream unless the body says otherwise. A priority that isn't an integer counts as none.
    The stay is None where the body has neither of `STAYS`.

    Raises BadRequestError if the body is no JSON object or has a field of the wrong type, and NoModelError if it names
    no model.
    """
    try:
        seen = _peek(body)
    except msgspec.ValidationError as error:
        raise BadRequestError(f"The request's body is not as expected: {error}.", param=_param(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = HALF_A_PAIR if _half_a_pair(body) else error
        raise BadRequestError(f"The request's body is not valid JSON: {why}.") from error
    model = seen.model
    if not model:
        raise NoModelError('The request names no model: give its name as "model".', param="model")
    if len(model) > MAX_NAME:
        raise BadRequestError(f"The model's name has more than {MAX_NAME} characters.", param="model")
    stay = _stay(seen) if seen.keep_alive or seen.ttl else None
    stream = streams if seen.stream is None else seen.stream
    return model, stream, _whole(seen.priority) if seen.priority else None, stay


def _half_a_pair(body: bytes) -> bool:
    """Tell whether a text has an escaped lone surrogate: the decoder's own message for that is hard to understand."""
    return any(found[1] for found in SURROGATES.finditer(body))


def _whole(value: msgspec.Raw) -> int | None:
    """Read a JSON value as an integer; None if it isn't one, or too long for Python."""
    try:
        return int(bytes(value))
    except ValueError:
        return None


def _stay(seen: Peek) -> Stay:
    """Read for how long the model is to stay loaded. Ollama's field counts, if both are given."""
    ttl = _ttl(seen.ttl)
    seconds = _keep_alive(seen.keep_alive)
    stay = ttl if seconds is None else seconds
    return Stay(inf if stay is not None and stay > LONGEST_STAY else stay)


def _keep_alive(value: msgspec.Raw) -> float | None:
    said = _said(value, _EXPECTED, "keep_alive")
    if not isinstance(said, str):
        return inf if said is not None and said < 0 else said
    found = _DURATION.fullmatch(said)
    if found is None:
        raise BadRequestError(_EXPECTED, param="keep_alive")
    parts = _PART.findall(found[2])
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts) if parts else float(found[2])
    return inf if found[1] == "-" and seconds else seconds


def _ttl(value: msgspec.Raw) -> float | None:
    said = _said(value, _TTL_EXPECTED, "ttl")
    if isinstance(said, str) or (said is not None and said < 0):
        raise BadRequestError(_TTL_EXPECTED, param="ttl")
    return said


def _said(value: msgspec.Raw, expected: str, name: str) -> float | str | None:
    """Read a field's value; None if it isn't given, or null. Raises BadRequestError with what is `expected`."""
    try:
        return _scalar(value) if value else None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequestError(expected, param=name) from error


def _param(error: msgspec.ValidationError) -> str | None:
    _, at, path = str(error).partition("`$.")
    return path.rstrip("`") if at else None
