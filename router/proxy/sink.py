"""The client's side of an exchange, as far as the exchange knows of it: each lane has one of its own."""

from collections.abc import Callable
from typing import Protocol


class Sink(Protocol):
    """The client's side of an exchange: a wire that takes bytes, at once, and says when it has too much."""

    @property
    def write(self) -> Callable[[bytes], None]:
        """Send bytes."""

    def finish(self, *, keep_alive: bool) -> None:
        """Note that the answer is whole; the connection may go on, or is to be closed once all is sent."""

    def hang_up(self) -> None:
        """Close the connection once all is sent: the answer broke off."""

    def abort(self) -> None:
        """Close the connection now: nobody reads."""

    def unsent(self) -> int:
        """Tell how many bytes wait for the client."""
