"""How many retries the traffic of late pays for, so that a bad day doesn't double the load. Pure.

What no engine has read, or one that is out, is no load, and isn't paid for (`exchange.FREE`).

A token bucket, as in Finagle and linkerd: each request pays in `share` of a token, each retry takes out a whole one. It
never holds more than `most`, so that a quiet, healthy day doesn't pay for a storm. Up to `reserve` it fills by itself,
at `per_second`: where there is little traffic, a retry now and then is always affordable.

So of any n requests in a row, within s seconds, no more retries come than `most + share * n + per_second * s`.
"""


class RetryBudget:
    """The tokens that are left. `share` is of a request; `reserve` and `most` are in retries."""

    def __init__(
        self, share: float = 0.2, *, reserve: float = 10.0, per_second: float = 1.0, most: float = 100.0
    ) -> None:
        self.share = share
        self._reserve = reserve
        self._per_second = per_second
        self._most = max(most, reserve)
        self._tokens = reserve
        self._seen = 0.0  # when it was last asked, by the caller's clock

    def deposit(self) -> None:
        """Take note of a request, once, whatever its attempts."""
        self._tokens = min(self._most, self._tokens + self.share)

    def withdraw(self, now: float) -> bool:
        """Pay for a retry; False where it can't be afforded. `now` is in seconds, and never goes back."""
        if self._tokens < self._reserve:
            self._tokens = min(self._reserve, self._tokens + (now - self._seen) * self._per_second)
        self._seen = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def refund(self) -> None:
        """Give a retry back: it has shown that the backend before it is at fault, and its health bounds that."""
        self._tokens = min(self._most, self._tokens + 1)

    @property
    def tokens(self) -> float:
        """How many retries could be paid for now, but for what time has added since the last."""
        return self._tokens
