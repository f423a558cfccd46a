r"""A large JSON body as its outline, which is small, and its long texts, which nobody here reads. Pure.

Images and files are texts of megabytes. To parse and copy them takes tenths of a second, in which nobody else is
served. So they are cut out piece by piece as they come:

    {"messages": [{"content": "data:image/png;base64,iVBORw…MARK"}]}       the outline: JSON that is read and changed
    MARK → [b"…", b"…"]                                                   put back into what is sent (`Texts.filled`)

A text keeps its first KEPT bytes, which say what it is. A mark has a hash of what it stands for: the same texts have
the same marks, so that prefixes of prompts compare. It has a secret, too, so that no client can write one.

A field's list of many short texts is cut out by runs, each with a mark that is a text, too:

    {"input": ["first", "second", … "last"]}    →    {"input": ["first", "MARK", "last"]}

But not a message's content: of texts there, rules make one.

What has neither is passed over in leaps (`_leap`): to look at each of 100,000 short texts takes tenths of a second.

A piece is cut where no escape, no character and no pair of surrogates is parted, and is checked as `peek` would check
it. A piece that is no valid text stays in the outline, for `peek` to refuse.

A body that may be translated is read by more than rules: its texts may be split, told again in the answer, or written
into another text. So only base64 is cut out of it, which is the same everywhere.
"""

import re
from typing import TYPE_CHECKING, Annotated, Final, Protocol
from zlib import crc32

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

LARGE: Final = 1024 * 1024
"""Bytes from which on a body is outlined: a smaller one is read in a few milliseconds."""

LONG: Final = 16 * 1024
"""Bytes from which on a text is cut out."""

KEPT: Final = 512
"""Bytes of a text, at most, that stay in the outline."""

_RUN = re.compile(rb'(?:"(?!")[^"\\]*+(?:\\.[^"\\]*+)*+"[ \t\r\n]*+,[ \t\r\n]*+){2,}+', re.DOTALL)
"""Matches texts of a list, none empty, each with the comma behind it."""

_LONG_TEXT = re.compile(rb'"[^"]{%d}' % LONG)
_LIST_OF_TEXTS = re.compile(rb'\[(?<=[: \t\r\n]\[)(?<!"content":\[)(?<!"content": \[)[ \t\r\n]*"')
"""These match what leaps end at, where no escape is left: a text that may be long, a list that may be cut out."""

_LIST = re.compile(rb'"(?!content")[^"\\]{1,64}"\s*+:\s*+\[\s*+"\Z')
"""What is before the first text of such a list."""

BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_"
_DECODED = (b"data:text/", b"data:application/json")
"""How files begin whose text translators read."""

_TAIL: Final = 12
"""Bytes of the longest unit of a text, an escaped pair of surrogates."""

_HIGH = re.compile(rb"\\u[dD][89abAB]..")
_READ = re.compile(rb'"arguments"\s*:\s*"\Z')
"""What is before a text that engines' rules look into: a call's arguments are JSON in themselves."""

_WRITTEN = re.compile(rb'"arguments"\s*:\s*\{')
"""Arguments that engines' rules write as a text: what is in them changes."""


class _Nothing(msgspec.Struct):
    """No field: all of a body is passed over, as most of it is by `peek`."""


_pass_over = msgspec.json.Decoder(_Nothing).decode
_texts = msgspec.json.Decoder(list[Annotated[str, msgspec.Meta(min_length=1)]]).decode


class Texts:
    """What was cut out of one body. `size` counts its bytes.

    A body may be sent on before all of it has come (`goes_on`). Then `missing` bytes are to come behind its outline,
    which `size` counts, too, and each of `takers` gets them as they come. Before the last of them, `judge` is given the
    outline of the whole body: it raises RouterError for one that its engine must not get. `names_one_model`: a form is
    refused in which other parsers may find another model.
    """

    def __init__(self, secret: bytes) -> None:
        self.size = self.missing = 0
        self.goes_on = False
        self.takers: list[Callable[[bytes], None]] = []
        self.judge: Callable[[bytes], None] | None = None
        self.names_one_model = False
        self._texts: list[list[bytes]] = []
        self._behind: list[bytes] = []
        self._forgotten = False
        self._mark: Final = re.compile(rb"\[\[%s:(\d{1,9}):[0-9a-f]+\]\]" % secret)
        self._secret: Final = secret

    def add(self, pieces: list[bytes], digest: int) -> bytes:
        """Keep a text; give its mark."""
        self.size += sum([len(piece) for piece in pieces])
        self._texts.append(pieces)
        return b"[[%s:%d:%x]]" % (self._secret, len(self._texts) - 1, digest)

    @property
    def words(self) -> int:
        """The bytes of those that are text, not base64."""
        return sum([len(piece) for pieces in self._texts if _has_words(pieces) for piece in pieces])

    def filled(self, outline: bytes) -> list[bytes]:
        """Give what an outline stands for, in pieces, as far as it has come."""
        pieces: list[bytes] = []
        at = 0
        for mark in self._mark.finditer(outline):
            pieces.append(outline[at : mark.start()])
            pieces += self._texts[int(mark[1])]
            at = mark.end()
        pieces.append(outline[at:])
        return pieces + self._behind

    def expect(self, missing: int) -> None:
        """Note that so many bytes are to come behind the outline."""
        self.missing, self.goes_on = missing, True
        self.size += missing

    def follow(self, data: bytes) -> None:
        """Take the next of them."""
        self.missing -= len(data)
        if not self._forgotten:
            self._behind.append(data)
        for take in self.takers:
            take(data)

    def forget(self) -> None:
        """Free what has come: the body isn't sent again."""
        self.size, self._texts, self._behind, self._forgotten = 0, [], [], True


