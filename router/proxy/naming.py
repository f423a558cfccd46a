"""Bodies that don't say in the usual way which model they are for: they are changed so that they do.

The path may name it, as Azure's do. A form has it in a field. Where only one model can be meant, none need be named.
"""

from collections.abc import Callable

from router.core.errors import BadRequestError, NoModelError
from router.core.form import peek_form, refusal, renamed
from router.core.peek import peek
from router.core.reshape import reshaped
from router.proxy.heads import RequestHead

_MARK = b"\xef\xbb\xbf"
"""A byte order mark in UTF-8, with which some editors and shells begin a text. Engines pass over it."""


def addressed(
    head: RequestHead, body: bytes, nameless: Callable[[], str], *, beside: bool, goes_on: bool = False
) -> bytes:
    """Give the body of a request whose head isn't plain, with the model's name. Raises BadRequestError.

    `nameless` gives the name that requests without one mean; empty: there is none. `beside`: the path is a command's.
    `goes_on`: of a form, the rest is still to come.
    """
    if not (head.well_addressed or beside):
        raise BadRequestError("The request's path must begin with /v1/ and name no parent folder.")
    if head.boundary:
        return _form(head, body, nameless, goes_on=goes_on)
    return reshaped(body.removeprefix(_MARK), None, head.model) if head.model else body


def _form(head: RequestHead, body: bytes, nameless: Callable[[], str], *, goes_on: bool) -> bytes:
    name = head.model
    if not name:
        try:
            peek_form(body, head.boundary, goes_on=goes_on)
        except NoModelError:
            name = nameless()
            if not name:
                raise
    return renamed(body, head.boundary, name) if name else body


def completed(head: RequestHead, body: bytes, error: BadRequestError, nameless: Callable[[], str]) -> bytes:
    """Put right the body that `peek` has refused with this error, and engines would take; else raise the error."""
    if body.startswith(_MARK):
        body = body[len(_MARK) :]
        try:
            peek(body)
        except NoModelError as nothing:
            error = nothing
        else:
            return body
    name = nameless() if isinstance(error, NoModelError) else ""
    if not name:
        kind = next((value for name, value in head.headers if name == b"content-type"), b"")
        raise (None if isinstance(error, NoModelError) else refusal(kind)) or error
    return reshaped(body, None, name)
