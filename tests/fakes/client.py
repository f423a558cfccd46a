"""The client's side of an exchange, without a socket: a sink (router.proxy.sink) that keeps what it is given."""


class Client:
    """A sink that keeps what the client gets, and how it ended."""

    def __init__(self) -> None:
        self.got = b""
        self.ended = ""
        self.waits = 0

    def write(self, data: bytes) -> None:
        """Keep the bytes."""
        self.got += data

    def finish(self, *, keep_alive: bool) -> None:
        """Note it."""
        self.ended = "kept" if keep_alive else "closed"

    def hang_up(self) -> None:
        """Note it."""
        self.ended = "hung up"

    def abort(self) -> None:
        """Note it."""
        self.ended = "aborted"

    def unsent(self) -> int:
        """Tell what the test says."""
        return self.waits
