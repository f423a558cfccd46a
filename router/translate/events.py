"""Reads server-sent events from bytes that are cut anywhere.

The format is that of the HTML standard, "Server-sent events": lines end with LF, CRLF or CR; an empty line ends an
event; a line that begins with a colon is a comment. Only the data of events is of interest here, and comments, because
they show that the engine works.
"""

from router.core.errors import BadGatewayError

MOST = 16 * 1024 * 1024
"""Bytes of one event; a chunk of a chat has a few hundred, but one may hold an image or audio."""


class EventReader:
    """Gives the data of each event as soon as the event is whole, and each comment, which begins with a colon."""

    def __init__(self) -> None:
        # A line whose end hasn't come yet.
        self._line = b""
        # The data lines of the event whose end hasn't come yet.
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes. Raises BadGatewayError for an event that is too long."""
        if self._line:
            data = self._line + data
        if b"\r" in data:
            # A CR at the end may be half of a CRLF, and waits for the next byte.
            data = data.replace(b"\r\n", b"\n")
            last = data[-1:] == b"\r"
            data = (data[:-1].replace(b"\r", b"\n") + b"\r") if last else data.replace(b"\r", b"\n")
        *lines, self._line = data.split(b"\n")
        found: list[bytes] = []
        for line in lines:
            self._take(line, found)
        if len(self._line) + self._size > MOST:
            raise BadGatewayError(f"The engine sent an event of more than {MOST} bytes.")
        return found

    def end(self) -> list[bytes]:
        """Take the end of the stream: a last event counts, even if nothing ends it."""
        found: list[bytes] = []
        self._take(self._line.rstrip(b"\r"), found)
        self._line = b""
        self._take(b"", found)
        return found

    def _take(self, line: bytes, found: list[bytes]) -> None:
        if line[:5] == b"data:":
            line = line[6:] if line[5:6] == b" " else line[5:]
            self._data.append(line)
            self._size += len(line)
        elif not line:
            if self._data:
                found.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._data.clear()
                self._size = 0
        elif line[:1] == b":":
            found.append(line)
