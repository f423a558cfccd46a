"""One backend's estimate: it adds up the package's parts, and reports to them what attempts show."""

from math import inf
from typing import Final

from router.core.estimate.ask import Ask, Sent
from router.core.estimate.hearing import Hearing
from router.core.estimate.loading import Loading
from router.core.estimate.others import Others
from router.core.estimate.penalty import FAILURE, Penalty
from router.core.estimate.readers import Readers
from router.core.estimate.reading import GAIN, Line, Reading, SlowestReading
from router.core.estimate.slots import Slots
from router.core.load import Load

CROWD: Final = 0.0005
"""Seconds by which each answer under way delays a first token. It is little, but if an engine sends an empty event at
once, nothing else in its first tokens shows its load."""

LATE: Final = 4.0
"""Seconds that are added to the expected time, for each second that the reading of a prompt is late."""

LATE_FACTOR: Final = 3.0
"""Multiple of its usual time from which on an answer's beginning, or its end, is late."""

PROVEN: Final = 16
"""First tokens after a start until a backend counts as warm."""

FULL: Final = 0.9
"""Highest utilisation that the queue's formula gets: at 1 its length would be infinite."""

SILENT: Final = 8
"""Answers without any stream among them, after which we expect no streams."""

COLD: Final = 1.0
"""Seconds of penalty for each prompt beyond those that may wait at a cold backend."""


