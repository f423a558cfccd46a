"""Read the header of a safetensors file within bounds: https://huggingface.co/docs/safetensors.

Its length as u64, then JSON: a tensor's name → its type, shape, and where its bytes begin and end in what follows.
Nothing in it is believed, as in `gguf`; what is damaged raises HeaderError. The data is never read.
"""

import math
from typing import Annotated, Final

import msgspec

from launchers.footprints.errors import CutError, HeaderError
from launchers.footprints.gguf import MOST_NAME, MOST_TENSORS, MOST_WEIGHTS, Stream, Tensor

MOST_BYTES: Final = 16 << 20
"""Of a header; the format itself allows 100 MB. A thousand tensors make 100 KB."""
METADATA: Final = "__metadata__"
_CHUNK = 1 << 18

Whole = Annotated[int, msgspec.Meta(ge=0, le=MOST_WEIGHTS)]


class _Entry(msgspec.Struct):
    """A tensor, as the header has it."""

    dtype: Annotated[str, msgspec.Meta(max_length=32)]
    shape: Annotated[list[Whole], msgspec.Meta(max_length=16)]
    data_offsets: tuple[Whole, Whole]


_ENTRIES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENTRY = msgspec.json.Decoder(_Entry)


def read_header(stream: Stream, size: int | None = None) -> tuple[Tensor, ...]:
    """Read a file's tensors. `size` is that of the whole file in bytes, if it is known.

    Raises HeaderError; the stream's own OSError passes.
    """
    length = int.from_bytes(_take(stream, 8), "little")
    if not 2 <= length <= MOST_BYTES:
        raise HeaderError(f"this is no safetensors file: its header would have {length} bytes")
    try:
        found = _ENTRIES.decode(_take(stream, length))
        found.pop(METADATA, None)
        if len(found) > MOST_TENSORS:
            raise HeaderError(f"{len(found)} tensors: more than {MOST_TENSORS} are not believed")
        entries = {name: _ENTRY.decode(said) for name, said in found.items()}
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise HeaderError(f"the header is no object of tensors: {str(error)[:200]}") from error
    room = None if size is None else size - 8 - length
    return tuple(_tensor(name, entry, room) for name, entry in entries.items())


def _take(stream: Stream, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = stream.read(min(count, _CHUNK))
        if not part:
            raise CutError("the header is cut off")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _tensor(name: str, entry: _Entry, room: int | None) -> Tensor:
    if len(name) > MOST_NAME:
        raise HeaderError(f"{name[:MOST_NAME]}… has too long a name")
    begin, end = entry.data_offsets
    if end < begin:
        raise HeaderError(f"{name} ends before it begins")
    if room is not None and end > room:
        raise CutError(f"the file is cut off: {name} ends {end - room} bytes after it")
    return Tensor(name, entry.dtype.lower(), min(math.prod(entry.shape), MOST_WEIGHTS), end - begin)
