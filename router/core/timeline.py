"""What an exchange remembers of its way, for whoever asks later: its times in the queue, and its attempts. Pure.

All times are in seconds since the request came.
"""

from typing import Final

from router.core.decision import Decision

NEVER: Final = -1.0
"""The time of what has not happened."""

SLOWER: Final = "another backend was sooner"
"""The outcome of an attempt that loses a race, unless it failed."""


class Try:
    """An attempt: when it began, when the head and the first byte of its answer's body came, when and how it ended.

    `why` is what was compared when its backend was chosen; None: there was nothing to compare. `status` is that of its
    answer, 0 if none came. `size` is the bytes of the request's body, and `streams` whether it asked for a stream.
    `choices` is how many answers it asked for, where that was looked at.
    """

    def __init__(
        self,
        backend: str,
        why: Decision | None,
        begun: float,
        head: float,
        first_byte: float,
        ended: float,
        status: int,
        outcome: str,
        size: int = 0,
        streams: bool = False,  # noqa: FBT001, FBT002  (positional arguments are cheaper, compiled)
        choices: int = 1,
    ) -> None:
        self.backend: Final = backend
        self.why: Final = why
        self.begun: Final = begun
        self.head: Final = head
        self.first_byte: Final = first_byte
        self.ended: Final = ended
        self.status: Final = status
        self.outcome: Final = outcome
        self.size: Final = size
        self.streams: Final = streams
        self.choices: Final = choices


class Wait:
    """A time in the queue. For `loading` seconds of it, the model was loaded for it, at the backend `loaded`."""

    def __init__(self, begun: float, ended: float, loading: float, loaded: str) -> None:
        self.begun: Final = begun
        self.ended: Final = ended
        self.loading: Final = loading
        self.loaded: Final = loaded
