"""What is known of a request before it is sent, and of an attempt while it is under way."""

from typing import Final


class Ask:
    """What is known of a request before it is sent.

    `size` is the bytes of its body, `blocks` are the hashes of its prompt's prefixes (`affinity.blocks_of`). An answer
    that doesn't stream (`streams`) shows no first token. `path` is the endpoint, and `key` what the client shows of its
    own to the backend.
    """

    # Not a NamedTuple: each request makes one of these, which takes a compiled class a fifth of the time.

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
        self.cached = cached  # bytes believed to be in the cache
        self.work = work  # bytes to be read, as far as is believed
        self.at = at
        self.due = due  # when its first token was expected
        self.late = late  # from when on its silence isn't to be expected any more
        self.begun = 0.0  # when it began to be answered, if it has
        self.waits = True  # for its first token
        self.over = False
        self.audible = False  # whether it is an answer under way that shows each of its pieces
