"""What /metrics counts of requests, after they have ended: counters, and histograms as arrays. Pure.

`Metrics.ended` hears of each request many at a time, off the hot path. Nothing that a client writes becomes a series:

    model, route   what the catalog knows; any other name is `unknown`
    api            one of the known paths, else `other`
    code           the answer's status, as long as there is room
    outcome        one of `families.OUTCOMES`
    key            names of router.yaml

What is left is bounded: `MOST_PAIRS` pairs of model and backend, `MOST_ROWS` rows of labels, `MOST_KEYS` keys. Beyond
them, requests are counted under `other`. A pair that had no request for `IDLE` seconds is dropped, with all its rows.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from router.core import errors
from router.core.apis import POSTED
from router.core.ending import Ending
from router.core.hops import LoopError
from router.core.over_limit import AT_LIMIT
from router.core.record import ANSWERED as WHOLE
from router.core.record import Record
from router.core.timeline import SLOWER
from router.telemetry import families
from router.telemetry.families import ANSWERED, BAD_REQUEST, CLIENT_LEFT, ENGINE_ERROR, ENGINE_FAILED, OUTCOMES, Family

MOST_PAIRS = 200
"""Pairs of a model and a backend: each takes 2 KB here, and a hundred series of histograms in Prometheus."""

MOST_ROWS = 2000
"""Rows of `router_requests_total`, and of other counters, of all pairs."""

MOST_KEYS = 1000

MOST_SPOTS = 4096
"""Kinds of requests that are remembered: names and paths that clients make up must not fill the memory."""

IDLE: Final = 6 * 3600.0
"""Seconds without a request after which a pair is dropped."""

OTHER: Final = "other"
UNKNOWN: Final = "unknown"
"""The model of requests for names that no model has."""

_APIS: Final[Mapping[str, str]] = {path: path for path in POSTED}

_BY_CODE: Final[Mapping[str, str]] = {
    errors.CancelledError.code: families.CANCELLED,
    LoopError.code: families.BAD_REQUEST,
    errors.ModelNotFoundError.code: families.MODEL_NOT_FOUND,
    errors.QueueFullError.code: families.QUEUE_FULL,
    errors.QueueTimeoutError.code: families.QUEUE_TIMEOUT,
    errors.UnavailableError.code: families.UNAVAILABLE,
    errors.StoppingError.code: families.STOPPING,
    errors.BadGatewayError.code: ENGINE_FAILED,
    errors.GatewayTimeoutError.code: families.ENGINE_TIMEOUT,
    errors.RouterError.code: families.BUG,
    **dict.fromkeys(AT_LIMIT, families.RATE_LIMITED),
}
"""The outcome for the code of an error that the router answers with. Others are told by their status."""


Row = tuple[str, str, int, str]
"""A route, an API, a status and an outcome."""


class Names(Protocol):
    """What model names mean. `now` is another object once that has changed."""

    @property
    def now(self) -> object:
        """What they mean now: compared by identity."""

    def meant(self, asked: str, backend: str | None) -> tuple[str, str]:
        """Give the model and the route for a name that a client asked for; an empty model for one that means nothing.

        `backend` served it, or None.
        """


class Histogram:
    """Counts of values, by the first of the rising `bounds` that they don't exceed; the last count is of the others."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds: Final[list[float]] = [float(bound) for bound in bounds]
        self.counts: Final = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        # What the standard library's bisect does; compiled, at a fifth of its cost.
        bounds, counts, low, high = self.bounds, self.counts, 0, len(self.bounds)
        while low < high:
            middle = (low + high) >> 1
            if bounds[middle] < value:
                low = middle + 1
            else:
                high = middle
        counts[low] = counts[low] + 1  # += would be a call
        self.sum += value


