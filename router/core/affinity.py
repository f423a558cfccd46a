"""Which backend has the beginning of a prompt in its prefix cache: hashes of prefixes, and where they were sent.

Engines keep the result of reading a prompt. When another prompt has the same beginning, they read only the rest. A chat
sends its whole history with every turn, so the backend that answered the last turn answers the next one sooner. The
router can't see these caches, but it knows what it sent where (as SGLang's cache-aware router and llm-d's approximate
scorer do).

`blocks_of` cuts a body into blocks, and gives a hash for each prefix that ends with a block. The blocks end at the same
places in every body: `STEP` bytes apart at first, then a sixteenth of their distance from the start. So the length of
a common prefix is known to 6%, and a body has at most a hundred blocks. `Prefixes` stores, for each hash, which
backends have it, one bit each, in two generations. Entries in use go into the young generation. When that is full or
old, it becomes the old generation, and the previous old one is dropped. That is LRU within a factor of two, for one
dict look-up.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final
from zlib import crc32

import msgspec

from router.core.apis import MESSAGES, RESPONSES
from router.core.catalog import Backend
from router.core.estimate.ask import Sent

STEP: Final = 256
"""Bytes between the first ends of blocks: some 64 tokens, which any engine reads in milliseconds."""

LONGEST: Final = 512 * 1024
"""Bytes of a prompt beyond which nothing is hashed: 128,000 tokens."""

LIMIT: Final = 32 * 1024 * 1024
"""Bytes of memory for all prefixes."""

LIFETIME: Final = 1800.0
"""Most seconds until an unused prefix is forgotten; it may be half of that."""

_ENTRY: Final = 160
"""Bytes of memory for one hash: an entry of a dict at its emptiest, its key, and a mask of 256 bits."""

_NAMES = (b'"messages"', b'"prompt"', b'"input"')

_IN_PROMPT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {MESSAGES: ("system", "tools", "messages"), RESPONSES: ("instructions", "tools", "input")}
)
"""An API's fields that make the prompt, in its order. Claude Code writes 20 KB of tools behind its messages."""

_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_BITS: Final = 60
"""Bits that a Python integer holds in two digits."""

_SHORT: Final = (1 << _BITS) - 1


def _ends() -> tuple[int, ...]:
    ends = [STEP]
    while ends[-1] < LONGEST:
        ends.append(ends[-1] + max(STEP, ends[-1] // 16))
    return tuple(ends)


ENDS = _ends()
"""The length in bytes of the prefix that ends with each block."""


def blocks_of(body: bytes) -> tuple[int, ...]:
    """Give a hash for each prefix of a request's prompt, which is the body from the prompt's field on.

    Fields before it don't count, so their order or another temperature changes nothing. Fields after it are usually
    shorter than a block. A body without a prompt has no blocks.
    """
    start = -1
    for name in _NAMES:
        start = body.find(name)
        if start >= 0:
            break
    else:
        return ()
    view, size = memoryview(body), len(body) - start
    blocks: list[int] = []
    begin, digest = start, 0
    for place, end in enumerate(ENDS):
        if end > size:
            break
        digest = crc32(view[begin : start + end], digest)
        begin = start + end
        blocks.append(place << 32 | digest)
    return tuple(blocks)


def in_prompt_order(path: str, body: bytes) -> bytes:
    """Give the fields of a body that make the prompt, in the order in which engines read them; else the body."""
    names = _IN_PROMPT.get(path)
    if names is None:
        return body
    try:
        fields = _fields_of(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body
    return _NAMES[0] + b"".join([bytes(fields[name]) for name in names if name in fields])


class Prefixes:
    """What each backend probably has in its prefix cache, within `limit` bytes of memory."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._most = max(1, limit // _ENTRY // 2)
        self._young: dict[int, int] = {}
        self._old: dict[int, int] = {}
        self._turned = 0.0
        # The backend of each bit, and the bit of each backend.
        self._holders: list[Backend | None] = []
        self._bits: dict[Backend, int] = {}
        # Bits that no entry has any more.
        self._free: list[int] = []
        # Bits given up since the generations last turned, and in the turn before. Entries may still have them.
        self._left: list[int] = []
        self._leaving: list[int] = []

    def note(self, backend: Backend, model: str, blocks: Sequence[int], now: float) -> None:
        """Note that a backend is sent a prompt: it has that in its cache now, or will once it has read it."""
        young = self._young
        if len(young) + len(blocks) > self._most or now - self._turned > LIFETIME / 2:
            self._turn(now)
            young = self._young
        bit = 1 << self._place(backend)
        salt = hash(model) & _SHORT
        for block in blocks:
            key = block ^ salt
            young[key] = young.get(key, 0) | bit

    def was_read(self, backend: Backend, sent: Sent, now: float) -> None:
        """Note that a backend has the prompt of an attempt in its cache, or will before it reads the next one."""
        if sent.blocks:
            self.note(backend, sent.model, sent.blocks, now)
            sent.blocks = ()

    def cached(self, backend: Backend, model: str, blocks: Sequence[int]) -> int:
        """Give the bytes of the prompt that are probably in a backend's cache."""
        return self.holders(model, blocks).get(backend, 0)

    def holders(self, model: str, blocks: Sequence[int]) -> dict[Backend, int]:
        """Give the bytes that are probably cached, for each backend that has any."""
        young, old, holders, salt = self._young, self._old, self._holders, hash(model) & _SHORT
        found: dict[Backend, int] = {}
        seen = 0
        for place in range(len(blocks) - 1, -1, -1):
            key = blocks[place] ^ salt
            mask = (young.get(key, 0) | old.get(key, 0)) & ~seen
            seen |= mask
            first, end = 0, ENDS[place]
            while mask:
                part = mask & _SHORT
                while part:
                    low = part & -part
                    part ^= low
                    holder = holders[first + low.bit_length() - 1]
                    if holder is not None:
                        found[holder] = end
                mask >>= _BITS
                first += _BITS
        return found

    def forget(self, backend: Backend) -> None:
        """Note that a backend's cache is empty, because it restarted or is gone.

        Its bit stays in the entries, and is used again only once none of these is left.
        """
        place = self._bits.pop(backend, -1)
        if place >= 0:
            self._holders[place] = None
            self._left.append(place)

    def _place(self, backend: Backend) -> int:
        place = self._bits.get(backend, -1)
        if place < 0:
            if self._free:
                place = self._free.pop()
                self._holders[place] = backend
            else:
                place = len(self._holders)
                self._holders.append(backend)
            self._bits[backend] = place
        return place

    def _turn(self, now: float) -> None:
        self._old, self._young, self._turned = self._young, {}, now
        self._free += self._leaving
        self._leaving, self._left = self._left, []
