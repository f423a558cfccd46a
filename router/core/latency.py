"""How soon a backend would begin to answer: what has been measured of it, and what it has been sent, in one sum.

    expected = what is ahead in its queue + the reading of this prompt + what its errors cost

**Reading.** The time that a prompt takes, once it is its turn, is a line over the bytes that must be read:
`base + slope * bytes`. The line is fitted to what was measured, the newest counting most, so a long prompt condemns
nobody. A sample isn't the whole time to the first token but what of it passed since the backend was free for this one:
since it was sent, or since the first token before it, whichever came later. So a queue isn't held against the speed,
and prompts that are read together show the rate at which they come. Of a prompt in the cache only the rest is read;
how much that really is, is measured too, so that a cache that holds nothing is found out. And as such a prompt takes
little more than the base, the base can't be more: where most are cached, a line through the others alone is a guess.

**The queue.** The prompts sent and not yet begun to be answered are read before this one. Where all slots are taken,
the next must wait until an answer ends, every `hold / slots` seconds. How many slots there are is seen: as many as were
at work when one that was overdue could begin only as another ended. What is due has been waited for for some time; once
that is longer than it should take, something is wrong there, and it looks worse with every moment. One that hangs is
thus given no more after the first that finds out.

**Silence.** Most often nobody need find out. Where answers are under way, and none of them has brought anything for
longer than they usually do (`Rhythm`), something is wrong there, too: what is expected grows with each moment of it.

**Errors** cost seconds, the more the more of them come in a row, and half as much each `FORGET` seconds later. Failing
fast is never taken for speed: nothing but a first token is a measurement.

**An attempt let go of** before it began, as its client left or another backend was sooner, took at least that long.
Where that is far more than was expected, it costs as an error does. So a backend that hangs doesn't look good again as
soon as the last one has given up on it.

**After a start** caches are cold and code isn't compiled yet, so few prompts may wait there at a time: one, then one
more with each first token. **What was measured long ago** fades: after `STALE` seconds without a first token a backend
is taken for faster than it was, until somebody is sent there and tells.

**An answer that doesn't stream** shows no first token, only its end. Engines begin in order, so it is taken to have
begun when it was due, if it was its turn, and at the latest when one that was sent later has. What it took is a
measurement only where nothing streams.

**What others have there**, who don't come through this router, is only known where the engine publishes its load
(`router.core.load`): what it has beyond ours. Their prompts that wait are read before this one, less the time that has
passed since; and where theirs and ours together fill the slots, the next waits for an end. What was published counts
half as much each `FRESH` seconds. Where nobody else asks anything, nothing of this counts.

Sources: Finagle's and linkerd's Peak-EWMA (latency * outstanding, stale measurements fade, failures cost), Prequal
(NSDI '24: requests in flight tell what latency tells too late), Little's law for `hold`, TCP's slow start.
"""

from math import inf
from typing import Final

from router.core.load import Load

GAIN: Final = 1 / 32
"""Weight of the newest sample in an average: it follows a lasting change within some thirty requests."""

OUTLIER: Final = 3.0
"""Times what was expected, at which a sample is cut off: a stall isn't a speed."""

CROWD: Final = 0.0005
"""Seconds by which each answer under way is taken to delay a first token. Little, but where an engine sends an empty
event at once, first tokens say nothing else of its load."""

LATE: Final = 4.0
"""Seconds that are expected to be missing, for each that a prompt's reading is late."""

HEAR: Final = 0.05
"""Seconds, as often as it is looked whether answers under way have brought anything."""

LATE_FACTOR: Final = 3.0
"""Times that an answer's beginning or its end usually takes, from which on it is late."""

STALE: Final = 60.0
"""Seconds without a first token, after which a backend is taken for faster than it was."""

FADE: Final = 120.0
"""Seconds in which, from then on, what its reading is expected to take halves."""

FORGET: Final = 10.0
"""Seconds in which the cost of errors halves."""

FAILURE: Final = 1.0
"""Seconds that the first failure costs, beside the time that was lost with it."""

WORST: Final = 60.0
"""Seconds that errors cost at most."""

UNKNOWN: Final = 0.001
"""Seconds for a prompt where nothing has been measured: little, so that it soon is."""

