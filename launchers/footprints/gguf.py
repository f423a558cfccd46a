"""Read the header of a GGUF file within bounds: what the model is, and how many bytes each of its layers has.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Little-endian throughout:

    "GGUF", version u32, tensors u64, keys u64
    each key:     name, type u32, value; an array is its items' type u32, their number u64, the items
    each tensor:  name, dimensions u32, their sizes u64 (fastest first), type u32, offset u64
    the tensors' data, aligned

A header comes from anywhere, so nothing in it is believed: every count and length has a bound, an array that is not
wanted is skipped without being kept, and no more than `MOST_BYTES` are read. What is damaged raises HeaderError and
nothing else. The data is never read; a file that is shorter than its tensors need is cut off, and an error, too.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

from launchers.footprints.errors import CutError, HeaderError

MOST_BYTES: Final = 64 << 20
"""Of one header; the largest vocabularies make some 20 MiB."""
MOST_KEYS: Final = 1024
MOST_TENSORS: Final = 1 << 16
MOST_NAME: Final = 256
"""Bytes of a key's or a tensor's name; llama.cpp takes 64 for the latter."""
MOST_TEXT: Final = 4096
"""Bytes of a text that is kept; longer ones are skipped, but for those of `LONG`."""
LONG: Final = frozenset({"tokenizer.chat_template", "tokenizer.chat_template.tool_use"})
"""Keys of long texts that tell what a model can do."""
MOST_LONG: Final = 1 << 18
"""Bytes of such a text."""
MOST_ITEMS: Final = 1024
"""Items of an array that is kept: one for each layer, at most; longer ones, as vocabularies are, are counted."""
MOST_COUNTED: Final = 1 << 22
"""Items of any array."""
MOST_DIMENSIONS: Final = 4
MOST_WEIGHTS: Final = 1 << 50
"""Bytes of a tensor, and of where it stands in its file."""

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
DEFAULT_ALIGNMENT: Final = 32

_CHUNK = 1 << 18
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The format's types of numbers → struct's."""
_TEXT, _ARRAY = 8, 9

TYPES: Final[Mapping[int, tuple[str, int, int]]] = MappingProxyType({
    0: ("f32", 1, 4), 1: ("f16", 1, 2), 2: ("q4_0", 32, 18), 3: ("q4_1", 32, 20), 6: ("q5_0", 32, 22),
    7: ("q5_1", 32, 24), 8: ("q8_0", 32, 34), 9: ("q8_1", 32, 36), 10: ("q2_k", 256, 84), 11: ("q3_k", 256, 110),
    12: ("q4_k", 256, 144), 13: ("q5_k", 256, 176), 14: ("q6_k", 256, 210), 15: ("q8_k", 256, 292),
    16: ("iq2_xxs", 256, 66), 17: ("iq2_xs", 256, 74), 18: ("iq3_xxs", 256, 98), 19: ("iq1_s", 256, 50),
    20: ("iq4_nl", 32, 18), 21: ("iq3_s", 256, 110), 22: ("iq2_s", 256, 82), 23: ("iq4_xs", 256, 136),
    24: ("i8", 1, 1), 25: ("i16", 1, 2), 26: ("i32", 1, 4), 27: ("i64", 1, 8), 28: ("f64", 1, 8),
    29: ("iq1_m", 256, 56), 30: ("bf16", 1, 2), 34: ("tq1_0", 256, 54), 35: ("tq2_0", 256, 66),
    39: ("mxfp4", 32, 17), 40: ("nvfp4", 64, 36),
})  # fmt: skip
"""ggml's type → its name, weights in a block, bytes of a block (ggml.h, ggml-common.h)."""

Value = int | float | str | tuple[int | float, ...]


