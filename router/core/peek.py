"""The few things that the router must know of a request's body: which model, whether it streams, how urgent it is.

The body is parsed once and nothing of it is built but these three (about 2 µs for 8 KB). Everything else passes to
the engine as the bytes that came. Only where the engine knows the model by another name is the body written anew,
and then its top level alone: each value is copied as it stood.
"""

import re

import msgspec

from router.core.errors import BadRequestError

MAX_NAME = 512
"""Characters of a model's name; a hub's id has fewer than a hundred."""

HALF_A_PAIR = (
    "a text has half of a surrogate pair (such as \\ud83d without the \\ude00 that follows it in an emoji);"
    " whoever cuts texts must not cut between the two"
)
_SURROGATES = re.compile(rb"\\(?:\\|u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|(u[dD][89a-fA-F]\w\w))")
"""Escapes: a backslash, a pair of surrogates, or (the group) one alone."""


class Peek(msgspec.Struct, frozen=True):
    """What a request's body says of where it should go."""

    model: str | None = None
    stream: bool | None = None
    priority: msgspec.Raw = msgspec.Raw()  # unread: to other APIs the word may mean something else


_peek = msgspec.json.Decoder(Peek).decode


def peek(body: bytes) -> tuple[str, bool, int | None]:
    """Read the model's name, whether a stream is asked for, and the priority (as in vLLM's API).

    A priority that is no whole number is as good as none.

    Raises BadRequestError for what is no JSON object, names no model, or has either of the wrong type.
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
        raise BadRequestError('The request names no model: give its name as "model".', param="model")
    if len(model) > MAX_NAME:
        raise BadRequestError(f"The model's name has more than {MAX_NAME} characters.", param="model")
    return model, seen.stream is True, _whole(seen.priority) if seen.priority else None


def _half_a_pair(body: bytes) -> bool:
    """Tell whether a text has an escaped surrogate that is no half of a pair, which a decoder tells in odd words."""
    return any(found[1] for found in _SURROGATES.finditer(body))


def _whole(value: msgspec.Raw) -> int | None:
    """Read a JSON value that may be a whole number."""
    try:
        return int(bytes(value))
    except ValueError:  # or so long a number that nobody meant it
        return None


def _param(error: msgspec.ValidationError) -> str | None:
    _, at, path = str(error).partition("`$.")
    return path.rstrip("`") if at else None