PROVEN: Final = 16
"""First tokens after a start, from which on a backend is no longer taken to be cold."""

FULL: Final = 0.9
"""Share of its slots from which on a backend isn't taken to be any busier: what it has grows without end."""

SILENT: Final = 8
"""Answers, none of which streamed, from which on it is believed that none will."""

PROOF: Final = 8
"""How many at work, all told, have others wait for an end of theirs, until it is believed that more can't be. A single
one proves little: what came as it ended may have begun then by chance."""

LAPSE: Final = 300.0
"""Seconds after which that is believed no more, if nothing has proved it again. To one that is taken to be full hardly
anything is sent, so nothing would ever prove that it isn't."""

COLD: Final = 1.0
"""Seconds that each prompt costs beyond those that a backend may have waiting while it is cold."""

FRESH: Final = 1.0
"""Seconds in which the work of others counts half as much, if no more is heard of it. It is asked for as often."""

_WORTH: Final = 1024  # bytes in the cache, from which on the time tells whether they were there
_ORIGIN: Final = 0.05  # weight of the line's going through the origin, where samples of like sizes leave it open
_SHRINK: Final = 1 / 256  # by which the longest prompt that counts gets shorter with each sample


class Ask:
    """What is known of a request before it is sent.

    `size` is the bytes of its body, `blocks` are the hashes of its prompt's prefixes (`affinity.blocks_of`). An answer
    that doesn't stream (`streams`) shows no first token. `path` is the endpoint, and `key` what the client shows of its
    own to the backend.
    """

    # Not a NamedTuple: each request makes one of these, which takes a compiled class a fifth of the time.

    def __init__(
        self, size: int, blocks: tuple[int, ...] = (), *, streams: bool = True, path: str = "", key: bytes = b""
    ) -> None:
        self.size: Final = size
        self.blocks: Final = blocks
        self.streams: Final = streams
        self.path: Final = path
        self.key: Final = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ask) and self._all == other._all

    def __hash__(self) -> int:
        return hash(self._all)

    @property
    def _all(self) -> tuple[int, tuple[int, ...], bool, str, bytes]:
        return self.size, self.blocks, self.streams, self.path, self.key


class Line:
    """Seconds over bytes: `base + slope * bytes`, neither negative; least squares, old samples counting less.

    `reach` is the longest prompt of late. Longer ones are taken to take no longer: who was given none but short ones
    would never get a long one again if the line, which is a guess out there, made it look slow.
    """

    def __init__(self) -> None:
        self.base = UNKNOWN
        self.slope = 0.0
        self.samples = 0
        self.reach = 0.0
        self._x = 0.0  # the mean size, of late
        self._y = 0.0
        self._xx = 0.0
        self._xy = 0.0
        self._bound = inf  # what prompts take of which hardly anything has to be read

    def note(self, size: float, seconds: float) -> None:
        """Take a sample, and move the line."""
        self.samples += 1
        self.reach = max(size, self.reach * (1 - _SHRINK))
        gain = max(1 / self.samples, GAIN)
        if self.samples > 4:
            seconds = min(seconds, OUTLIER * self._y * max(1.0, size / self._x))
        dx, dy = size - self._x, seconds - self._y
        self._x += gain * dx
        self._y += gain * dy
        self._xx = (1 - gain) * (self._xx + gain * dx * dx)
        self._xy = (1 - gain) * (self._xy + gain * dx * dy)
        self._draw()

    def bound(self, seconds: float) -> None:
        """Take what a prompt took of which hardly anything had to be read: the base can't be more."""
        self._bound = seconds if self._bound == inf else self._bound + GAIN * (seconds - self._bound)
        if self.base > self._bound:
            self._draw()

    def _draw(self) -> None:
        slope = (self._xy + _ORIGIN * self._x * self._y) / (self._xx + _ORIGIN * self._x * self._x)
        self.slope = min(max(slope, (self._y - self._bound) / self._x, 0.0), self._y / self._x)
        self.base = self._y - self.slope * self._x

    def at(self, size: float) -> float:
        """Tell the seconds for so many bytes."""
        return self.base + self.slope * min(size, self.reach)

    def usual(self) -> float:
        """Tell the seconds for a prompt of the usual size."""
        return self.at(self._x)


