"""The connections to all backends: a pool for each that has an address, and the keys that backends want to see."""

from math import inf

from router.core.admission import Cap
from router.core.catalog import Backend
from router.proxy.dialling import Address
from router.proxy.pool import MAX_IDLE, Pool
from router.proxy.resolve import Names


class Connections:
    """The pools, by backend. `names` resolves host names; `connect_timeout` is in seconds.

    `spare` is how many connections may be open to all backends together before requests need them.
    """

    def __init__(self, names: Names, connect_timeout: float) -> None:
        self.names = names
        self.connect_timeout = connect_timeout
        self.spare = 1024
        self._pools: dict[Backend, Pool] = {}
        self._keys: dict[Backend, str] = {}

    def set_key(self, backend: Backend, api_key: str) -> None:
        """Set the key to show to a backend, for the next address that is opened."""
        self._keys[backend] = api_key

    def open(self, backend: Backend, address: Address, *, ahead: int = 0) -> None:
        """Connect to a backend at this address from now on.

        `ahead` is how many connections to keep open there before requests need them; see `warm`.
        """
        self.close(backend)
        pool = Pool(address, self.connect_timeout, self.names, self.api_key(backend))
        pool.most_idle = _most_idle(backend.cap)
        pool.ahead = ahead
        self._pools[backend] = pool

    def close(self, backend: Backend) -> None:
        """Forget a backend's address. Idle connections are closed now, busy ones when their answer has ended."""
        pool = self._pools.pop(backend, None)
        if pool is not None:
            pool.close()

    def forget(self, backend: Backend) -> None:
        """Forget a backend's address and its key."""
        self.close(backend)
        self._keys.pop(backend, None)

    def close_all(self) -> None:
        """Close the connections to all backends."""
        for pool in self._pools.values():
            pool.close()

    def pool(self, backend: Backend) -> Pool | None:
        """Give the pool of a backend; None while it has no address."""
        return self._pools.get(backend)

    def address(self, backend: Backend) -> Address | None:
        """Give the address of a backend; None while it has none."""
        pool = self._pools.get(backend)
        return None if pool is None else pool.address

    def api_key(self, backend: Backend) -> str | None:
        """Give the key that a backend wants to see; None: none."""
        return self._keys.get(backend)

    def shows_key(self, backend: Backend) -> bool:
        """Whether requests there have a key of the backend's, in the place of their clients'."""
        address = self.address(backend)
        return self.api_key(backend) is not None or (address is not None and address.shows_key)

    def bound(self, backend: Backend, cap: Cap) -> None:
        """Keep as many idle connections to a backend as its new cap has requests."""
        pool = self._pools.get(backend)
        if pool is not None:
            pool.most_idle = _most_idle(cap)

    def warm(self, backend: Backend) -> None:
        """Open connections ahead of need, if the backend's pool asks for that, within what is `spare`.

        The bound leaves file descriptors to clients: their connections matter more than these.
        """
        pool = self._pools.get(backend)
        if pool is not None and pool.ahead:
            pool.warm(pool.open + self.spare - sum(each.open for each in self._pools.values()))


def _most_idle(cap: Cap) -> int:
    """Tell how many idle connections to keep to a backend: as many as it may have requests in flight."""
    return MAX_IDLE if cap.requests == inf else int(cap.requests)
