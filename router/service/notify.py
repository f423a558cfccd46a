"""Tells a service manager how the router is: systemd's protocol (sd_notify(3)), which others speak, too.

    READY=1        it listens; engines may still load, and requests wait for them
    RELOADING=1    router.yaml is read again, until the next READY=1
    STOPPING=1     requests in flight may end
    WATCHDOG=1     the event loop lives: it comes from a timer of the loop, before half the manager's time is over
    STATUS=…       a sentence for `systemctl status`

The manager names a datagram socket in NOTIFY_SOCKET. Without it, nothing is opened, and no timer is started. Engines
inherit none of its variables.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Final, Self

from router.telemetry.logs import printable

BEAT: Final = 10.0
"""Seconds between two looks whether the sentence has changed, at most."""

RETRY: Final = 0.2
"""Seconds until a message is sent again for which the manager had no room."""

TO_STOP: Final = 30.0
"""Seconds that a stop may take beside `drain_timeout`: engines have 10 to end, and then their memory is freed."""

LONGEST: Final = 200
"""Characters of a sentence."""


class Notifier:
    """One service's line to its manager. Messages never wait, and never fail."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Take the manager's variables out of an environment."""
        address = environ.pop("NOTIFY_SOCKET", "")
        watchdog, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        # A name that begins with @ is abstract: no file.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if address.startswith(("/", "@")):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(0)
        watched = watchdog.isdecimal() and int(watchdog) > 0 and pid in {"", str(os.getpid())}
        self._life = ("WATCHDOG=1",) if watched else ()
        self._every = min(BEAT, int(watchdog) / 2e6) if watched else BEAT
        self._words: Callable[[], str] = str
        self._said = ""
        # The latest that couldn't be sent yet. An earlier one means nothing any more.
        self._unsent = b""
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        """Use it until the end of the program."""
        return self

    def __exit__(self, *_: object) -> None:
        """Say nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ready(self, words: Callable[[], str]) -> None:
        """Say that it listens, and from now on that it lives; `words` gives the sentence about it."""
        if self._socket is None:
            return
        self._words = words
        self._tell("READY=1")
        self._beat()

    def reloading(self) -> None:
        """Say that router.yaml is read again."""
        if self._socket is not None:
            # The time is CLOCK_MONOTONIC's: by it systemd knows which of its reloads is meant.
            self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """Say that the reload is over, however it ended."""
        self._tell("READY=1")

    def stopping(self, seconds: float) -> None:
        """Say that it stops, and that requests in flight have so many seconds, whatever the unit says."""
        self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int((seconds + TO_STOP) * 1e6)}")

    def _tell(self, *lines: str) -> None:
        if self._socket is not None:
            self._said = self._sentence()
            # The next beat is counted from here, so this is one: reloads that follow each other must not silence it.
            self._unsent = "\n".join([*lines, *self._life, f"STATUS={self._said}"]).encode()
            self._flush()

    def _sentence(self) -> str:
        return printable(self._words())[:LONGEST]

    def _beat(self) -> None:
        if not self._unsent:
            lines = [*self._life]
            sentence = self._sentence()
            if sentence != self._said:
                lines.append(f"STATUS={sentence}")
                self._said = sentence
            self._unsent = "\n".join(lines).encode()
        self._flush()

    def _flush(self) -> None:
        """Send what is to be sent, and plan the next beat; where there is no room, it comes soon."""
        if self._socket is None:
            return
        seconds = self._every
        try:
            if self._unsent:
                self._socket.sendto(self._unsent, self._address)
            self._unsent = b""
        except BlockingIOError:
            seconds = min(RETRY, seconds)
        except OSError:
            # The manager is gone, or restarts.
            self._unsent = b""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._beat)


def sentence(url: str, models: int, in_flight: int, *, mistakes: int = 0, stops_in: float | None = None) -> str:
    """Tell how the router is. `mistakes` are those of a router.yaml that isn't taken over; `stops_in` is in seconds."""
    requests = f"{in_flight} request{'s' * (in_flight != 1)} in flight"
    if stops_in is not None:
        return f"Stopping: {requests} may end within {stops_in:.0f} s"
    serves = f"Serving {models} model{'s' * (models != 1)} at {url}, {requests}"
    if mistakes:
        found = f"{mistakes} mistake{'s' * (mistakes != 1)}"
        return f"{serves}; router.yaml is not taken over: {found} (router check)"
    return serves