class Rhythm:
    """How long the answers of a backend usually bring nothing, all of them together, in seconds.

    `longest` is the mean and four times the deviation, or `HEAR` more: TCP waits so long for an answer (RFC 6298).
    """

    def __init__(self) -> None:
        self._mean = HEAR
        self._deviation = HEAR / 2
        self.longest = self._mean + 4 * self._deviation

    def note(self, pause: float) -> None:
        """Take a pause that has ended."""
        off = min(pause, OUTLIER * self.longest) - self._mean
        self._mean += off / 8
        self._deviation += (abs(off) - self._deviation) / 4
        self.longest = self._mean + max(HEAR, 4 * self._deviation)


class Sent:
    """An attempt at a backend, from its sending to its end."""

    def __init__(self, ask: Ask, cached: int, work: float, at: float, due: float, late: float) -> None:
        self.size = max(1, ask.size)
        self.streams = ask.streams
        self.cached = cached  # bytes believed to be in the cache
        self.work = work  # bytes to be read, as far as is believed
        self.at = at
        self.due = due  # when its first token was expected
        self.late = late  # from when on its silence isn't to be expected any more
        self.begun = 0.0  # when it began to be answered, if it has
        self.waits = True  # for its first token
        self.over = False
        self.audible = False  # whether it is an answer under way that shows each of its pieces