class Outliner(Protocol):
    """Makes the outline of one body: of JSON, or of a form (`core.form`)."""

    texts: Texts

    @property
    def pays(self) -> bool:
        """Whether most of what has come is cut out; else to look for it is dearer than to read all at once."""

    @property
    def says_where(self) -> bool:
        """Whether enough has come to tell where the body goes, whatever follows."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""

    def check(self, last: bytes) -> None:
        """Check the whole of a body that was sent on, by its last bytes. Raises BadRequestError."""

    def end(self) -> bytes:
        """Give the outline, or all of a body that can't do with one."""


class Outline(Outliner):
    """Makes the outline of one body from its bytes as they come. `translatable`: only base64 is cut out."""

    def __init__(self, secret: bytes, *, translatable: bool = False) -> None:
        self.texts = Texts(secret)
        self._translatable: Final = translatable
        self._outline = bytearray()
        # Bytes that can't be judged without those that follow.
        self._held = b""
        # Whether they are in a text; whether its beginning is in the outline; what has been cut out of it.
        self._inside = False
        self._begun = False
        self._cut: list[bytes] = []
        self._digest = 0
        # Whether all of it stays.
        self._read = False
        # Whether the texts that come are those of a list that may be cut out; None until the next one begins.
        self._listed: bool | None = None

    @property
    def pays(self) -> bool:
        """Whether most of what has come is in texts that are cut out."""
        return self.texts.size + sum([len(piece) for piece in self._cut]) > len(self._outline)

    @property
    def says_where(self) -> bool:
        """It never has: any field may be the last."""
        return False

    def check(self, last: bytes) -> None:
        """It is never sent on before its end."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        data, self._held = self._held + data, b""
        # The same without escaped quotes: each that is left begins or ends a text.
        plain = data.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in data else data
        at, long_at = 0, -1
        while at < len(data):
            if self._inside:
                at = self._read_text(data, at, plain.find(b'"', at))
                continue
            if not self._listed:
                if long_at < at:
                    found = _LONG_TEXT.search(plain, at)
                    long_at = len(plain) if found is None else found.start()
                at = self._leap(data, plain, at, long_at)
            at = self._read_between(data, at)

    def _leap(self, data: bytes, plain: bytes, at: int, long_at: int) -> int:
        """Take all up to the next text or list that may be cut out, or isn't whole; give where it is.

        The next text that may be long begins `long_at`.
        """
        listed = None if self._translatable else _LIST_OF_TEXTS.search(plain, at, long_at)
        last = plain.rfind(b'"', at, long_at if listed is None else listed.start())
        if last < 0:
            return at
        # It stops between two texts: before a quote that begins one, or behind one that ends one.
        stop = last + plain.count(b'"', at, last) % 2
        if stop > at:
            self._outline += data[at:stop]
            self._listed = None
        return stop

    def _read_between(self, data: bytes, at: int) -> int:
        """Take what is between two texts, and a run of short ones behind it; give where to read on."""
        quote = data.find(b'"', at) + 1
        between = data[at : quote or len(data)]
        self._outline += between
        self._inside, at = quote > 0, quote or len(data)
        if between.strip(b', \t\r\n"'):
            self._listed = None
        if self._inside and self._listed is None:
            self._listed = (
                not self._translatable and _LIST.search(self._outline, max(0, len(self._outline) - 96)) is not None
            )
        return self._read_run(data, at) if self._inside and self._listed and len(data) - at > LONG else at

    def _read_run(self, data: bytes, at: int) -> int:
        """Take a run of short texts, the first of which begins at `at`, if there is one; give where to read on."""
        if _RUN.match(data, at - 1, at + 2 * LONG + KEPT) is None:
            return at
        # As a rule all that follows are texts, which is found ten times sooner than where a run ends.
        stop = data.rfind(b'",', at)
        valid = stop > 0 and _are_texts(data[at:stop])
        if not valid:
            run = _RUN.match(data, at - 1)
            assert run is not None  # noqa: S101  (it begins so)
            stop = data.rindex(b'"', at, run.end())
            valid = _are_texts(data[at:stop])
        # The first text stays. The mark takes the place of the others, between the outermost of their quotes.
        second = data.index(b'"', _end_of_text(data, at) + 1) + 1
        if valid and stop - second >= LONG:
            piece = data[second:stop]
            self._outline += data[at:second] + self.texts.add([piece], crc32(piece))
        else:
            self._outline += data[at:stop]
        self._outline += b'"'
        self._inside = False
        return stop + 1

    def _read_text(self, data: bytes, at: int, ends: int) -> int:
        """Take a text, or as much of it as has come (`ends` is -1 then); give where to read on."""
        if ends >= 0:
            self._end_text(data[at:ends])
            return ends + 1
        if not self._begun:
            if len(data) - at < LONG:
                self._held = data[at:]
                return len(data)
            at = self._keep_beginning(data, at)
        stop = _whole_units(data, at)
        self._take(data[at:stop])
        self._held = data[stop:]
        return len(data)

    def _end_text(self, text: bytes) -> None:
        if self._begun:
            self._take(text)
        elif len(text) < LONG:
            self._outline += text
        else:
            self._take(text[self._keep_beginning(text, 0) :])
        if self._cut:
            self._outline += self.texts.add(self._cut, self._digest)
            self._cut, self._digest = [], 0
        self._outline += b'"'
        self._inside = self._begun = False

    def _keep_beginning(self, data: bytes, at: int) -> int:
        self._read = (
            data.startswith(_DECODED, at)
            if self._translatable
            else _READ.search(self._outline, max(0, len(self._outline) - 64)) is not None
        )
        stop = _whole_units(data[: at + KEPT], at)
        self._outline += data[at:stop]
        self._begun = True
        return stop

    def _take(self, piece: bytes) -> None:
        """Cut out a piece, or leave it if it is no valid text, or is read."""
        if self._translatable and not self._read and piece.translate(None, BASE64):
            self._read = True
            self._outline += b"".join(self._cut)
            self._cut, self._digest = [], 0
        if self._read:
            self._outline += piece
            return
        try:
            _pass_over(b'{"":"%s"}' % piece)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._outline += piece
        else:
            self._cut.append(piece)
            self._digest = crc32(piece, self._digest)

    def end(self) -> bytes:
        """Give the outline, or all of a body that can't do with one: it has come to its end."""
        self._outline += self._held
        outline, self._outline, self._held = bytes(self._outline), bytearray(), b""
        if self.texts.size and not self._translatable and _WRITTEN.search(outline):
            outline = b"".join(self.texts.filled(outline))
            self.texts.forget()
        return outline


