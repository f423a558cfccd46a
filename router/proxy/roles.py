"""What the plane, a queued request and a hedge know of an exchange, and the plane of a queued request.

Base classes, not Protocols: compiled, their methods are called natively. With these each file of the data plane can
import what it needs, and none has to import another that imports it.
"""

from typing import TYPE_CHECKING

from router.core.apis import CHAT
from router.core.catalog import Backend, Candidate, Way
from router.core.errors import RouterError
from router.core.estimate.ask import Ask
from router.core.prompts import choices_in, text_size, uses_tokens
from router.core.record import TAIL
from router.core.retry import Failure
from router.core.stall import Silence
from router.core.timeline import Try, Wait
from router.proxy.answer import Answer
from router.proxy.attempt import Owner
from router.proxy.charging import generated, without_theirs
from router.proxy.heads import ResponseHead
from router.proxy.requests import Request

if TYPE_CHECKING:
    from router.core.turns import Ticket
    from router.proxy.attempt import Attempt
    from router.proxy.sink import Sink


class Queued:
    """A request that waits for a backend with room; see proxy.waiting.

    `ticket` is its place in the queue; None: it waits no more. `waited` are the seconds that it has waited before that,
    and `uncounted` those of them in which it waited for a model to be loaded, or a machine to wake; `waits` are these
    times, each. While memory knows of it, `registered` is the backend that is kept in memory for it, or loaded;
    `refused` are those that can't be loaded. `waking` is the backend whose machine is woken for it. It doesn't go to
    those that are `unfit`: they have failed it, or their context is too short.
    """

    def __init__(self, exchange: "UnderWay", way: Way) -> None:
        self.exchange = exchange
        self.ticket: Ticket[Queued] | None = None
        self.waited = 0.0
        self.uncounted = 0.0
        self.waits: tuple[Wait, ...] = ()
        self.registered: Backend | None = None
        self.refused: tuple[Backend, ...] = ()
        self.waking: Backend | None = None
        self.unfit: tuple[Backend, ...] = ()
        self.request = exchange.request
        # Bytes that it takes up while it waits.
        self.size = exchange.ask.size
        self.way = way

    @property
    def queue(self) -> str:
        """The queue that it waits in; empty: none any more."""
        return "" if self.ticket is None else self.ticket.model

    def way_now(self) -> Way:
        """Tell what the request's name means now."""
        raise NotImplementedError

    def candidate_at(self, backend: Backend) -> Candidate | None:
        """Give the name by which a backend knows what is asked for, if it may serve it."""
        raise NotImplementedError

    def go(self, candidate: Candidate) -> None:
        """Stop waiting: this backend has room."""
        raise NotImplementedError

    def look(self, now: float) -> None:
        """Stop waiting, if no backend is left that could come to serve it."""
        raise NotImplementedError

    def due(self, now: float) -> bool:
        """Whether the client should be told its place in the queue."""
        raise NotImplementedError

    def tell(self, ahead: int, now: float) -> None:
        """Tell the client how many are before it."""
        raise NotImplementedError

    def told(self, now: float) -> dict[str, object] | None:
        """Describe the load, or the machine, that it waits for; None: it waits for neither."""
        raise NotImplementedError


