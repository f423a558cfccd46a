"""What can go wrong with a hub."""


class HubError(Exception):
    """Nothing came of it; the message says why, and what to do. `may_pass`: the same may succeed later."""

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


class BusyError(HubError):
    """The hub has no answer now; it is asked again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, may_pass=True)


class RefusedError(HubError):
    """The host that has a file refuses it: one more try, at a new address, may help; waiting doesn't."""
