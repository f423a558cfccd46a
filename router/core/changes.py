"""What the caller of the ledger has to do after a backend's state has changed. Pure."""

from enum import Enum
from typing import Final


class News(Enum):
    """What the log says of a backend. WORKS: it had stalled, and works again."""

    NONE = 0
    DOWN = 1
    TRIAL = 2
    UP = 3
    WORKS = 4


class Change:
    """What the caller has to do after a backend's state has changed.

    `probe`: probe the backend soon. `release`: keep its room for nobody (`Admission.forget`), because it is out.
    `offer`: offer its room to requests that wait. `news` is for the log; if it is DOWN, `reason` says why.
    """

    def __init__(
        self,
        news: News = News.NONE,
        *,
        probe: bool = False,
        release: bool = False,
        offer: bool = False,
        reason: str = "",
    ) -> None:
        self.news: Final = news
        self.probe: Final = probe
        self.release: Final = release
        self.offer: Final = offer
        self.reason: Final = reason


RELEASE: Final = Change(release=True)
"""A backend is out, and whoever took it out has said so: there is nothing to log and nobody to probe."""
