"""How many retries recent traffic pays for, so that failures don't double the load. Pure.

Retries of requests that no working engine read are free: `core.retry` has the list.

It is a token bucket, as in Finagle and linkerd: each request adds `share` of a token, and each retry takes a whole one.
It never holds more than `most`, so a quiet, healthy day doesn't pay for a storm. Up to `reserve` it fills by itself, at
`per_second`, so with little traffic a retry now and then is always affordable.

So n requests in a row, within s seconds, cause at most `most + share * n + per_second * s` retries.
"""


class RetryBudget:
    """The tokens that are left. `share` is in retries for each request; `reserve` and `most` are in retries."""

    def __init__(
        self, share: float = 0.2, *, reserve: float = 10.0, per_second: float = 1.0, most: float = 100.0
    ) -> None:
        self.share = share
        self._reserve = reserve
        self._per_second = per_second
        self._most = max(most, reserve)
        self._tokens = reserve
        # When `withdraw` was last called, in seconds of the caller's clock.
        self._seen = 0.0

    def deposit(self) -> None:
        """Count a request, once, whatever its attempts."""
        self._tokens = min(self._most, self._tokens + self.share)

    def withdraw(self, now: float) -> bool:
        """Pay for a retry; False if it can't be afforded. `now` is in seconds, and never goes back."""
        if self._tokens < self._reserve:
            self._tokens = min(self._reserve, self._tokens + (now - self._seen) * self._per_second)
        self._seen = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def refund(self) -> None:
        """Give a retry back: it has shown that the first backend is at fault. That backend's health bounds these."""
        self._tokens = min(self._most, self._tokens + 1)

    @property
    def tokens(self) -> float:
        """How many retries can be paid for, without the tokens that time has added since the last."""
        return self._tokens
