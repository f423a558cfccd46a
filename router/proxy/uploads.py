"""Bodies of requests that aren't whole yet: how slowly one may come, and how many bytes all of them may hold. Pure.

Each lane keeps the bytes that have come of a body in an `Upload`. An upload moves when it is one STEP larger than at
its last move. It is refused in these cases:

  1. It didn't move for BODY_TIMEOUT. A byte now and then is no move.
  2. It has taken WITHIN in all, and a second more for each LEAST_RATE bytes.
  3. All uploads together hold more than the budget. Those are refused first that moved longest ago: who sends slowly
     makes room for who sends fast.
  4. The router stops, and the upload isn't whole after STOP_WITHIN. Nothing of it is in flight.

A body that comes whole in one piece, as most do, is no upload. Of a large body its long texts and files are cut out as
they come (`core.outline`, `core.form`): to join, parse and copy all of it at its end would hold up everybody else.

A large form is sent on as it comes, once it has named its model. It takes a place at an engine from then on. So that no
slow client keeps one from others, its rest must be expected SOON, by the pace of what has come; else more is gathered
first. If it isn't whole WHILE_SENT later, it gives its place back: the rest is gathered, and then all of it is sent.
All of it is kept until its answer begins, as any body is, so that it can be sent again.
"""

from collections.abc import Callable
from typing import Final

from router.core.errors import RequestTimeoutError, RouterError, UnavailableError
from router.core.outline import LARGE, Outliner, Texts

STEP: Final = 32 * 1024
"""Bytes that an upload has to grow by within BODY_TIMEOUT: about 1 KiB/s."""

BODY_TIMEOUT = 30.0
"""Seconds that an upload may take for a STEP."""

WITHIN = 300.0
"""Seconds that any upload may take."""

LEAST_RATE = 16 * 1024
"""Bytes a second that a long upload has to come by on average: the slowest mobile network sends more."""

SOON = 2.0
"""Seconds in which the rest of a body must be expected that is sent on as it comes."""

WHILE_SENT = 10.0
"""Seconds for which a body may be sent on as it comes."""

STOP_WITHIN = 2.0
"""Seconds that uploads get to become whole when the router stops."""

DEFAULT_BUDGET = 256 * 1024 * 1024
"""Bytes that all uploads may hold together."""

_SMALL: Final = 64 * 1024
"""Pieces below so many bytes are joined: each takes some 40 bytes of its own, and an outline fewer calls."""

_FULL = UnavailableError(
    "The bodies of requests that aren't whole yet are too large together, and this one came too slowly. Try again "
    "soon, or raise limits.max_uploads.",
    retry_after=2,
)


