"""A request before it is sent, and an attempt while it is under way, as the estimate sees them."""

from math import inf
from typing import Final


class Ask:
    """A request before it is sent.

    `size` is the bytes of its body, and `blocks` are the hashes of its prompt's prefixes (`affinity.blocks_of`).
    `streams`: its answer streams, and so shows a first token. `path` is the endpoint, and `key` the client's own
    credentials that are passed on to the backend.
    """

    # Not a NamedTuple: each request makes one of these, and a compiled class takes a fifth of the time.

    def __init__(
        self, size: int, blocks: tuple[int, ...] = (), *, streams: bool = True, path: str = "", key: bytes = b""
    ) -> None:
        self.size: Final = size
        self.blocks: Final = blocks
        self.streams: Final = streams
        self.path: Final = path
        self.key: Final = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ask) and self._all == other._all

    def __hash__(self) -> int:
        return hash(self._all)

    @property
    def _all(self) -> tuple[int, tuple[int, ...], bool, str, bytes]:
        return self.size, self.blocks, self.streams, self.path, self.key


class Sent:
    """An attempt at a backend, from its sending to its end."""

    def __init__(self, ask: Ask, cached: int, work: float, at: float, due: float, late: float) -> None:
        self.size = max(1, ask.size)
        self.streams = ask.streams
        # Bytes of its prompt: expected to be in the cache, and expected to be read.
        self.cached = cached
        self.work = work
        # When it was sent, when its first token was expected, and from when on it is late.
        self.at = at
        # When a reader had time for its prompt; inf: not yet, as far as is known.
        self.turn = inf
        # When a prompt that was sent later began, though it should have waited for this one; inf: none did.
        self.overtaken_at = inf
        self.due = due
        self.late = late
        # When its answer began, once `waits` is False.
        self.begun = 0.0
        # Whether its first token hasn't come yet.
        self.waits = True
        self.over = False
        # What is to be noted once its prompt has been read: the prefixes of which it makes the cache have more.
        self.model = ""
        self.blocks: tuple[int, ...] = ()
        # Whether its answer is under way and shows each of its pieces.
        self.audible = False