def _has_words(pieces: list[bytes]) -> bool:
    """Tell whether there is a byte that base64 hasn't, where a text would have one."""
    return any(piece[:KEPT].translate(None, BASE64) for piece in pieces[:4])


def _are_texts(piece: bytes) -> bool:
    """Tell whether it is texts of a list, none empty, between the outermost of their quotes."""
    try:
        _texts(b'["%s"]' % piece)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True


def _end_of_text(data: bytes, at: int) -> int:
    """Find the quote that ends a text, of which a unit begins at `at`; -1: it doesn't end here."""
    quote = data.find(b'"', at)
    while quote >= 0 and _slashes(data, at, quote) % 2:
        quote = data.find(b'"', quote + 1)
    return quote


def _slashes(data: bytes, at: int, end: int) -> int:
    """Count the backslashes that end at `end`, from `at` on."""
    near = max(at, end - _TAIL)
    count = end - near - len(data[near:end].rstrip(b"\\"))
    return count if near + count < end or near == at else end - at - len(data[at:end].rstrip(b"\\"))


def _whole_units(data: bytes, at: int) -> int:
    """Give where to part a text that goes on behind the data: behind its last whole unit."""
    end = len(data)
    slash = data.rfind(b"\\", max(at, end - _TAIL), end)
    if slash >= 0 and _slashes(data, at, slash + 1) % 2:
        # An escape begins there; it may be the second one of a pair.
        first = slash - 6
        pair = first >= at and _HIGH.fullmatch(data, first, slash) and _slashes(data, at, first + 1) % 2
        return first if pair else slash
    while end > at and data[end - 1] & 0xC0 == 0x80:
        end -= 1
    return end - 1 if end > at and data[end - 1] >= 0xC0 else end