class Stream(Protocol):
    """What a header is read from: a file, or io.BytesIO."""

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes; none at the end."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's name, its type's name, its number of weights and its bytes."""

    name: str
    kind: str
    weights: int
    size: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says before its data.

    `values` are its numbers, short texts, templates and short arrays of numbers by key; `counts` are how many items
    each array has, of those that are not kept, too.
    """

    version: int
    values: Mapping[str, Value]
    counts: Mapping[str, int]
    tensors: tuple[Tensor, ...]

    def number(self, key: str) -> int:
        """A whole number by its key; 0 where there is none."""
        value = self.values.get(key, 0)
        return value if isinstance(value, int) else 0


def read_header(stream: Stream, size: int | None = None) -> Header:
    """Read the header that a stream begins with. `size` is that of the whole file in bytes, if it is known.

    Raises HeaderError; the stream's own OSError passes.
    """
    source = _Source(stream)
    if source.take(4) != MAGIC:
        raise HeaderError("this is no GGUF file")
    version = source.number("I")
    if version not in VERSIONS:
        if int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS:
            raise HeaderError("this GGUF file is big-endian, for another kind of machine")
        raise HeaderError(f"this GGUF file is of version {version}; 2 and 3 are known")
    tensors = _bounded(source.number("Q"), MOST_TENSORS, "tensors")
    keys = _bounded(source.number("Q"), MOST_KEYS, "keys")
    values: dict[str, Value] = {}
    counts: dict[str, int] = {}
    for _ in range(keys):
        key = source.name()
        _read_value(source, key, values, counts)
    entries = [_read_tensor(source) for _ in range(tensors)]
    header = Header(version, MappingProxyType(values), MappingProxyType(counts), ())
    alignment = header.number("general.alignment") or DEFAULT_ALIGNMENT
    if alignment < 8 or alignment & (alignment - 1) or alignment > 1 << 20:
        raise HeaderError(f"general.alignment is {alignment}, which is no power of two from 8 on")
    start = -(-source.read // alignment) * alignment
    room = None if size is None else size - start
    return Header(version, header.values, header.counts, tuple(_sized(entries, room)))


class _Source:
    """Bytes of a stream, in pieces of `_CHUNK`, and no more than `MOST_BYTES` of them."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._piece = b""
        self._at = 0
        self.read = 0

    def take(self, count: int) -> bytes:
        """Give the next `count` bytes, of which there are at most `_CHUNK`."""
        end = self._at + count
        if end > len(self._piece):
            self._fill(count)
            end = count
        self.read += count
        found = self._piece[self._at : end]
        self._at = end
        return found

    def skip(self, count: int) -> None:
        """Pass over bytes."""
        if self.read + count > MOST_BYTES:
            raise HeaderError(f"the header has more than {MOST_BYTES >> 20} MiB")
        while count:
            step = min(count, _CHUNK)
            self.take(step)
            count -= step

    def skip_texts(self, count: int) -> None:
        """Pass over texts, of which a vocabulary has hundreds of thousands."""
        unpack = struct.Struct("<Q").unpack_from
        while count:
            # 1. Those that are whole in the piece at hand.
            piece, at = self._piece, self._at
            last = len(piece) - 8
            while count and at <= last:
                end = at + 8 + unpack(piece, at)[0]
                if end > len(piece):
                    break
                at = end
                count -= 1
            self.read += at - self._at
            self._at = at
            # 2. The one that is not.
            if count:
                self.skip(self.number("Q"))
                count -= 1

    def number(self, kind: str) -> int:
        """Give the next whole number, of struct's type `kind`."""
        return int(struct.unpack("<" + kind, self.take(struct.calcsize("<" + kind)))[0])

    def name(self) -> str:
        """Give the next text, which is a name."""
        length = _bounded(self.number("Q"), MOST_NAME, "bytes of a name")
        return self.take(length).decode("utf-8", "replace")

    def _fill(self, count: int) -> None:
        """Have the next `count` bytes in the piece."""
        if self.read + count > MOST_BYTES:
            raise HeaderError(f"the header has more than {MOST_BYTES >> 20} MiB")
        parts = [self._piece[self._at :]]
        length = len(parts[0])
        while length < count:
            part = self._stream.read(_CHUNK)
            if not part:
                raise CutError(f"the header is cut off after {self.read + length} bytes")
            parts.append(part)
            length += len(part)
        self._piece, self._at = b"".join(parts), 0


def _bounded(number: int, most: int, what: str) -> int:
    if number > most:
        raise HeaderError(f"{number} {what}: more than {most} are not believed")
    return number


def _read_value(source: _Source, key: str, values: dict[str, Value], counts: dict[str, int]) -> None:
    """Read a key's value, and keep it if it is short."""
    kind = source.number("I")
    if kind in _NUMBERS:
        values[key] = _numbers(source, kind, 1)[0]
    elif kind == _TEXT:
        length = _bounded(source.number("Q"), MOST_BYTES, f"bytes of {key}")
        if length <= (MOST_LONG if key in LONG else MOST_TEXT):
            values[key] = source.take(length).decode("utf-8", "replace")
        else:
            source.skip(length)
    elif kind == _ARRAY:
        _read_array(source, key, values, counts)
    else:
        raise HeaderError(f"{key} is of type {kind}, which the format has not")


def _read_array(source: _Source, key: str, values: dict[str, Value], counts: dict[str, int]) -> None:
    kind = source.number("I")
    count = counts[key] = _bounded(source.number("Q"), MOST_COUNTED, f"items of {key}")
    if kind == _TEXT:
        source.skip_texts(count)
    elif kind not in _NUMBERS:
        raise HeaderError(f"{key} is an array of type {kind}, which is not known")
    elif count <= MOST_ITEMS:
        values[key] = _numbers(source, kind, count)
    else:
        source.skip(count * struct.calcsize("<" + _NUMBERS[kind]))


def _numbers(source: _Source, kind: int, count: int) -> tuple[int | float, ...]:
    form = f"<{count}{_NUMBERS[kind]}"
    return struct.unpack(form, source.take(struct.calcsize(form)))


def _read_tensor(source: _Source) -> tuple[str, tuple[int, ...], int, int]:
    """Read a tensor's name, dimensions, type and offset."""
    name = source.name()
    dimensions = _bounded(source.number("I"), MOST_DIMENSIONS, f"dimensions of {name}")
    shape = tuple(source.number("Q") for _ in range(dimensions))
    kind = source.number("I")
    return name, shape, kind, _bounded(source.number("Q"), MOST_WEIGHTS, f"as the offset of {name}")


def _sized(entries: Sequence[tuple[str, tuple[int, ...], int, int]], room: int | None) -> list[Tensor]:
    """Give each tensor its bytes; of a type that is not known, up to where the next tensor begins.

    Raises HeaderError where one reaches beyond the `room` that the file has for all.
    """
    offsets = sorted({offset for _, _, _, offset in entries})
    following = dict(zip(offsets, [*offsets[1:], room], strict=False))
    tensors = []
    for name, shape, kind, offset in entries:
        weights = _bounded(math.prod(shape), MOST_WEIGHTS, f"weights in {name}")
        known = TYPES.get(kind)
        after = following[offset]
        if known is not None:
            label, block, length = known
            if weights % block:
                raise HeaderError(f"{name} has {weights} weights, no multiple of {block} as {label} needs")
            size = weights // block * length
        elif after is not None:
            label, size = f"type {kind}", max(after - offset, 0)
        else:
            raise HeaderError(f"{name} is of type {kind}, whose size is not known")
        if room is not None and offset + size > room:
            raise CutError(f"the file is cut off: {name} ends {offset + size - room} bytes after it")
        tensors.append(Tensor(name, label, weights, size))
    return tensors
