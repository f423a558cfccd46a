"""A keeper's connections to routers: lines of JSON over a socket, and the door where later routers connect."""

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from launchers.record import SCRATCH

MOST_SENT = 256 * 1024
"""Most bytes that wait for a router; beyond that, an engine's output waits with the engine."""

LONGEST_PATH = 100
"""Most bytes of a socket's path: systems allow 103 or 107."""


class Link:
    """A connection to a router."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)  # noqa: FBT003
        self.connection = connection
        self._in = bytearray()
        self._out = bytearray()

    def tell(self, **message: object) -> None:
        """Queue a message for the router."""
        self._out += json.dumps(message).encode() + b"\n"

    def hear(self) -> list[dict[str, Any]] | None:
        """Read the router's orders; None if it is gone."""
        try:
            data = self.connection.recv(1 << 20)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        *lines, rest = (self._in + data).split(b"\n")
        self._in = bytearray(rest)
        return [json.loads(line) for line in lines]

    @property
    def has_room(self) -> bool:
        """Whether more may be told now: little waits in the socket."""
        return len(self._out) < MOST_SENT

    def send(self) -> bool:
        """Send what the socket takes; tell whether something still waits."""
        # An error: the socket is full, or the router is gone. The next read shows that.
        with suppress(OSError):
            while self._out:
                del self._out[: self.connection.send(self._out)]
        return bool(self._out)


class Door:
    """A listening socket in a folder of its own below `folder`, which only its owner may enter. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        own = folder / f"{SCRATCH}{os.urandom(4).hex()}"
        if len(os.fsencode(own / "keeper")) > LONGEST_PATH:
            own = Path("/tmp", own.name)  # noqa: S108 -- only its owner may enter it
        own.mkdir(mode=0o700)
        self.path = own / "keeper"
        self.listener = socket.socket(socket.AF_UNIX)
        try:
            self.listener.bind(str(self.path))
            self.listener.listen()
        except OSError:
            self.listener.close()
            self.remove()
            raise
        self.listener.setblocking(False)  # noqa: FBT003

    def remove(self) -> None:
        """Remove the socket and its folder."""
        self.path.unlink(missing_ok=True)
        self.path.parent.rmdir()
