"""A form with files (multipart/form-data, RFC 7578), in which audio and images are sent: its field `model`. Pure.

Files are skipped, not copied: a form may have many megabytes. Of a large one they are cut out as they come, as long
texts are of JSON (`core.outline`).
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from router.core.errors import BadRequestError, NoModelError
from router.core.outline import Outliner, Texts
from router.core.peek import MAX_NAME

_MOST_HEAD = 8 * 1024
"""Bytes of the headers of a part."""

_MOST_PARTS = 1000
"""Parts of a form: as many as web frameworks take. To look at one takes a microsecond."""

_STAYS: Final = _MOST_HEAD + 4 * MAX_NAME + 8
"""Bytes of a part, at most, that stay in the outline: its headers, and more than a model's name."""

_KIND = re.compile(
    rb'multipart/form-data\s*;(?:[^"]*;)?\s*boundary=(?:"([^"\\]{1,70})"|([^\s;"\\]{1,70}))\s*(?:;|\Z)', re.IGNORECASE
)
_SAID = re.compile(rb";\s*boundary[\s*0-9]*=", re.IGNORECASE)
_NAME = re.compile(rb'(?:\A|\r\n)content-disposition:[^\r\n]*;[ \t]*name=(?:"([^"\r\n]*)"|([^\s;"]+))', re.IGNORECASE)

_HEAD = re.compile(rb"[ \t]*(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*)+")
"""Matches the headers of a part, and the rest of the line before them, if all have lines of their own."""

_DISPOSITION = re.compile(rb"\r\ncontent-disposition:([^\r\n]*)", re.IGNORECASE)
_PLAIN = re.compile(
    rb"""[ \t]*form-data[ \t]*;[ \t]*name=(?:"([^"\\%\x00-\x1f\x7f]*)"|([\w.\[\]-]+))"""
    rb"""(?:[ \t]*;[ \t]*filename=(?:"(?:[^"\\]|\\[^"])*"|[^\s;"\\]+)|[ \t]*;[ \t]*filename\*=[^\s;"\\]+)*[ \t]*""",
    re.IGNORECASE,
)
"""Matches a disposition whose name every parser reads alike: one that goes on behind `\\"`, or not."""

_LINE_END = re.compile(rb"[ \t]{0,64}\r\n")
_MODEL = b'Content-Disposition: form-data; name="model"'


_encode = msgspec.json.Encoder().encode


def boundary_of(content_type: bytes) -> bytes:
    """Give what separates the parts of a form; nothing if the content is no form, or each parser may find another."""
    found = _KIND.match(content_type)
    return b"" if found is None or len(_SAID.findall(content_type)) > 1 else found[1] or found[2]


def refusal(content_type: bytes) -> BadRequestError | None:
    """Give the error for a body that is no JSON, if it is a form that isn't taken: without a boundary, or of a kind."""
    kind = content_type.partition(b";")[0].strip().lower()
    if kind == b"multipart/form-data":
        return BadRequestError("The form has no boundary, or two: let your HTTP client write the content-type.")
    if kind.startswith((b"multipart/", b"application/x-www-form-urlencoded")):
        said = kind.decode("ascii", "replace")
        return BadRequestError(f"The body is said to be {said}: send JSON, or files as multipart/form-data.")
    return None


def peek_form(body: bytes, boundary: bytes, *, goes_on: bool = False) -> tuple[str, bool, None, None]:
    """Read the model's name, and whether a stream is asked for; forms have no priority and no stay, as `peek` gives.

    `goes_on`: the rest is still to come. Raises BadRequestError.
    """
    found: dict[bytes, bytes] = {}
    at = _first(body, boundary)
    for name, begins, ends in _parts(body, boundary, at):
        at = ends + 2
        if name in {b"model", b"stream"}:
            value = body[begins : min(ends, begins + 4 * MAX_NAME + 1)]
            if found.setdefault(name, value) != value and name == b"model":
                raise BadRequestError("The form names two models: give one.", param="model")
    try:
        model = found.get(b"model", b"").decode()
    except UnicodeDecodeError as error:
        raise BadRequestError("The model's name is not UTF-8.", param="model") from error
    if not goes_on and not body.startswith(b"--%s--" % boundary, max(at, 0)):
        raise BadRequestError("The form breaks off: it lacks the line, made of its boundary, with which it ends.")
    if not model:
        raise NoModelError('The form names no model: give its name as the field "model".', param="model")
    if len(model) > MAX_NAME:
        raise BadRequestError(f"The model's name has more than {MAX_NAME} characters.", param="model")
    return model, found.get(b"stream", b"").lower() == b"true", None, None


