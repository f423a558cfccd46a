"""Who sends a request."""

from typing import Final

from router.core.keys import Key
from router.proxy.charging import Payer


class Caller:
    """Whose key a client showed (`name`), and the priority class of its requests, unless they ask for a later one.

    `cors` are the lines of its answers' heads that let a page of another origin read them. `address` is the client's.
    `key` is None where the router has no keys, and `payer` where neither it nor its team has limits.
    """

    # As `Request`: no NamedTuple.

    def __init__(
        self,
        name: str = "",
        priority: int = 0,
        cors: bytes = b"",
        address: str = "",
        key: Key | None = None,
        payer: Payer | None = None,
    ) -> None:
        self.name: Final = name
        self.priority: Final = priority
        self.cors: Final = cors
        self.address: Final = address
        self.key: Final = key
        self.payer: Final = payer

    def lines(self, path: str, now: float) -> bytes:
        """The lines of an answer's head that are for it: who may read it, and what is left of limits."""
        return self.cors if self.payer is None else self.payer.lines(path, self.cors, now)


ANYBODY = Caller()
