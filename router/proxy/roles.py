"""What the plane, a queued request and a second attempt know of an exchange, and the plane of a queued request.

Base classes, not Protocols: compiled, their methods are called natively. With these each file of the data plane can
import what it needs, and none has to import another that imports it.
"""

from typing import TYPE_CHECKING

from router.core.catalog import Backend, Candidate, Way
from router.core.errors import RouterError
from router.core.estimate.ask import Ask, Sent
from router.core.exchange import Failure
from router.core.stall import Silence
from router.proxy.pool import Pool
from router.proxy.requests import Request
from router.proxy.upstream import Connection, Receiver

if TYPE_CHECKING:
    import asyncio


class Queued:
    """A request that waits for a backend with room; see proxy.waiting."""

    def __init__(self, exchange: "UnderWay", way: Way) -> None:
        self.exchange = exchange
        self.request = exchange.request
        self.size = exchange.ask.size  # bytes that it takes up while it waits
        self.way = way

    @property
    def queue(self) -> str:
        """The queue that it waits in; empty: none any more."""
        raise NotImplementedError

    def candidate_at(self, backend: Backend) -> Candidate | None:
        """Give the name by which a backend knows what is asked for, if it may serve it."""
        raise NotImplementedError

    def go(self, candidate: Candidate) -> None:
        """Wait no longer: this backend has room."""
        raise NotImplementedError

    def look(self, now: float) -> None:
        """Wait no longer, if there is nobody left who could come to serve it."""
        raise NotImplementedError

    def due(self, now: float) -> bool:
        """Tell whether the client should hear of its place in the queue."""
        raise NotImplementedError

    def tell(self, ahead: int, now: float) -> None:
        """Tell the client how many are before it."""
        raise NotImplementedError


class UnderWay:
    """An exchange; see proxy.relay."""

    def __init__(self, request: Request, ask: Ask) -> None:
        self.request = request
        self.ask = ask  # what is known of it by whoever sends it

    # To the plane

    @property
    def queued(self) -> Queued | None:
        """Itself as it waits, or has waited, in the queue; None: it never had to."""
        raise NotImplementedError

    @property
    def backend(self) -> Backend | None:
        """Where the attempt under way is."""
        raise NotImplementedError

    def silence(self, now: float) -> Silence | None:
        """Tell how long the attempt under way has had no content; None if there is none, or the client holds it up."""
        raise NotImplementedError

    def look(self, now: float) -> None:
        """Give up on an engine that has been silent for too long, or on a client that takes nothing."""
        raise NotImplementedError

    def leave(self, now: float) -> None:
        """Go to another backend that has room while nothing has come of the answer."""
        raise NotImplementedError

    def lose_at(self, backend: Backend) -> None:
        """End the second attempt if it is at this backend, of which nothing more is hoped."""
        raise NotImplementedError

    def break_off(self, error: RouterError, outcome: str) -> None:
        """Stop at once, and tell the client why: as its answer, or behind what it got of one."""
        raise NotImplementedError

    def go_wrong(self, error: Exception) -> None:
        """Answer a request that can't be sent on, or that the router makes a mistake with."""
        raise NotImplementedError

    # To a queued request

    def go(self, way: Way, candidate: Candidate) -> None:
        """Send the request there: it has waited for room."""
        raise NotImplementedError

    # To a second attempt

    def second(self, now: float) -> Candidate | None:
        """Choose who else could be asked."""
        raise NotImplementedError

    def send(self, connection: Connection, pool: Pool, candidate: Candidate, receiver: Receiver) -> None:
        """Write the request as this backend is to have it; the answer goes to the receiver."""
        raise NotImplementedError

    def connected(self, connecting: "asyncio.Task[Connection]", pool: Pool) -> None:
        """Send the request on the connection that was made for it."""
        raise NotImplementedError

    def blame(self, failure: Failure, backend: Backend, sent: Sent | None) -> None:
        """Note that an attempt failed."""
        raise NotImplementedError

    def go_alone(self) -> None:
        """End the second attempt, and pass on what was held back for its sake."""
        raise NotImplementedError

    def take_over(self) -> None:
        """Go on with the second attempt, and end the first."""
        raise NotImplementedError

    # What the engine's side tells (upstream.Receiver)

    def on_end(self) -> None:
        """Finish, if the answer is whole."""
        raise NotImplementedError

    def on_failure(self, failure: Failure, detail: str) -> None:
        """Try again while nothing has reached the client; else tell it that its answer broke off."""
        raise NotImplementedError
