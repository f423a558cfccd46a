"""One backend's estimate: the sum of its parts, and what attempts tell them."""

from math import inf
from typing import Final

from router.core.estimate.ask import Ask, Sent
from router.core.estimate.hearing import Hearing
from router.core.estimate.others import Others
from router.core.estimate.penalty import FAILURE, Penalty
from router.core.estimate.reading import GAIN, Line, Reading, SlowestReading
from router.core.estimate.slots import Slots
from router.core.load import Load

CROWD: Final = 0.0005
"""Seconds by which each answer under way is taken to delay a first token. Little, but where an engine sends an empty
event at once, first tokens say nothing else of its load."""

LATE: Final = 4.0
"""Seconds that are expected to be missing, for each that a prompt's reading is late."""

LATE_FACTOR: Final = 3.0
"""Times that an answer's beginning or its end usually takes, from which on it is late."""

PROVEN: Final = 16
"""First tokens after a start, from which on a backend is no longer taken to be cold."""

FULL: Final = 0.9
"""Share of its slots from which on a backend isn't taken to be any busier: what it has grows without end."""

SILENT: Final = 8
"""Answers, none of which streamed, from which on it is believed that none will."""

COLD: Final = 1.0
"""Seconds that each prompt costs beyond those that a backend may have waiting while it is cold."""


