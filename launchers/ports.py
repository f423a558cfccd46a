"""Ports for engines: free ones, in turn.

An engine opens its port only when its model has loaded, minutes after it was told the number. So ports are taken from
outside of the range that outgoing connections get theirs from, of which the router has many; and two engines that start
at the same time never get the same one.
"""

import secrets
import socket
from contextlib import closing, suppress
from itertools import cycle, islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

RANGE = range(20000, 30000)
"""Below those that operating systems hand out for outgoing connections."""


class Ports:
    """Hands out the ports of a range in turn, from one that another router is unlikely to begin with."""

    def __init__(self, ports: range) -> None:
        self._range = ports
        first = secrets.randbelow(len(ports))
        self._in_turn: Iterator[int] = cycle((*ports[first:], *ports[:first]))

    def free(self) -> int:
        """Give a port of 127.0.0.1 where nobody listens now, and that wasn't handed out lately.

        Raises OSError where none is free.
        """
        for port in islice(self._in_turn, len(self._range)):
            with closing(socket.socket()) as candidate, suppress(OSError):
                candidate.bind(("127.0.0.1", port))
                return port
        raise OSError(f"no port is free on 127.0.0.1 from {self._range.start} to {self._range.stop - 1}")


_ports = Ports(RANGE)


def free_port() -> int:
    """Give a free port for an engine of this router. Raises OSError where none is free."""
    return _ports.free()