def renamed(body: bytes, boundary: bytes, model: str) -> bytes:
    """Give the form with this name of the model, whether it has named one or not. Raises BadRequestError."""
    parts = _parts(body, boundary, _first(body, boundary))
    places = [(begins, ends) for name, begins, ends in parts if name == b"model"]
    if not places:
        return b"--%s\r\n%s\r\n\r\n%s\r\n%s" % (boundary, _MODEL, model.encode(), body)
    pieces, at = [], 0
    for begins, ends in places:
        pieces += [body[at:begins], model.encode()]
        at = ends
    return b"".join([*pieces, body[at:]])


class FormOutline(Outliner):
    """Makes the outline of one form from its bytes as they come."""

    def __init__(self, secret: bytes, boundary: bytes) -> None:
        self.texts = Texts(secret)
        self._boundary: Final = boundary
        self._delimiter: Final = b"\r\n--" + boundary
        self._line: Final = b"--" + boundary
        # The first delimiter has no line before it.
        self._held = b"\r\n"
        self._outline = bytearray()
        # Of the part that comes: the bytes that may still stay in the outline, and what has been cut out.
        self._room = _STAYS
        self._cut: list[bytes] = []
        self._parts = 0
        # Whether the boundary has come elsewhere than behind a line's end.
        self._is_odd = False
        # Whether what comes is sent on as it comes.
        self._is_sent = False

    @property
    def pays(self) -> bool:
        """It always does."""
        return True

    @property
    def says_where(self) -> bool:
        """Whether the part has come that names the model."""
        try:
            peek_form(bytes(self._outline[2:]), self._boundary, goes_on=True)
        except BadRequestError:
            return False
        return True

    def check(self, last: bytes) -> None:
        """Check the whole of a form that was sent on, by its last bytes. Raises RouterError."""
        self.feed(last)
        form = self.end()
        peek_form(form, self._boundary)
        if self.texts.names_one_model:
            check_model(form, self._boundary)
        if self.texts.judge is not None:
            self.texts.judge(form)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the form."""
        data, at = self._held + data, 0
        while self._parts <= _MOST_PARTS:
            ends = data.find(self._delimiter, at)
            at = self._keep_odd(data, at, ends if ends >= 0 else len(data))
            if ends < 0:
                break
            self._take(data[at:ends])
            self._end_part()
            at = ends + len(self._delimiter)
        # The last bytes may begin a delimiter.
        stop = max(at, len(data) - len(self._delimiter) + 1)
        self._take(data[at:stop])
        self._held = data[stop:]

    def _keep_odd(self, data: bytes, at: int, ends: int) -> int:
        """Keep the boundary in the outline where it is in the midst of a part, for `names_in`; give what is behind it.

        Some parsers take it for the end of the part. The first one in a form is enough.
        """
        odd = -1 if self._is_odd else data.find(self._line, at, ends)
        if odd < 0:
            return at
        self._take(data[at:odd])
        self._end_cut()
        self._outline += self._line
        self._is_odd = True
        return odd + len(self._line)

    def _take(self, data: bytes) -> None:
        """Take bytes of a part."""
        if self._room:
            stays = data[: self._room]
            self._outline += stays
            self._room -= len(stays)
            data = data[len(stays) :]
        if data and not self._is_sent:
            self._cut.append(data)

    def _end_part(self) -> None:
        """Put the mark of what has been cut out, and the delimiter."""
        self._end_cut()
        self._outline += self._delimiter
        self._room = _STAYS
        self._parts += 1

    def _end_cut(self) -> None:
        if self._cut:
            self._outline += self.texts.add(self._cut, 0)
            self._cut = []

    def end(self) -> bytes:
        """Give the outline: the form has come to its end, or goes on in the part that comes.

        What comes then is looked at, for `check`, and not kept.
        """
        kept, room = len(self._outline), self._room
        self._take(self._held)
        self._end_cut()
        outline = bytes(self._outline[2:])
        del self._outline[kept:]
        self._room, self._is_sent = room, True
        return outline


def _first(body: bytes, boundary: bytes) -> int:
    """Give where the first delimiter begins; -1: there is none."""
    delimiter = b"--" + boundary
    if body.startswith(delimiter) and _is_delimiter(body, len(delimiter)):
        return 0
    at = _delimiter(body, b"\r\n" + delimiter, 0)
    return at + 2 if at >= 0 else at


def _delimiter(body: bytes, delimiter: bytes, at: int) -> int:
    """Find the next delimiter: its line has nothing else, so a longer one that begins alike is none."""
    at = body.find(delimiter, at)
    while at >= 0 and not _is_delimiter(body, at + len(delimiter)):
        at = body.find(delimiter, at + 1)
    return at


def _is_delimiter(body: bytes, behind: int) -> bool:
    return body.startswith(b"--", behind) or _LINE_END.match(body, behind) is not None


def _parts(body: bytes, boundary: bytes, at: int) -> Iterator[tuple[bytes, int, int]]:
    """Give each part's name, and where its content begins and ends. Raises BadRequestError if there are too many.

    The first delimiter is `at`.
    """
    delimiter, count = b"--" + boundary, 0
    while at >= 0:
        count += 1
        if count > _MOST_PARTS + 1:
            raise BadRequestError(f"The form has more than {_MOST_PARTS} parts.")
        begins = at + len(delimiter)
        head = body.find(b"\r\n\r\n", begins, begins + _MOST_HEAD)
        ends = _delimiter(body, b"\r\n" + delimiter, head + 4)
        if head < 0 or ends < 0:
            return
        found = _NAME.search(body, begins, head)
        yield b"" if found is None else found[1] or found[2] or b"", head + 4, ends
        at = ends + 2


def names_as_json(form: bytes, boundary: bytes) -> bytes:
    """Give the JSON that has a form's fields, without what they say, for rules of JSON. Raises BadRequestError.

    `name[key]` and `name[]` are a field `name`.
    """
    return _encode({name.partition("[")[0]: "" for name in names_in(form, boundary)})


def check_model(form: bytes, boundary: bytes) -> None:
    """Raise BadRequestError for a form in which another parser may find another model, for keys of certain models."""
    alike = [name for name in names_in(form, boundary) if name.partition("[")[0].strip().lower() == "model"]
    if alike != ["model"]:
        raise BadRequestError("The form has to name its model once, in one field model.", param="model")


def names_in(body: bytes, boundary: bytes) -> list[str]:
    """Give the names of a form's fields, for whoever forbids some, as far as the form has come.

    Raises BadRequestError for a form in which another parser may find other names: with a part that has none, or has
    two, or a name in a form of its own; or with its boundary elsewhere than between parts.
    """
    delimiter, names = b"--" + boundary, list[str]()
    at = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    odd = body.find(delimiter, 0, max(at, 0)) >= 0
    while body.startswith(delimiter, at):
        begins = at + len(delimiter)
        if body.startswith(b"--", begins):
            if body.find(delimiter, begins + 2) >= 0:
                raise BadRequestError("The form goes on behind its end.")
            break
        head = body.find(b"\r\n\r\n", begins, begins + _MOST_HEAD)
        ends = body.find(b"\r\n" + delimiter, max(begins, head + 4))
        odd = odd or body.find(delimiter, begins, ends if ends >= 0 and head >= 0 else len(body)) >= 0
        if head < 0 and len(body) - begins < _MOST_HEAD and not odd:
            break
        name = None if odd or head < 0 else _plain_name(body[begins:head])
        if name is None:
            raise BadRequestError("The form has a part whose name can't be read: give each one plain name, in quotes.")
        names.append(name)
        if len(names) > _MOST_PARTS:
            raise BadRequestError(f"The form has more than {_MOST_PARTS} parts.")
        if ends < 0:
            break
        at = ends + 2
    return names


def _plain_name(head: bytes) -> str | None:
    """Give the name in a part's head, from behind its delimiter; None: not every parser would read this one."""
    said = _DISPOSITION.findall(head) if _HEAD.fullmatch(head) else []
    plain = _PLAIN.fullmatch(said[0]) if len(said) == 1 else None
    return None if plain is None else (plain[1] or plain[2] or b"").decode("utf-8", "replace")