class UnderWay(Owner):
    """An exchange; see proxy.exchange.

    `ask` is what balancing knows of the request, `began` when it came. `paused`: its client is slow.
    """

    # When its client was last seen to send its body still, or a peer to load its model; 0: neither was.
    _whole_at = 0.0

    def __init__(self, request: Request, ask: Ask, sink: "Sink", began: float) -> None:
        self.request = request
        self.ask = ask
        self.began = began
        self.paused = False
        self.answer = Answer(request, sink)

    # What its key is charged, if that has limits (proxy.charging)

    def charge(self, body: bytes) -> None:
        """Charge its prompt. Raises LimitError."""
        request, head = self.request, self.request.head
        payer = request.caller.payer
        if payer is None:
            return
        text, learns = 0, False
        if head.boundary:
            # A form's files are no text, and its few words nobody counts.
            text = 1
        elif uses_tokens(head.path):
            text = text_size(body, request.texts)
            # Where there is more than text, its count teaches nothing.
            learns = text == request.size(body)
        request.charge = payer.begin(request.model, text, self.began, learns=learns)
        if not head.boundary:
            request.choices = choices_in(body)

    def note_choices(self, head: ResponseHead, length: int, body: bytes) -> None:
        """Note how many choices were asked for, where neither the counts nor the kept end of the answer tell it."""
        if length > TAIL and head.counts_one and self.request.head.path == CHAT:
            self.request.choices = choices_in(body)

    def charge_on(self, now: float) -> None:
        """Charge what has been generated by now."""
        charge = self.request.charge
        if charge is not None:
            charge.generated(generated(self.request.head.path, self.answer.passed), now)

    def settle_up(self, now: float) -> None:
        """Charge all that has been generated, and free its place in flight."""
        charge = self.request.charge
        if charge is not None:
            self.charge_on(now)
            charge.end()

    def lines(self, now: float) -> bytes:
        """The lines of its answer's head that are for its caller."""
        return self.request.caller.lines(self.request.head.path, now)

    def ours(self, head: ResponseHead, *, peers: bool) -> ResponseHead:
        """The head of a backend's answer, without what it says of its own limits, where the router says of others.

        A peer's are always left out: they are those of this router's key there, which all clients use.
        """
        return without_theirs(head) if peers or self.request.caller.payer is not None else head

    @property
    def uploads(self) -> bool:
        """Whether its client still sends its body."""
        texts = self.request.texts
        return texts is not None and texts.missing > 0

    def owed_since(self, attempt: "Attempt") -> float:
        """Tell since when an attempt's backend has had all of the request."""
        return max(attempt.sent.at, self._whole_at)

    def on_comment(self, attempt: "Attempt", words: bytes) -> None:
        """Tell the client what a peer says while it loads its model: it has nothing of an answer by that."""
        if self.request.http11 and self.answer.first_byte_at is None:
            lines = self.lines(attempt.sent.at) + (b"" if self.request.keep_alive else b"connection: close\r\n")
            self.answer.tell_place(words, lines)

    # To the plane

    @property
    def queued(self) -> Queued | None:
        """Itself as it waits, or has waited, in the queue; None: it never had to."""
        raise NotImplementedError

    @property
    def backend(self) -> Backend | None:
        """Where the attempt under way is."""
        raise NotImplementedError

    @property
    def tries(self) -> tuple[Try, ...]:
        """Its attempts so far, those under way last."""
        raise NotImplementedError

    def silence(self, now: float) -> Silence | None:
        """For how long the attempt under way has had no content; None: there is none, or the client holds it up."""
        raise NotImplementedError

    def look(self, now: float) -> None:
        """Give up on an engine that has been silent for too long, or on a client that takes nothing."""
        raise NotImplementedError

    def leave(self, now: float, why: str = "") -> None:
        """Go to another backend that has room, while nothing of the answer has come: it is silent, or `why`.

        What can't be reached isn't burdened by that, so then the retry budget doesn't pay for it.
        """
        raise NotImplementedError

    def lose_at(self, backend: Backend) -> None:
        """End the second attempt if it is at this backend, which is out."""
        raise NotImplementedError

    def fail(self, failure: Failure, detail: str) -> None:
        """End the attempt under way: try again, or tell the client."""
        raise NotImplementedError

    def break_off(self, error: RouterError, outcome: str) -> None:
        """Stop at once, and tell the client why: as its answer, or behind what it got of one."""
        raise NotImplementedError

    def go_wrong(self, error: Exception) -> None:
        """Answer a request that can't be sent on, or that met a bug in the router."""
        raise NotImplementedError

    # To a queued request

    def go(self, way: Way, candidate: Candidate) -> None:
        """Send the request there: it has waited for room."""
        raise NotImplementedError

    # To its attempts

    def wait_again(self, way: Way, unfit: tuple[Backend, ...]) -> None:
        """Wait for an engine that is about to be there, or for a model to be loaded; at none that is `unfit`."""
        raise NotImplementedError
