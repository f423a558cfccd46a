"""What a client is told that is at a limit of its key, or of its team. Pure; the limits are `core.limits`'s."""

from typing import Final

from router.core.errors import RouterError
from router.core.limits import COST, IN_FLIGHT, TOKENS, Refusal, duration, seconds_of

_WORDS: Final = {
    "requests_per_minute": "requests a minute",
    "tokens_per_minute": "tokens a minute",
    IN_FLIGHT: "requests in flight",
    "requests_per_day": "requests a day",
    "tokens_per_day": "tokens a day",
    "cost_per_day": "in money a day",
    "requests_per_month": "requests a month",
    "tokens_per_month": "tokens a month",
    "cost_per_month": "in money a month",
}


TOO_MANY: Final = "rate_limit_exceeded"
NO_BUDGET: Final = "insufficient_quota"
AT_LIMIT: Final = frozenset({TOO_MANY, NO_BUDGET})
"""Codes of such errors."""

AGAIN: Final = " Try again "
"""What stands in a message between the reason and the time, which differs each time."""


class LimitError(RouterError):
    """A key, or its team, is at its `limit`, which has this name in router.yaml. Types and codes are OpenAI's."""

    status = 429
    type = "requests"
    anthropic_type = "rate_limit_error"
    code = TOO_MANY

    def __init__(self, message: str, *, limit: str = "", retry_after: int | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.limit = limit
        # What are constants of the other classes, the limit says here.
        if limit.startswith(TOKENS):
            self.type = TOKENS  # type: ignore[misc]
        elif limit.startswith(COST):
            self.type = NO_BUDGET  # type: ignore[misc]
            self.code = NO_BUDGET  # type: ignore[misc]


def error_of(refusal: Refusal) -> LimitError:
    """Say which limit is reached, whose it is, and when the client may go on."""
    limit, seconds = refusal.limit, seconds_of(refusal)
    when = "when one of them has ended" if limit == IN_FLIGHT else f"in {duration(seconds)}"
    return LimitError(
        f"The {refusal.whose} is at its limit of {refusal.most:.12g} {_WORDS[limit]} ({limit}).{AGAIN}{when}.",
        limit=limit,
        retry_after=seconds,
    )