class Pair:
    """One model at one backend: its tokens, its histograms, and its requests by route, API, code and outcome.

    `seen` is how many requests it had when it was looked at last, and `since` when it had another number.
    """

    def __init__(self, model: str, backend: str) -> None:
        self.labels: Final = (model, backend)
        self.rows: dict[Row, int] = {}
        self.prompt = self.cached = self.generated = 0
        self.retries = self.requests = 0
        self.duration = Histogram(families.DURATION.buckets)
        self.ttft = Histogram(families.TTFT.buckets)
        self.tpot = Histogram(families.TPOT.buckets)
        self.prompts = Histogram(families.PROMPT.buckets)
        self.answers = Histogram(families.GENERATED.buckets)
        # Most requests don't wait.
        self.queue: Histogram | None = None
        self.load: Histogram | None = None
        self.seen, self.since = 0, 0.0

    def answered(self, record: Record, prompt: int | None, generated: int | None) -> None:
        """Count the times and tokens of a request that was answered."""
        duration, events = record.duration, record.events
        self.duration.add(duration)
        if prompt is not None:
            self.prompts.add(float(prompt))
        if generated is not None:
            self.answers.add(float(generated))
        if events:
            ttft, tokens = record.ttft, generated or events
            if ttft is not None:
                self.ttft.add(ttft)
                if tokens > 1:
                    self.tpot.add((duration - ttft) / (tokens - 1))

    def waited(self, record: Record) -> None:
        """Count a request's time in the queue, and that for which it waited for a load."""
        loading = sum([each.loading for each in record.waits])
        if loading:
            self.load = self.load or Histogram(families.LOAD.buckets)
            self.load.add(loading)
        self.queue = self.queue or Histogram(families.QUEUE.buckets)
        self.queue.add(max(0.0, record.waited - loading))


class Usage:
    """What was used with one key."""

    def __init__(self) -> None:
        self.requests = self.prompt = self.generated = 0


class Spot:
    """Where requests are counted that are alike in all that matters here, until `Metrics.gather` adds them up.

    That a request finds all of its counters by one look-up makes it cost half as much.
    """

    def __init__(self, pair: Pair, row: Row, usage: Usage, outcome: str) -> None:
        self.pair: Final = pair
        self.row: Final = row
        self.usage: Final = usage
        self.outcome: Final = outcome
        self.count = self.prompt = self.cached = self.generated = 0


Point = tuple[tuple[str, ...], float | Histogram]
"""The values of a family's labels, and the figure."""


