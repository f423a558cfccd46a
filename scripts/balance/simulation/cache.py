"""A cache of prefixes, as an engine keeps it: a prefix that was read lately need not be read again."""

Path = tuple[tuple[int, int], ...]
"""A prompt as the prefixes that it shares with others: of each, from the shortest on, a key of the whole prefix, and
the tokens that it has more than the one before."""


class Cache:
    """The prefixes read last, `capacity` tokens of them; when it is full, the least recently used prefix goes.

    Of one prompt, its end goes before its beginning, as in vLLM: the beginning is what others may share.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: dict[int, int] = {}  # tokens by key, the least lately used first
        self._tokens = 0

    def hit(self, path: Path) -> int:
        """Count the tokens of the longest prefix that is held."""
        tokens, held = 0, self._held
        for key, more in path:
            if key not in held:
                break
            tokens += more
        return tokens

    def keep(self, path: Path) -> None:
        """Hold all prefixes of a prompt."""
        held = self._held
        for key, more in reversed(path):
            self._tokens += more - held.pop(key, 0)
            held[key] = more
        while self._tokens > self._capacity:
            self._tokens -= held.pop(next(iter(held)))

    def clear(self) -> None:
        """Lose everything."""
        self._held.clear()
        self._tokens = 0


class Foreseen(Cache):
    """What a cache will hold after further prompts; the cache itself doesn't change, and nothing is dropped."""

    def __init__(self, now: Cache) -> None:
        super().__init__(0)
        self._held = {}
        self._now = now

    def hit(self, path: Path) -> int:
        """Count the tokens of the longest prefix that is held, or will be."""
        tokens = self._now.hit(path)
        return max(tokens, super().hit(path)) if self._held else tokens

    def keep(self, path: Path) -> None:
        """Hold all prefixes of a prompt."""
        self._held.update(path)


class LastPrompts(Cache):
    """The last `capacity` prompts, whatever their lengths; a prompt that is there already counts as read again."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._prompts: dict[Path, None] = {}  # the least lately read first
        self._times: dict[int, int] = {}  # how many of them have a prefix

    def hit(self, path: Path) -> int:
        """Count the tokens of the longest prefix that is held."""
        tokens = 0
        for key, more in path:
            if key not in self._times:
                break
            tokens += more
        return tokens

    def keep(self, path: Path) -> None:
        """Hold a prompt, and drop one, if there are too many."""
        if path in self._prompts:
            del self._prompts[path]
        else:
            self._count(path, 1)
        self._prompts[path] = None
        if len(self._prompts) > self._capacity:
            dropped = next(iter(self._prompts))
            del self._prompts[dropped]
            self._count(dropped, -1)

    def _count(self, path: Path, more: int) -> None:
        for key, _ in path:
            times = self._times.get(key, 0) + more
            if times:
                self._times[key] = times
            else:
                del self._times[key]

    def clear(self) -> None:
        """Lose everything."""
        self._prompts.clear()
        self._times.clear()
