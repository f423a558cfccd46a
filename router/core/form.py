"""A form with files (multipart/form-data, RFC 7578), in which audio and images are sent: its field `model`. Pure.

Files are skipped, not copied: a form may have many megabytes.
"""

import re
from collections.abc import Iterator

from router.core.errors import BadRequestError, NoModelError
from router.core.peek import MAX_NAME

_MOST_HEAD = 8 * 1024
"""Bytes of the headers of a part."""

_KIND = re.compile(rb'multipart/form-data\s*;(?:[^"]*;)?\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'(?:\A|\r\n)content-disposition:[^\r\n]*;[ \t]*name=(?:"([^"\r\n]*)"|([^\s;"]+))', re.IGNORECASE)

_MODEL = b'Content-Disposition: form-data; name="model"'


def boundary_of(content_type: bytes) -> bytes:
    """Give what separates the parts of a form; nothing if the content is no form."""
    found = _KIND.match(content_type)
    return b"" if found is None else found[1] or found[2]


def peek_form(body: bytes, boundary: bytes) -> tuple[str, bool, None, None]:
    """Read the model's name, and whether a stream is asked for; forms have no priority and no stay, as `peek` gives.

    Raises BadRequestError.
    """
    found: dict[bytes, bytes] = {}
    for name, begins, ends in _parts(body, boundary):
        if name in {b"model", b"stream"}:
            found[name] = body[begins : min(ends, begins + 4 * MAX_NAME + 1)]
    try:
        model = found.get(b"model", b"").decode()
    except UnicodeDecodeError as error:
        raise BadRequestError("The model's name is not UTF-8.", param="model") from error
    if not model:
        raise NoModelError('The form names no model: give its name as the field "model".', param="model")
    if len(model) > MAX_NAME:
        raise BadRequestError(f"The model's name has more than {MAX_NAME} characters.", param="model")
    return model, found.get(b"stream", b"").lower() == b"true", None, None


def renamed(body: bytes, boundary: bytes, model: str) -> bytes:
    """Give the form with this name of the model, whether it has named one or not."""
    places = [(begins, ends) for name, begins, ends in _parts(body, boundary) if name == b"model"]
    if not places:
        return b"--%s\r\n%s\r\n\r\n%s\r\n%s" % (boundary, _MODEL, model.encode(), body)
    pieces, at = [], 0
    for begins, ends in places:
        pieces += [body[at:begins], model.encode()]
        at = ends
    return b"".join([*pieces, body[at:]])


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Give each part's name, and where its content begins and ends."""
    delimiter = b"--" + boundary
    at = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    while at >= 0 and body.startswith(delimiter, at):
        begins = at + len(delimiter)
        head = body.find(b"\r\n\r\n", begins, begins + _MOST_HEAD)
        ends = body.find(b"\r\n" + delimiter, head + 4)
        if head < 0 or ends < 0:
            return
        found = _NAME.search(body, begins, head)
        if found is not None:
            yield found[1] or found[2] or b"", head + 4, ends
        at = ends + 2