class Metrics:
    """The figures; `ended` counts a request, `points` gives them, `tidy` drops what is out of use."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._now: object = None
        # By what a request was: of these, clients choose the name and the path.
        self._spots: dict[tuple[str, str | None, str, int, str, str], Spot] = {}
        self._pairs: dict[tuple[str, str], Pair] = {}
        self._outcomes = dict.fromkeys(OUTCOMES, 0)
        self._hedges: dict[tuple[str, str], int] = {}
        self._keys: dict[str, Usage] = {}
        self._rows = 0

    def ended(self, record: Record, said: Ending) -> None:
        """Count a request that has ended; `said` is what the end of its answer says."""
        status = record.status
        good = status < 400 and record.outcome == WHOLE and not record.error and not said.error
        outcome = ANSWERED if good else outcome_of(record, said)
        alike = record.model, record.backend, record.path, status, record.key, outcome
        spot = self._spots.get(alike)
        if spot is None:
            spot = self._begin(*alike)
        spot.count += 1
        prompt, generated = said.prompt_tokens, said.completion_tokens
        if prompt:
            spot.prompt += prompt
            if said.cached_tokens:
                spot.cached += said.cached_tokens
        if generated:
            spot.generated += generated
        if outcome == ANSWERED:
            spot.pair.answered(record, prompt, generated)
        if record.waits:
            spot.pair.waited(record)
        if record.attempts > 1:
            self._tried_again(spot.pair, record)

    def _begin(self, asked: str, backend: str | None, path: str, status: int, key: str, outcome: str) -> Spot:
        """Find where requests of a kind are counted of which there was none lately."""
        if len(self._spots) >= MOST_SPOTS:
            self._forget()
        model, route = self._names.meant(asked, backend)
        pair = self._pair(model or UNKNOWN, backend or "")
        row = route, _APIS.get(path, OTHER), status, outcome
        if row not in pair.rows:
            if self._rows >= MOST_ROWS:
                # No room for more kinds: it is one of the others.
                row = OTHER, OTHER, 0, outcome
            self._rows += row not in pair.rows
            pair.rows.setdefault(row, 0)
        usage = self._keys.setdefault(key if key in self._keys or len(self._keys) < MOST_KEYS else OTHER, Usage())
        spot = self._spots[asked, backend, path, status, key, outcome] = Spot(pair, row, usage, outcome)
        return spot

    def _pair(self, model: str, backend: str) -> Pair:
        pair = self._pairs.get((model, backend))
        if pair is None:
            if len(self._pairs) >= MOST_PAIRS:
                model = backend = OTHER
            pair = self._pairs.setdefault((model, backend), Pair(model, backend))
        return pair

    def _tried_again(self, pair: Pair, record: Record) -> None:
        """Count the attempts before the last one, each at its backend, and how a race ended."""
        model = pair.labels[0]
        for each in record.tries[:-1]:
            if each.outcome != SLOWER:
                self._pair(model, each.backend).retries += 1
        if record.hedge:
            race = model, record.hedge
            self._hedges[race] = self._hedges.get(race, 0) + 1

    def gather(self) -> None:
        """Add up what was counted since the last time, and look names up anew if they mean something else now."""
        for spot in self._spots.values():
            count = spot.count
            if count:
                pair, usage = spot.pair, spot.usage
                pair.rows[spot.row] += count
                pair.requests += count
                usage.requests += count
                self._outcomes[spot.outcome] += count
                pair.prompt += spot.prompt
                pair.cached += spot.cached
                pair.generated += spot.generated
                usage.prompt += spot.prompt
                usage.generated += spot.generated
                spot.count = spot.prompt = spot.cached = spot.generated = 0
        if self._names.now is not self._now:
            self._now = self._names.now
            self._spots.clear()

    def _forget(self) -> None:
        """Have each kind of request found anew."""
        self.gather()
        self._spots.clear()

    def models(self) -> list[str]:
        """Give the models that a backend has served."""
        return [model for model, backend in self._pairs if backend and model != OTHER]

    def tidy(self, now: float) -> None:
        """Drop what had no request for long. `now` is in seconds of one clock."""
        self.gather()
        for labels, pair in list(self._pairs.items()):
            count = pair.requests + pair.retries
            if count != pair.seen or not pair.since:
                pair.seen, pair.since = count, now
            elif now - pair.since >= IDLE:
                del self._pairs[labels]
                self._rows -= len(pair.rows)
                self._forget()
        models = {model for model, _ in self._pairs}
        self._hedges = {race: count for race, count in self._hedges.items() if race[0] in models}

    def points(self) -> Iterator[tuple[Family, list[Point]]]:
        """Give each family with its points, as they are when it is asked for."""
        self.gather()
        yield families.REQUESTS, [point for pair in self._all() for point in _rows(pair)]
        yield families.ENDED, [((outcome,), count) for outcome, count in self._outcomes.items()]
        yield families.DURATION, self._histograms("duration")
        yield families.TTFT, self._histograms("ttft")
        yield families.TPOT, self._histograms("tpot")
        yield families.QUEUE, self._histograms("queue")
        yield families.LOAD, self._histograms("load")
        yield families.PROMPT, self._histograms("prompts")
        yield families.GENERATED, self._histograms("answers")
        served = [pair for pair in self._all() if pair.labels[1]]
        yield families.PROMPT_TOKENS, [(pair.labels, pair.prompt) for pair in served]
        yield families.CACHED_TOKENS, [(pair.labels, pair.cached) for pair in served]
        yield families.GENERATED_TOKENS, [(pair.labels, pair.generated) for pair in served]
        yield families.RETRIES, [(pair.labels, pair.retries) for pair in served]
        yield families.HEDGES, list(self._hedges.items())
        keys = sorted(self._keys.items())
        yield families.KEY_REQUESTS, [((name,), each.requests) for name, each in keys]
        yield families.KEY_PROMPT_TOKENS, [((name,), each.prompt) for name, each in keys]
        yield families.KEY_GENERATED_TOKENS, [((name,), each.generated) for name, each in keys]

    def _all(self) -> list[Pair]:
        return list(self._pairs.values())

    def _histograms(self, name: str) -> list[Point]:
        """Give those histograms that have counted something."""
        found: list[Point] = []
        for pair in self._all():
            histogram: Histogram | None = getattr(pair, name)
            if histogram is not None and any(histogram.counts):
                found.append((pair.labels, histogram))
        return found


def _rows(pair: Pair) -> Iterator[Point]:
    for (route, api, status, outcome), count in pair.rows.items():
        yield (*pair.labels, route, api, str(status) if status else OTHER, outcome), count


def outcome_of(record: Record, said: Ending) -> str:
    """Tell how a request ended: one of `families.OUTCOMES`."""
    if record.error:
        known = _BY_CODE.get(record.error)
        if known is not None:
            return known
        return BAD_REQUEST if 400 <= record.status < 500 else ENGINE_FAILED
    if record.outcome != WHOLE:
        return CLIENT_LEFT
    return ENGINE_ERROR if record.status >= 400 or said.error else ANSWERED
