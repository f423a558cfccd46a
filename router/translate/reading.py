"""Reads clients' JSON: what isn't as it should be is a BadRequestError that names the place."""

from typing import TypeVar

import msgspec

from router.core.errors import BadRequestError

T = TypeVar("T")


def check_text(body: bytes) -> None:
    """Raise BadRequestError for a body that isn't text: where parts of it pass unread, an engine would get them."""
    if body.isascii():
        return
    try:
        body.decode()
    except UnicodeDecodeError as error:
        at = error.start
        raise BadRequestError(f"The request's body must be UTF-8, but its byte {at} is 0x{body[at]:02x}.") from error


def read(decoder: msgspec.json.Decoder[T], given: bytes | msgspec.Raw, place: str) -> T:
    """Decode a part of a request, which stands at `place`; "" for the whole body."""
    try:
        return decoder.decode(given)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _bad(str(error), place) from error


def _bad(problem: str, place: str) -> BadRequestError:
    """Turn msgspec's "Expected `str`, got `int` - at `$.a[0].b`" into an error with the whole place."""
    problem, _, inside = problem.partition(" - at `$")
    place = (place + inside.rstrip("`")).lstrip(".")
    return BadRequestError(f"{place or 'The body'}: {problem}.", param=place or None)