class Upload:
    """One body that isn't whole yet. `size` counts its bytes so far; `moved_at` is when it last moved.

    `refuse` is called, once the upload is closed, if its client is to get this error instead. If an `outliner`
    can be made, a large body becomes its outline in the end, and its long texts.
    """

    def __init__(
        self,
        uploads: "Uploads",
        refuse: Callable[[RouterError], None],
        now: float,
        outliner: Callable[[], Outliner] | None = None,
    ) -> None:
        self.size = 0
        self.moved_at = now
        self.refuse: Final = refuse
        self._began: Final = now
        self._uploads: Final = uploads
        self._moves_at = STEP
        self._pieces: list[bytes] = []
        # The last ones of the pieces, as long as they are small.
        self._crumbs = bytearray()
        # Makes what makes an outline of it, once it is large.
        self._outliner = outliner
        self._outline: Outliner | None = None
        # What takes the rest, if that is sent on as it comes; and the size at which that is thought of next.
        self._texts: Texts | None = None
        self._asks_at = LARGE
        # What takes the rest back to be gathered, if that is sent on; until when it need not; and what was sent of it.
        self._take_back: Callable[[], bool] | None = None
        self._sent_until = 0.0
        self._sent = b""
        uploads.under_way.add(self)

    def add(self, data: bytes, now: float) -> None:
        """Keep the next bytes. This may have uploads refused, this one, too."""
        self.size += len(data)
        if self.size >= self._moves_at:
            self._moves_at, self.moved_at = self.size + STEP, now
        if len(data) < _SMALL:
            self._crumbs += data
            if len(self._crumbs) >= _SMALL:
                self._gather()
        else:
            self._gather()
            self._keep(data)
        uploads = self._uploads
        uploads.held += len(data)
        if uploads.held > uploads.budget:
            uploads.make_room()

    def _gather(self) -> None:
        if self._crumbs:
            crumbs, self._crumbs = bytes(self._crumbs), bytearray()
            self._keep(crumbs)

    def _keep(self, piece: bytes) -> None:
        if self._outline is not None:
            self._outline.feed(piece)
            if self._texts is not None:
                self._texts.follow(piece)
            return
        self._pieces.append(piece)
        if self._outliner is not None and self.size >= LARGE:
            outline = self._outliner()
            for each in self._pieces:
                outline.feed(each)
            self._outliner = None
            if outline.pays:
                self._outline, self._pieces = outline, []

    def goes_on(self, missing: int, now: float) -> bool:
        """Tell whether what has come can be sent on, and the `missing` bytes as they come."""
        outline = self._outline
        if outline is None or self._texts is not None or self.size < self._asks_at:
            return False
        self._asks_at = self.size + LARGE
        return missing * (now - self._began) <= SOON * self.size and outline.says_where

    def go_on(self, missing: int, now: float, take_back: Callable[[], bool]) -> tuple[bytes, Texts]:
        """Give the outline of what has come, and the texts, by which the rest follows.

        `take_back` is called, maybe several times, if that comes too slowly. It tells whether the rest is gathered.
        """
        outline = self._outline
        assert outline is not None  # noqa: S101  (`goes_on`)
        self._gather()
        texts = self._texts = outline.texts
        self._sent = outline.end()
        texts.expect(missing)
        self._take_back, self._sent_until = take_back, now + WHILE_SENT
        return self._sent, texts

    def give_place_back(self, now: float) -> None:
        """Gather the rest of what is sent on as it comes, if it comes too slowly."""
        take_back, texts = self._take_back, self._texts
        if take_back is not None and texts is not None and now > self._sent_until and take_back():
            self._take_back = None
            texts.takers.clear()

    def whole(self, last: bytes) -> tuple[bytes, Texts | None]:
        """Give all of the body, with its last piece, and close; or its outline, and its texts."""
        self._gather()
        outline = self._outline
        if self._texts is not None:
            self._texts.follow(last)
            body, texts = self._sent, self._texts
        elif outline is None:
            body, texts = b"".join([*self._pieces, last]), None
        else:
            outline.feed(last)
            body, texts = outline.end(), outline.texts
        self.close()
        return body, texts

    def check(self, last: bytes) -> None:
        """Check the whole of a body that was sent on, by its last bytes. Raises BadRequestError."""
        if self._texts is not None and self._outline is not None:
            self._gather()
            self._outline.check(last)

    def close(self) -> None:
        """Free what is held, once."""
        if self in self._uploads.under_way:
            self._uploads.under_way.remove(self)
            self._uploads.held -= self.size
            self._pieces = []
            self._crumbs = bytearray()
            self._outline = self._outliner = self._take_back = None

    def overdue(self, now: float) -> bool:
        """Whether it comes too slowly."""
        return now - self.moved_at > BODY_TIMEOUT or now - self._began > WITHIN + self.size / LEAST_RATE


class Uploads:
    """All bodies that aren't whole yet. `held` counts their bytes, of which there may be `budget`.

    `secret` is for outlines; see `core.outline`.
    """

    def __init__(self, secret: bytes) -> None:
        self.held = 0
        self.secret: Final = secret
        self.budget = DEFAULT_BUDGET
        self.under_way: set[Upload] = set()

    def sweep(self, now: float) -> None:
        """Refuse those that come too slowly; have others give back the places that they keep from others."""
        for upload in list(self.under_way):
            if upload.overdue(now):
                _refuse(upload, late_body())
            else:
                upload.give_place_back(now)

    def make_room(self) -> None:
        """Refuse those that moved longest ago, until an eighth of the budget is free."""
        for upload in sorted(self.under_way, key=_moved_at):
            if self.held <= self.budget - self.budget // 8:
                return
            _refuse(upload, _FULL)

    def refuse_all(self, error: RouterError) -> None:
        """Refuse all of them."""
        for upload in list(self.under_way):
            _refuse(upload, error)


def _moved_at(upload: Upload) -> float:
    return upload.moved_at


def _refuse(upload: Upload, error: RouterError) -> None:
    upload.close()
    upload.refuse(error)


def late_body() -> RequestTimeoutError:
    """Give the error for a body that comes too slowly."""
    return RequestTimeoutError(
        f"The request's body didn't come in time: at least {STEP // 1024} KiB each {BODY_TIMEOUT:g} s, and all of it "
        f"within {WITHIN:g} s and a second more for each {LEAST_RATE // 1024} KiB."
    )