class Estimate:
    """What is known of a backend's speed and of its work. The ledger tells it what happens, and is its only writer.

    `parallel` is how many requests the engine is said to work on at once, if anything is; what is seen counts for more.
    All times are seconds of one clock.
    """

    def __init__(self, parallel: int | None = None) -> None:
        # What a choice among many looks at stands together: so it does in memory, once it is compiled
        self.line = Line()
        self.begun = 0  # attempts that have begun to be answered
        self._waiting: list[Sent] = []  # those that haven't, in the order in which they were sent
        self._slots = float(parallel) if parallel else inf
        self._work = 0.0  # bytes to be read for those that wait
        self.hold = 0.0  # seconds from a first token to the answer's end
        self._free = -inf  # when it last got free for the next
        self._moved = 0.0  # when it last began or ended an answer
        self._audible = 0  # answers under way that show their pieces
        self._spoke = 0.0  # when they last did
        self._room = 1.0  # how many it has shown to do at once since its start
        self._heard = inf  # when the last first token came; inf: never
        self._streamed = False  # whether one was an answer's that streams
        self._cost = 0.0
        self._cost_at = 0.0
        self._others = 0.0  # requests that it had when it published last, and not from here
        self.behind = 0.0  # how many come to wait, on average, where as much of a backend is busy as of this one
        # The rest
        self.response = 0.0  # seconds to the first token, queue and all
        self._rhythm = Rhythm()
        self._most = parallel or 0  # that have been at work at once; `_slots` is as many where it can't do more
        self._told = self._slots  # by whoever launched it, until it is seen to do more
        self._proofs = 0  # of that it can't
        self._proved_at = -inf  # when it was last believed, or the first of these came
        self._ended = -inf  # when it last ended one
        self._ends = 0
        self._answers = 0  # that told something
        self.unheard = 0  # attempts that were late when they were let go of, since the last first token
        self.load: Load | None = None  # what it published last
        self._others_wait = 0.0  # of these `_others`, those that had waited for a slot for some time
        self._others_at = -inf
        self._full = float(parallel) if parallel else inf  # requests that it works on while more wait, ours or not
        # Of prompts in its cache: bytes that were read, and bytes that aren't believed to be there, on average
        self._read = self._unknown = float(_WORTH)

    # What is asked

    @property
    def in_flight(self) -> int:
        """Attempts sent and not yet ended."""
        return len(self._waiting) + self.begun

    @property
    def measured(self) -> bool:
        """Whether anything is known of its speed."""
        return self.line.samples > 0

    def cost(self, now: float) -> float:
        """Seconds that its errors cost."""
        return self._cost * 2 ** ((self._cost_at - now) / FORGET) if self._cost > 0 else 0.0

    def reading(self, size: int, cached: int, now: float) -> float:
        """Seconds for a prompt of so many bytes once it is its turn; `cached` bytes of it are in the cache."""
        seconds, old = self.line.at(self._to_read(size, cached)), now - self._heard - STALE
        return seconds * 2 ** (-old / FADE) if old > 0 else seconds

    def others(self, now: float) -> float:
        """Requests that are taken to be there, and were not sent from here."""
        return self._others * 2 ** ((self._others_at - now) / FRESH) if self._others > 0 else 0.0

    def queue(self, now: float) -> float:
        """Seconds until it would be a prompt's turn, were it sent here now."""
        number, begun, slots = len(self._waiting), self.begun, self._slots
        ahead = number * self.line.base + self.line.slope * self._work + CROWD * begun
        if begun >= slots:  # the next begins when one ends
            gap, spent = self.hold / slots, now - self._moved
            turn = (number + begun - slots) * gap + max(gap - spent, 0.4 * gap) + max(0.0, spent - LATE_FACTOR * gap)
            ahead = max(ahead, ahead / slots + turn)
        elif number:  # the first of them is being read
            first = self._waiting[0]
            takes, spent = self.line.at(first.work), now - max(first.at, self._free)
            if self._streamed and not first.streams:  # that it has been read isn't seen
                spent = max(min(takes, spent), spent - 2 * self.hold)
            ahead += max(takes - spent, takes / 4) - takes + LATE * max(0.0, spent - takes)
            if number + begun >= slots:
                ahead = max(ahead, (ahead + (number + begun - slots + 1) * self.hold) / slots)
        if self._audible and not self._reads(number, begun):
            ahead += LATE * max(0.0, now - self._spoke - self._rhythm.longest)
        if self._others > 0:
            ahead = self._behind_others(ahead, now)
        return ahead + (number - self._room + 1) * COLD if number >= self._room else ahead

    def expected(self, ask: Ask, cached: int, now: float) -> float:
        """Seconds until this request's first token, were it sent here now; `cached` bytes of it are in the cache."""
        return self.queue(now) + self.reading(ask.size, cached, now) + self.cost(now)

    # What is told

    def sent(self, ask: Ask, cached: int, now: float) -> Sent:
        """Note that an attempt goes out. What becomes of it is told with what this gives."""
        self._settle(now)
        turn, work = now + self.queue(now), self._to_read(ask.size, cached)
        due = turn + self.reading(ask.size, cached, now) + self.cost(now)
        late = now + LATE_FACTOR * (
            turn - now + self.line.at(work)
        )  # what fades is no longer known, but may be as it was
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
        takes, let_in = now - max(sent.at, self._free), self._slot(sent, now)
        if sent.streams and not self._streamed:  # what whole answers took says nothing of their beginnings
            self._streamed, self.line = True, Line()
        if sent.streams or not self._streamed:
            self._answers += 1
            self.response += (now - sent.at - self.response) / min(self._answers, 8)
            if not let_in and (sent.streams or self._answers > SILENT):
                self._measured(sent, takes)
        self._begin(sent, now)
        self._heard, self.unheard = now, 0
        self._room = self._room + 1 if self._room < PROVEN else inf
        self._cost, self._cost_at = self.cost(now) / 2, now

    def spoke(self, now: float) -> None:
        """Note that answers under way have brought something. Told each `HEAR` seconds in which they did."""
        if self._audible and not self._reads(len(self._waiting), self.begun):  # else nothing was to be heard
            self._rhythm.note(now - self._spoke)
        self._spoke = now

    def muted(self, sent: Sent, now: float, *, muted: bool) -> None:
        """Note that an answer isn't read on for now, because its client is slower; or that it is again."""
        if sent.audible is muted and not sent.waits and not sent.over and sent.streams:
            self._hear(sent, now, audible=not muted)

    def ended(self, sent: Sent, now: float) -> None:
        """Note that it was answered whole."""
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
        if self.begun >= self._slots:
            self._free = now
        self.begun -= 1
        self._hear(sent, now, audible=False)
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
            self._charge(sent, now - sent.at, now)
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
            self._hear(sent, now, audible=False)
            self._moved = now
        self._crowd()
        self._charge(sent, lost, now)

    def disproved(self, sent: Sent, now: float) -> None:
        """Note that another backend has answered what this one refused: its haste was no speed."""
        self._charge(sent, FAILURE, now)

    def restarted(self, now: float) -> None:
        """Note that the backend has just started, or has come back: its speed may be as it was, but it starts slowly.

        What is in flight stays counted: each attempt's end is told.
        """
        self._room, self._cost, self.unheard = 1.0, 0.0, 0
        self._free = max(self._free, now)
        self.load, self._others = None, 0.0

    def published(self, load: Load | None, ours: float, now: float) -> None:
        """Take note of what it says that it has, of which `ours` at most came from here; None: it says nothing."""
        before, self.load, self._others = self.load, load, 0.0
        if load is None:
            return
        waiting = min(load.waiting, before.waiting) if before is not None else 0.0  # not only for a moment
        if waiting > 0:
            running, full = max(1.0, load.running), self._full
            self._full = running if full == inf else max(running, full + (running - full) / 8)
        elif load.running > self._full:
            self._full = inf
        self._others = max(0.0, load.running + load.waiting - ours)
        self._others_wait = min(self._others, max(0.0, waiting - len(self._waiting)))
        self._others_at = now

    # How it is kept

    def _reads(self, waiting: int, begun: int) -> bool:
        """Tell whether a prompt may be being read: a reason for answers under way to bring nothing for a while."""
        return waiting > 0 and begun < self._slots

    def _crowd(self) -> None:
        """Tell anew who comes to wait: u²/(1 - u) of a queue with one server (M/M/1), a share u of its time busy."""
        busy = min(FULL, self.in_flight / self._slots)
        self.behind = busy * busy / (1 - busy)

    def _charge(self, sent: Sent, lost: float, now: float) -> None:
        """Have what went wrong with an attempt cost the seconds that were lost with it; again and again, ever more."""
        again = 2 if sent.at >= self._cost_at else 1  # else it was under way when another failed
        self._cost = min(WORST, max(again * self.cost(now), lost))
        self._cost_at = now

    def _behind_others(self, ahead: float, now: float) -> float:
        """Add what others have there to what is ahead in the queue."""
        age, others, full = now - self._others_at, self.others(now), self._full
        ahead += max(0.0, self._others_wait * self.line.usual() - age) + CROWD * others
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
        self._hear(sent, at, audible=sent.streams)

    def _hear(self, sent: Sent, now: float, *, audible: bool) -> None:
        if sent.audible is not audible:
            sent.audible = audible
            self._audible += 1 if audible else -1
            self._spoke = max(self._spoke, now)

    def _settle(self, now: float) -> None:
        """Take those that show no first token to have begun when it was due, in their turn and where there is room."""
        waiting = self._waiting
        while self._streamed and waiting and self.begun < self._slots:
            first = waiting[0]
            if first.streams or first.due > now:
                break
            self._begin(first, first.due)

    def _measured(self, sent: Sent, takes: float) -> None:
        """Learn from the time that one prompt took: of the line, or of what is left to read of those in the cache."""
        line = self.line
        if sent.cached < _WORTH or line.slope <= 0:
            line.note(sent.size, takes)
            return
        line.bound(takes)
        was_read = min(max((takes - line.base) / line.slope, 0.0), sent.size)
        self._read += GAIN * (was_read - self._read)
        self._unknown += GAIN * (sent.size - sent.cached - self._unknown)

    def _to_read(self, size: int, cached: int) -> float:
        return size if cached < _WORTH else min(size, self._read / self._unknown * (size - cached))

    def _slot(self, sent: Sent, now: float) -> bool:
        """Find out how many are worked on at once, as this one begins. Tells whether it had to wait for another's end.

        It had, if one ended after this one was due and nothing has begun in between. Then, if hardly ever more have
        been at work, as many as now are all that there can be; where they are few, not until it has been so repeatedly.
        """
        number = self.begun + 1
        if number > self._most:
            self._most, self._slots, self._told, self._proofs = number, inf, inf, 0
            return False
        let_in = self._ended > max(sent.due, self._heard)
        if let_in and number >= 0.8 * self._most:
            if not self._proofs:
                self._proved_at = now  # else what is seen of the others from now on would lapse at once
            self._proofs += number
            if self._proofs >= PROOF:
                self._most, self._slots, self._proved_at = number, float(number), now
        elif now - self._proved_at > LAPSE:
            self._slots, self._proofs = self._told, 0
        return let_in