class Estimate:
    """What is known of a backend's speed and of its work. The ledger tells it what happens, and is its only writer.

    `parallel` is how many requests the engine is said to work on at once, if anything is; what is seen counts for more.
    All times are seconds of one clock.
    """

    def __init__(self, parallel: int | None = None) -> None:
        self.prompts = Reading()
        self.begun = 0  # attempts that have begun to be answered
        self._waiting: list[Sent] = []  # those that haven't, in the order in which they were sent
        self._slots = Slots(parallel)
        self._work = 0.0  # bytes to be read for those that wait
        self.hold = 0.0  # seconds from a first token to the answer's end
        self._free = -inf  # when it last got free for the next
        self._moved = 0.0  # when it last began or ended an answer
        self._hearing = Hearing()
        self._room = 1.0  # how many it has shown to do at once since its start
        self._streamed = False  # whether one was an answer's that streams
        self._penalty = Penalty()
        self._others = Others(parallel)
        self.behind = 0.0  # how many come to wait, on average, where as much of a backend is busy as of this one
        self.response = 0.0  # seconds to the first token, queue and all
        self._ended = -inf  # when it last ended one
        self._ends = 0
        self._answers = 0  # that told something
        self.unheard = 0  # attempts that were late when they were let go of, since the last first token

    # What is asked

    @property
    def in_flight(self) -> int:
        """Attempts sent and not yet ended."""
        return len(self._waiting) + self.begun

    @property
    def line(self) -> Line:
        """The line over bytes that its prompts' reading is fitted to."""
        return self.prompts.line

    @property
    def slowest(self) -> SlowestReading:
        """The slowest that it has read prompts of late."""
        return self.prompts.slowest

    @property
    def measured(self) -> bool:
        """Whether anything is known of its speed."""
        return self.prompts.line.samples > 0

    @property
    def load(self) -> Load | None:
        """What it published last; None: nothing."""
        return self._others.load

    def cost(self, now: float) -> float:
        """Seconds that its errors cost."""
        return self._penalty.seconds(now)

    def reading(self, size: int, cached: int, now: float) -> float:
        """Seconds for a prompt of so many bytes once it is its turn; `cached` bytes of it are in the cache."""
        return self.prompts.seconds(size, cached, now)

    def others(self, now: float) -> float:
        """Requests that are taken to be there, and were not sent from here."""
        return self._others.count(now)

    def queue(self, now: float) -> float:
        """Seconds until it would be a prompt's turn, were it sent here now."""
        line, number, begun, slots = self.prompts.line, len(self._waiting), self.begun, self._slots.count
        ahead = number * line.base + line.slope * self._work + CROWD * begun
        if begun >= slots:  # the next begins when one ends
            gap, spent = self.hold / slots, now - self._moved
            turn = (number + begun - slots) * gap + max(gap - spent, 0.4 * gap) + max(0.0, spent - LATE_FACTOR * gap)
            ahead = max(ahead, ahead / slots + turn)
        elif number:  # the first of them is being read
            first = self._waiting[0]
            takes, spent = line.at(first.work), now - max(first.at, self._free)
            if self._streamed and not first.streams:  # that it has been read isn't seen
                spent = max(min(takes, spent), spent - 2 * self.hold)
            ahead += max(takes - spent, takes / 4) - takes + LATE * max(0.0, spent - takes)
            if number + begun >= slots:
                ahead = max(ahead, (ahead + (number + begun - slots + 1) * self.hold) / slots)
        if self._hearing.audible and not self._reads():
            ahead += LATE * max(0.0, self._hearing.overdue(now))
        if self._others.any:
            ahead = self._behind_others(ahead, now)
        return ahead + (number - self._room + 1) * COLD if number >= self._room else ahead

    def expected(self, ask: Ask, cached: int, now: float) -> float:
        """Seconds until this request's first token, were it sent here now; `cached` bytes of it are in the cache."""
        return self.queue(now) + self.prompts.seconds(ask.size, cached, now) + self._penalty.seconds(now)

    # What is told

    def sent(self, ask: Ask, cached: int, now: float) -> Sent:
        """Note that an attempt goes out. What becomes of it is told with what this gives."""
        self._settle(now)
        prompts = self.prompts
        turn, work = now + self.queue(now), prompts.bytes(ask.size, cached)
        due = turn + prompts.seconds(ask.size, cached, now) + self._penalty.seconds(now)
        # What fades is no longer known, but may be as it was.
        late = now + LATE_FACTOR * (turn - now + prompts.line.at(work))
        sent = Sent(ask, cached, work, now, due, late)
        self._waiting.append(sent)
        self._work += sent.work
        self._crowd()
        return sent

    def first_token(self, sent: Sent, now: float) -> None:
        """Note that an answer has begun. Told again, or too late, it says nothing."""
        self._settle(now)
        if sent.over or not sent.waits:
            return
        while not self._waiting[0].streams and self._waiting[0] is not sent:  # they were sent before
            self._begin(self._waiting[0], now)
        prompts = self.prompts
        takes = now - max(sent.at, self._free)
        let_in = self._slots.began(self.begun + 1, now, let_in=self._ended > max(sent.due, prompts.heard))
        if sent.streams and not self._streamed:  # what whole answers took says nothing of their beginnings
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
        """Note that answers under way have brought something. Told each `HEAR` seconds in which they did."""
        self._hearing.hear(now, expected=not self._reads())

    def muted(self, sent: Sent, now: float, *, muted: bool) -> None:
        """Note that an answer isn't read on for now, because its client is slower; or that it is again."""
        if sent.audible is muted and not sent.waits and not sent.over and sent.streams:
            self._hearing.change(sent, now, audible=not muted)

    def first_content(self, size: int, seconds: float) -> None:
        """Note how long a stream's first content took, the queue included, for a request of `size` bytes."""
        self.prompts.slowest.note(size, seconds)

    def ended(self, sent: Sent, now: float) -> None:
        """Note that it was answered whole."""
        if not sent.streams:
            self.prompts.slowest.whole(sent.size, now - sent.at)
        self.first_token(sent, now)
        self.left(sent, now)

    def left(self, sent: Sent, now: float) -> None:
        """Note that it is over, and that this says nothing. Told again, it changes nothing."""
        if sent.over:
            return
        self._settle(now)
        sent.over = True
        if sent.waits:
            self._forget(sent)
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
        """Note that it was let go of: its client has left, or another backend was sooner. Told again, it says nothing.

        One that is late took at least so long, and this costs: of a backend that hangs, nothing else is ever heard.
        """
        if sent.over:
            return
        self._settle(now)
        if sent.waits and now > sent.late:
            self.unheard += 1
            self._penalty.charge(sent.at, now - sent.at, now)
        self.left(sent, now)

    def failed(self, sent: Sent, now: float) -> None:
        """Note that it failed: refused, reset, 503, timed out, stalled."""
        if sent.over:
            return
        self._settle(now)
        sent.over = True
        lost = FAILURE
        if sent.waits:
            self._forget(sent)
            lost += now - sent.at
        else:
            self.begun -= 1
            self._hearing.change(sent, now, audible=False)
            self._moved = now
        self._crowd()
        self._penalty.charge(sent.at, lost, now)

    def disproved(self, sent: Sent, now: float) -> None:
        """Note that another backend has answered what this one refused: its haste was no speed."""
        self._penalty.charge(sent.at, FAILURE, now)

    def restarted(self, now: float) -> None:
        """Note that the backend has just started, or has come back: its speed may be as it was, but it starts slowly.

        What is in flight stays counted: each attempt's end is told.
        """
        self._room, self.unheard = 1.0, 0
        self._penalty.clear()
        self._others.clear()
        self._free = max(self._free, now)

    def published(self, load: Load | None, ours: float, now: float) -> None:
        """Note what it says that it has, of which `ours` at most came from here; None: it says nothing."""
        self._others.published(load, ours, len(self._waiting), now)

    # How it is kept

    def _reads(self) -> bool:
        """Tell whether a prompt may be being read: a reason for answers under way to bring nothing for a while."""
        return len(self._waiting) > 0 and self.begun < self._slots.count

    def _crowd(self) -> None:
        """Expected queue length at this utilisation: u²/(1 - u) of a queue with one server (M/M/1), busy a share u."""
        busy = min(FULL, self.in_flight / self._slots.count)
        self.behind = busy * busy / (1 - busy)

    def _behind_others(self, ahead: float, now: float) -> float:
        """Add what others have there to what is ahead in the queue."""
        others, full = self._others.count(now), self._others.full
        ahead += self._others.reading(self.prompts.line.usual(), now) + CROWD * others
        over = self.in_flight + others - full + 1
        return max(ahead, over * self.hold / full) if over > 0 else ahead

    def _forget(self, sent: Sent) -> None:
        waiting = self._waiting
        waiting.remove(sent)
        self._work = self._work - sent.work if waiting else 0.0

    def _begin(self, sent: Sent, at: float) -> None:
        self._forget(sent)
        sent.begun, sent.waits = at, False
        self._free, self._moved = max(self._free, at), max(self._moved, at)
        self.begun += 1
        self._hearing.change(sent, at, audible=sent.streams)

    def _settle(self, now: float) -> None:
        """Take those that show no first token to have begun when it was due, in their turn and where there is room."""
        waiting = self._waiting
        while self._streamed and waiting and self.begun < self._slots.count:
            first = waiting[0]
            if first.streams or first.due > now:
                break
            self._begin(first, first.due)
