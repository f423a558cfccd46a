"""Which backend has the beginning of a prompt in its cache: hashes of prefixes, and who was sent them.

Engines keep the work of reading a prompt, and read only what follows when the same beginning comes again. A chat
sends its whole past with every turn, so the backend that answered the last turn answers the next one sooner. The
router can't see these caches; it knows what it sent where (as SGLang's cache-aware router and llm-d's approximate
scorer do).

`blocks_of` cuts a body into blocks and gives a hash for each prefix that ends with one. The ends are the same for
every body, `STEP` bytes apart at first and then a sixteenth of their distance from the start: a prefix is known to 6%,
and a body has a hundred blocks at most. `Prefixes` keeps for each hash which backends have it, one bit each, in two
generations: what is used goes into the young one; when that is full, or old, it becomes the old one, and what was in
the old one is forgotten. That is least recently used, but for a factor of two, at the cost of a dictionary.
"""

from collections.abc import Sequence
from typing import Final
from zlib import crc32

from router.core.catalog import Backend

STEP: Final = 256
"""Bytes between the first ends of blocks: some 64 tokens, which take any engine but milliseconds to read."""

LONGEST: Final = 512 * 1024
"""Bytes of a prompt beyond which nothing is hashed: 128,000 tokens."""

LIMIT: Final = 32 * 1024 * 1024
"""Bytes of memory for all that is known of prefixes."""

LIFETIME: Final = 1800.0
"""Seconds after which a prefix that nobody asks for is forgotten, at the latest; it may be half of it."""

_ENTRY: Final = 160  # bytes that one hash takes: a dictionary's entry at its emptiest, its key, and a mask of 256 bits
_NAMES = (b'"messages"', b'"prompt"', b'"input"')
_BITS: Final = 60  # that an integer holds without a third digit
_SHORT: Final = (1 << _BITS) - 1


def _ends() -> tuple[int, ...]:
    ends = [STEP]
    while ends[-1] < LONGEST:
        ends.append(ends[-1] + max(STEP, ends[-1] // 16))
    return tuple(ends)


ENDS = _ends()
"""Bytes of the prefix that the block of each place ends."""


def blocks_of(body: bytes) -> tuple[int, ...]:
    """Give a hash for each prefix of a request's prompt: what stands in its body from the prompt's field on.

    What comes before that field doesn't count, so that their order, or another temperature, changes nothing; what
    follows the prompt is shorter than a block. A body without a prompt has no blocks.
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


class Prefixes:
    """What each backend is believed to have in its prefix cache, within `limit` bytes of memory."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._most = max(1, limit // _ENTRY // 2)
        self._young: dict[int, int] = {}
        self._old: dict[int, int] = {}
        self._turned = 0.0
        self._holders: list[Backend | None] = []  # of each bit
        self._bits: dict[Backend, int] = {}
        self._free: list[int] = []  # bits that no entry has
        self._left: list[int] = []  # bits given up since the last turn
        self._leaving: list[int] = []  # and since the one before

    def note(self, backend: Backend, model: str, blocks: Sequence[int], now: float) -> None:
        """Take note that a backend gets a prompt: from then on it has it, or will have once it is through with it."""
        young = self._young
        if len(young) + len(blocks) > self._most or now - self._turned > LIFETIME / 2:
            self._turn(now)
            young = self._young
        bit = 1 << self._place(backend)
        salt = hash(model) & _SHORT
        for block in blocks:
            key = block ^ salt
            young[key] = young.get(key, 0) | bit

    def cached(self, backend: Backend, model: str, blocks: Sequence[int]) -> int:
        """Tell how many bytes of the prompt are believed to be in a backend's cache."""
        return self.holders(model, blocks).get(backend, 0)

    def holders(self, model: str, blocks: Sequence[int]) -> dict[Backend, int]:
        """Tell it of every backend that has any of it."""
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
        """Take note that a backend's cache is empty: it restarted, or is gone.

        Its bit is left in the entries, and used again only when none of them is left.
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
