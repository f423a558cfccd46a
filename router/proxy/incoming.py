"""The body of one request on the fast lane that didn't come whole with its head."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from router.core.errors import BadRequestError, RouterError
from router.core.outline import LARGE
from router.http1.bodies import ChunkedBody
from router.http1.heads import ProtocolError
from router.proxy.heads import CHUNKS, RequestHead
from router.proxy.requests import UNREADABLE, Rules

if TYPE_CHECKING:
    from router.core.outline import Texts
    from router.proxy.uploads import Upload


class Incoming:
    """Reads a body of this `length`, which may be CHUNKS. `rest` is what came behind it, once it is whole.

    `refuse` is called if its client is to get this error instead (`Upload.refuse`).
    """

    def __init__(self, head: RequestHead, length: int, rules: Rules, refuse: Callable[[RouterError], None]) -> None:
        self.head: Final = head
        self.rest = b""
        self._rules: Final = rules
        self._refuse: Final = refuse
        self._missing = length
        self._chunks = ChunkedBody() if length == CHUNKS else None
        # The body so far, once some of it has come.
        self._upload: Upload | None = None

    @property
    def begun(self) -> bool:
        """Whether some of it has come: then its upload has limits of its own."""
        return self._upload is not None

    @property
    def is_large(self) -> bool:
        """Whether so much has come that the rest is read piece by piece, others between."""
        return self._upload is not None and self._upload.size >= LARGE

    def feed(self, data: bytes, now: float) -> bytes | None:
        """Take the next bytes. Give the body's last ones once it is whole; None: it isn't. Raises RouterError."""
        chunks, upload = self._chunks, self._upload
        if chunks is not None:
            try:
                data = chunks.feed(data)
            except ProtocolError as error:
                raise BadRequestError(UNREADABLE) from error
            self._rules.check_length(len(data) if upload is None else upload.size + len(data))
            if chunks.done:
                self.rest = chunks.rest
                return data
        elif len(data) >= self._missing:
            self.rest = data[self._missing :]
            if upload is not None:
                upload.check(data[: self._missing])
            return data[: self._missing]
        else:
            self._missing -= len(data)
            if not data:
                return None
        if upload is None:
            upload = self._upload = self._rules.upload(self.head, self._refuse, now)
        upload.add(data, now)
        return None

    def goes_on(self, now: float) -> bool:
        """Tell whether what has come can be sent on, and the rest as it comes. A backend is told a length."""
        return self._upload is not None and self._chunks is None and self._upload.goes_on(self._missing, now)

    def go_on(self, now: float, take_back: Callable[[], bool]) -> "tuple[bytes, Texts]":
        """Give the outline of what has come, and the texts, by which the rest follows (`Upload.go_on`)."""
        assert self._upload is not None  # noqa: S101  (`goes_on`)
        return self._upload.go_on(self._missing, now, take_back)

    def whole(self, last: bytes) -> "tuple[bytes, Texts | None]":
        """Give the body with its last bytes, or its outline, and its texts; and close."""
        return (last, None) if self._upload is None else self._upload.whole(last)

    def close(self) -> None:
        """Free what has come."""
        if self._upload is not None:
            self._upload.close()