class Estimate:
    """A backend's speed and its work under way. The ledger is its only writer.

    `parallel` is how many requests the engine is configured to work on at once, if that is known; what it shows counts
    for more. All times are seconds of one clock.
    """

    def __init__(self, parallel: int | None = None) -> None:
        self.prompts = Reading()
        # Attempts whose answers have begun.
        self.begun = 0
        # Attempts whose answers haven't.
        self.readers = Readers()
        self._slots = Slots(parallel)
        # Average seconds from an answer's first token to its end.
        self.hold = 0.0
        # When it last had a slot again for the next prompt, and when it last began or ended an answer.
        self._free = -inf
        self._moved = 0.0
        self._hearing = Hearing()
        # How many prompts may wait at once since its start: it grows as first tokens come.
        self._room = 1.0
        # Whether any first token was a stream's.
        self._streamed = False
        self._penalty = Penalty()
        self._others = Others(parallel)
        # Expected queue length at this utilisation; see `_crowd`.
        self.behind = 0.0
        # Average TTFT in seconds, queue included.
        self.response = 0.0
        # When it last ended an answer, how many it has ended, and how many of them were measured.
        self._ended = -inf
        self._ends = 0
        self._answers = 0
        # Attempts that were late when they were ended, since the last first token.
        self.unheard = 0
        self._load = Loading()

    # What is asked

    @property
    def in_flight(self) -> int:
        """Attempts sent and not yet ended."""
        return len(self.readers.unread) + self.begun

    @property
    def line(self) -> Line:
        """The line that gives the seconds to read a prompt."""
        return self.prompts.line

    @property
    def slowest(self) -> SlowestReading:
        """The slowest that it has read prompts of late."""
        return self.prompts.slowest

    @property
    def measured(self) -> bool:
        """Whether its speed has been measured."""
        return self.prompts.line.samples > 0

    @property
    def load(self) -> Load | None:
        """The load that it published last; None: none."""
        return self._others.load

    @property
    def unloaded(self) -> bool:
        """Whether a peer has yet to load its model: what is sent waits for that."""
        return self._load.unloaded

    @property
    def loading(self) -> bool:
        """Whether a peer is loading its model."""
        return self._load.runs

    def stands(self, now: float) -> float:
        """Give the seconds for which it has neither been sent a request that it reads, nor begun or ended an answer."""
        unread = self.readers.unread
        return now - max(self._moved, unread[0].at if unread else 0.0)

    def cost(self, now: float) -> float:
        """Give the penalty for its errors, in seconds."""
        return self._penalty.seconds(now)

    def reading(self, size: int, cached: int, now: float) -> float:
        """Give the seconds for a prompt of so many bytes once it is its turn; `cached` of them are in the cache."""
        return self.prompts.seconds(size, cached, now)

    def others(self, now: float) -> float:
        """Estimate how many requests are there that this router didn't send."""
        return self._others.count(now)

    def queue(self, now: float) -> float:
        """Give the seconds until it would be a prompt's turn if it were sent here now."""
        line, readers, begun, slots = self.prompts.line, self.readers, self.begun, self._slots.count
        number = len(readers.unread)
        ahead = number * line.base + line.slope * readers.work + CROWD * begun
        if self._load.unloaded:
            # None of them is late: they wait for the load.
            return ahead + self._load.seconds(now)
        if begun >= slots:
            # The next begins when one ends.
            gap, spent = self.hold / slots, now - self._moved
            turn = (number + begun - slots) * gap + max(gap - spent, 0.4 * gap) + max(0.0, spent - LATE_FACTOR * gap)
            ahead = max(ahead, ahead / slots + turn)
        elif number:
            ahead = self._until_read(ahead, number, now)
            if number + begun >= slots:
                ahead = max(ahead, (ahead + (number + begun - slots + 1) * self.hold) / slots)
        if self._hearing.audible and not self._reads():
            ahead += LATE * max(0.0, self._hearing.overdue(now))
        if self._others.any:
            ahead = self._behind_others(ahead, now)
        return ahead + (number - self._room + 1) * COLD if number >= self._room else ahead

    def expected(self, ask: Ask, cached: int, now: float) -> float:
        """Give this request's expected TTFT if it were sent here now; `cached` bytes of it are in the cache."""
        return self.queue(now) + self.prompts.seconds(ask.size, cached, now) + self._penalty.seconds(now)

    # What is told

    def sent(self, ask: Ask, cached: int, now: float) -> Sent:
        """Note that an attempt is sent. The result identifies it in later calls."""
        self._settle(now)
        prompts = self.prompts
        turn, work = now + self.queue(now), prompts.bytes(ask.size, cached)
        due = turn + prompts.seconds(ask.size, cached, now) + self._penalty.seconds(now)
        # Without the fading: an old measurement may still hold, so the attempt isn't late before.
        late = now + LATE_FACTOR * (turn - now + prompts.line.at(work))
        sent = Sent(ask, cached, work, now, due, late)
        prompts.believed(cached)
        self.readers.add(sent, now)
        self._crowd()
        return sent

    def first_token(self, sent: Sent, now: float) -> None:
        """Note that an answer has begun. A second call, or one after the attempt's end, changes nothing."""
        self._settle(now)
        if sent.over or not sent.waits:
            return
        # Those that were sent before and don't stream have begun, too.
        unread = self.readers.unread
        while not unread[0].streams and unread[0] is not sent:
            self._begin(unread[0], now)
        prompts = self.prompts
        self.readers.learn(sent, now)
        # One that has overtaken others was read from its sending on.
        takes = now - (max(sent.turn, self._free) if sent.turn < inf else sent.at)
        let_in = self._slots.began(self.begun + 1, now, let_in=self._ended > max(sent.due, prompts.heard))
        if sent.streams and not self._streamed:
            # The line was of whole answers until now, whose times say nothing of their beginnings.
            self._streamed, prompts.line = True, Line()
        if sent.streams or not self._streamed:
            self._answers += 1
            self.response += (now - sent.at - self.response) / min(self._answers, 8)
            if not let_in and (sent.streams or self._answers > SILENT):
                prompts.measured(sent, takes)
        self._begin(sent, now)
        prompts.heard, self.unheard = now, 0
        self._room = self._room + 1 if self._room < PROVEN else inf
        self._penalty.halve(now)

    def spoke(self, now: float) -> None:
        """Note that answers under way have brought content. It is called for each `HEAR` seconds in which they did."""
        self._hearing.hear(now, expected=not self._reads())

    def muted(self, sent: Sent, now: float, *, muted: bool) -> None:
        """Note that an answer isn't read on because its client is slow, or that it is read on again."""
        if sent.audible is muted and not sent.waits and not sent.over and sent.streams:
            self._hearing.change(sent, now, audible=not muted)

    def first_content(self, size: int, seconds: float) -> None:
        """Note how long a stream's first content took, the queue included, for a request of `size` bytes."""
        self.prompts.slowest.note(size, seconds)

    def ended(self, sent: Sent, now: float) -> None:
        """Note that an attempt was answered whole."""
        if not sent.streams:
            self.prompts.slowest.whole(sent.size, now - sent.at)
        self.first_token(sent, now)
        self.left(sent, now)

    def left(self, sent: Sent, now: float) -> None:
        """Note that an attempt is over, without a meaning for the estimate. A second call changes nothing."""
        if sent.over:
            return
        self._settle(now)
        sent.over = True
        if sent.waits:
            self.readers.drop(sent, sent.turn)
            self._crowd()
            return
        self._ends += 1
        self.hold += max(1 / self._ends, GAIN) * (now - sent.begun - self.hold)
        if self.begun >= self._slots.count:
            self._free = now
        self.begun -= 1
        self._hearing.change(sent, now, audible=False)
        self._crowd()
        self._ended = self._moved = now

    def lost(self, sent: Sent, now: float) -> None:
        """Note that an attempt was abandoned: its client left, or another backend was sooner.

        If it was late, the time it took is charged: a backend that hangs shows nothing else. A second call changes
        nothing.
        """
        if sent.over:
            return
        self._settle(now)
        if sent.waits and now > sent.late:
            self.unheard += 1
            self._penalty.charge(sent.at, now - sent.at, now)
        self.left(sent, now)

    def failed(self, sent: Sent, now: float) -> None:
        """Note that an attempt failed: refused, reset, 503, timed out, stalled."""
        if sent.over:
            return
        self._settle(now)
        sent.over = True
        lost = FAILURE
        if sent.waits:
            self.readers.drop(sent, sent.turn)
            lost += now - sent.at
        else:
            self.begun -= 1
            self._hearing.change(sent, now, audible=False)
            self._moved = now
        self._crowd()
        self._penalty.charge(sent.at, lost, now)

    def disproved(self, sent: Sent, now: float) -> None:
        """Note that another backend has answered what this one refused: a fast error was no speed."""
        self._penalty.charge(sent.at, FAILURE, now)

    def loads(self, seconds: float, now: float, *, runs: bool) -> None:
        """Note that its model isn't loaded: what is sent waits for that, about so many seconds; `runs`: from now on."""
        self._load.told(seconds, now, runs=runs)

    def loaded(self, now: float) -> None:
        """Note that its model is loaded: it is as after a start."""
        self._load.done()
        self.restarted(now)

    def restarted(self, now: float) -> None:
        """Note that the backend has just started or come back. Its speed may be as before, but it starts slowly.

        Attempts in flight stay counted until each one ends.
        """
        self._room, self.unheard = 1.0, 0
        self._penalty.clear()
        self._others.clear()
        self._free = max(self._free, now)

    def published(self, load: Load | None, ours: float, now: float) -> None:
        """Note the published load, of which at most `ours` came from here; None: it publishes none."""
        self._others.published(load, ours, len(self.readers.unread), now)

    # How it is kept

    def _reads(self) -> bool:
        """Tell whether it may be reading a prompt: that is a reason for answers under way to pause."""
        return len(self.readers.unread) > 0 and self.begun < self._slots.count

    def _until_read(self, ahead: float, number: int, now: float) -> float:
        """Give the seconds until there is a reader for the next prompt; to read all of the `number` takes `ahead`."""
        prompts, readers = self.prompts, self.readers
        first, count = readers.unread[0], readers.count
        takes, spent = prompts.line.at(first.work), now - max(first.turn, self._free)
        if self._streamed and not first.streams:
            # It may have been read already: an answer in one piece doesn't show that.
            spent = max(min(takes, spent), spent - 2 * self.hold)
        ahead += max(takes - spent, takes / 4) - takes
        if count > 1:
            ahead = ahead * (number - count + 1) / (number * count) if number >= count else CROWD * self.begun
        late, doubt = spent - takes, prompts.doubt
        if late <= 0:
            return ahead
        if not doubt:
            return ahead + LATE * late
        whole = prompts.whole(first.size)
        left = max(0.0, whole - spent) + LATE * max(0.0, spent - max(takes, whole))
        return ahead + doubt * left + (1 - doubt) * LATE * late

    def _crowd(self) -> None:
        """Update the expected queue length at this utilisation u: u²/(1 - u), as of an M/M/1 queue."""
        busy = min(FULL, self.in_flight / self._slots.count)
        self.behind = busy * busy / (1 - busy)

    def _behind_others(self, ahead: float, now: float) -> float:
        """Add the requests of others to the seconds that are ahead in the queue."""
        others, full = self._others.count(now), self._others.full
        ahead += self._others.reading(self.prompts.line.usual(), now) + CROWD * others
        over = self.in_flight + others - full + 1
        return max(ahead, over * self.hold / full) if over > 0 else ahead

    def _begin(self, sent: Sent, at: float) -> None:
        self.readers.begun(sent, at)
        sent.begun, sent.waits = at, False
        self._moved = max(self._moved, at)
        self.begun += 1
        self._hearing.change(sent, at, audible=sent.streams)

    def _settle(self, now: float) -> None:
        """Assume that attempts without a visible first token have begun when they were due, in turn and with a slot."""
        unread = self.readers.unread
        while self._streamed and unread and self.begun < self._slots.count:
            first = unread[0]
            if first.streams or first.due > now:
                break
            self._begin(first, first.due)
