"""How much a key may ask, or a team's keys together. Pure."""

from typing import Final


class Limits:
    """All limits of one key or one team; None: unbounded. Money is in the unit of the models' prices."""

    def __init__(
        self,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        max_in_flight: int | None = None,
        requests_per_day: int | None = None,
        tokens_per_day: int | None = None,
        requests_per_month: int | None = None,
        tokens_per_month: int | None = None,
        cost_per_day: float | None = None,
        cost_per_month: float | None = None,
    ) -> None:
        self.requests_per_minute: Final = requests_per_minute
        self.tokens_per_minute: Final = tokens_per_minute
        self.max_in_flight: Final = max_in_flight
        self.requests_per_day: Final = requests_per_day
        self.tokens_per_day: Final = tokens_per_day
        self.requests_per_month: Final = requests_per_month
        self.tokens_per_month: Final = tokens_per_month
        self.cost_per_day: Final = cost_per_day
        self.cost_per_month: Final = cost_per_month


UNLIMITED: Final = Limits()
