"""What the watch over backends knows of machines that sleep and can be woken. `router.cluster.wake` wakes them."""

import errno
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import aiohttp

from launchers.abilities import Abilities
from router.core.catalog import Backend

_NOBODY: Final = frozenset({errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN, errno.ETIMEDOUT})


class Wake(NamedTuple):
    """How a machine is woken: its hardware `address`, and the seconds that it may take."""

    address: str
    timeout: float


class Sleepers:
    """Hears of backends whose machines may sleep. This one does nothing; several backends may be on one machine."""

    def watch(self, backend: Backend, wake: Wake | None) -> None:
        """Wake a backend's machine like this from now on, if it is asleep and wanted; None: it can't be woken."""

    def forget(self, backend: Backend) -> None:
        """Forget a backend."""

    def unreached(self, backend: Backend) -> bool:  # noqa: ARG002  (an interface)
        """Note that a probe met nobody at a backend's address; tell whether that is because its machine sleeps."""
        return False

    def learned(self, backend: Backend, models: Mapping[str, Abilities]) -> None:
        """Note which models a backend says that it serves, by its own names."""

    def remember(self, key: str, told: str) -> None:
        """Keep what the machine at a URL, its `key`, says of its models, for the next start of this router."""

    def recall(self, key: str, use: Callable[[str], None]) -> None:
        """Have what was kept used soon, if anything was."""

    def want(self, backend: Backend) -> bool:  # noqa: ARG002  (an interface)
        """Have a backend's machine woken, as a request wants it and doesn't reach it; tell whether it is woken."""
        return False


def met_nobody(error: Exception) -> bool:
    """Tell whether an error of a connection shows that nobody is there: a machine that refuses it is awake."""
    number = error.errno if isinstance(error, OSError) else errno.ECONNRESET
    if number is not None:
        return number in _NOBODY
    if isinstance(error, TimeoutError):
        # Else a server accepted it, and was silent.
        return isinstance(error, aiohttp.ConnectionTimeoutError)
    # A name that isn't found, or several errors together.
    return "refused" not in str(error).lower()
