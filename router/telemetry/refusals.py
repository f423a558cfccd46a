"""The log of requests that the router itself refuses, before they become an exchange: 400, 401, 403, 404, 413 and more.

Anybody can send such requests, as many as they like. So the first of each kind is logged, with the client's address;
what is like it, and all above `MOST_LINES` and `MOST_OF_A_CAUSE`, is counted, and told once in `WINDOW`:

    refused: No valid API key: send one as 'Authorization: Bearer KEY'.  status=401  client=10.0.0.7  path=/v1/models  …
    refused 1203 more requests within 60 s  causes=401 invalid_api_key: 1200, 413 request_too_large: 3

Nothing of a key that was shown is kept or told.
"""

from collections import Counter
from typing import Final

import structlog

from router.core.errors import RouterError
from router.telemetry.logs import printable

log = structlog.get_logger("router")

WINDOW: Final = 60.0
"""Seconds after which what was counted is told, and a kind is logged again."""

MOST_LINES: Final = 32
"""Most refusals that are logged within a window: the kinds hold paths and addresses, which clients choose."""

MOST_OF_A_CAUSE: Final = 8
"""Most of these with one cause: who tries keys from many addresses hides no other trouble."""

_LONGEST_PATH: Final = 200


class RefusalLog:
    """Logs refusals, within bounds. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._began = 0.0
        self._kinds: set[tuple[str, str]] = set()
        # By causes: lines that were written in this window, and refusals that were only counted.
        self._lines: Counter[tuple[int, str]] = Counter()
        self._counted: Counter[tuple[int, str]] = Counter()
        # Since the start, by their status and the code that clients are told.
        self.refused: Counter[tuple[int, str]] = Counter()

    def note(self, error: RouterError, client: str, path: str, now: float, request_id: str = "") -> None:
        """Log or count a request that is refused with this error; `client` is its sender's address.

        `request_id` is what the answer says; empty: there is none, as no request has come.
        """
        self.tell(now)
        cause = error.status, error.code
        self.refused[cause] += 1
        if not self._kinds:
            self._began = now
        kind = error.message, client
        if kind in self._kinds or len(self._kinds) >= MOST_LINES or self._lines[cause] >= MOST_OF_A_CAUSE:
            self._counted[cause] += 1
            return
        self._kinds.add(kind)
        self._lines[cause] += 1
        shown = path[:_LONGEST_PATH] or "-"
        which = {"request_id": request_id} if request_id else {}
        log.warning(
            f"refused: {printable(error.message)}", status=error.status, client=client or "-", path=shown, **which
        )

    def tell(self, now: float) -> None:
        """Tell what was counted, if the window is over."""
        if not self._kinds or now < self._began + WINDOW:
            return
        self._kinds.clear()
        self._lines.clear()
        counted, self._counted = self._counted, Counter()
        if counted:
            causes = ", ".join(f"{status} {code}: {count}" for (status, code), count in sorted(counted.items()))
            log.warning(f"refused {counted.total()} more requests within {WINDOW:g} s", causes=causes)
