"""The simulated scenarios: engines and their faults, traffic, and loads as shares of the engines' capacity."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from math import inf
from random import Random
from statistics import fmean

from router.core.estimate.ask import Ask
from scripts.balance.simulation.choosing import UNAWARE
from scripts.balance.simulation.engine import Outage, Spec
from scripts.balance.simulation.routing import SimulatedRequest
from scripts.balance.simulation.traffic import PROMPTS, Conversation, Writer, arrivals, chats, popular, singles
from scripts.balance.simulation.world import World

GPU = Spec()
SLOW = Spec(reading=1500.0, writing=12.5)
SERIAL = Spec(parallel=1, reading=2000.0, writing=40.0, cache=4096)
"""llama_cpp: one request at a time, the others wait in the engine; its cache holds only the last prompt."""

FEW = replace(SERIAL, parallel=4, cache=16_384)
"""llama.cpp's own server: four at once, as it comes."""

READERS = Spec(parallel=4, reading=1000 / 0.24, keeps=24)
"""Reads four prompts side by side, each at 60 ms a kilobyte, and keeps the last 24."""

READER = replace(READERS, parallel=1, reading=4 * READERS.reading)
"""Reads as much, but one prompt at a time."""

LAUNCHED = replace(SERIAL, told=True)

WARM_UP = 0.1
"""Share of the requests, the first ones, that the figures leave out: the engines fill up with them."""

TALKING = 0.4
"""The same where conversations last for minutes: at first fewer of them are under way than the load implies."""

Asked = Callable[[Writer, int], list[Conversation]]

_LONG, _SHORT, _LONG_SHARE = 16_000, 100, 0.1


def _mixed(random: Random) -> int:
    return _LONG if random.random() < _LONG_SHARE else _SHORT


_ordinary: Asked = partial(singles, prompts=PROMPTS.draw)


@dataclass(frozen=True)
class Scenario:
    """A name, what it is in words, and all that a run needs. `loads` are shares of the engines' capacity together.

    That capacity is what they can do at most with ever busy slots, with what faults leave of their time, and with all
    that turns of a conversation share found in caches. `supervised`: the routers are told when an engine ends, and when
    it is back, as of those that they launched; of others they find out. `guests`: the share of the requests that goes
    to the first engine directly. `warm_up`: the share of them, the first ones, that the figures leave out. `rate`:
    requests a second that a load of 1 means, instead of the engines' capacity.
    """

    name: str
    says: str
    engines: tuple[Spec, ...]
    asked: Asked = _ordinary
    loads: tuple[float, ...] = (0.6, 0.75, 0.9)
    bursty: bool = False
    routers: int = 1
    guests: float = 0.0
    supervised: bool = True
    warm_up: float = WARM_UP
    rate: float = 0.0


_GUESTS = "one of which gets 30% of all requests directly, past the router"


def _and_published(scenario: Scenario) -> tuple[Scenario, Scenario]:
    """Give a scenario, and the same with engines that publish their load."""
    engines = tuple(replace(spec, publishes=True) for spec in scenario.engines)
    says = f"{scenario.says}; the engines publish their load"
    return scenario, replace(scenario, name=f"{scenario.name}-published", says=says, engines=engines)


def _cold_start(name: str, says: str, engines: tuple[Spec, ...], *, shared: bool = False) -> Scenario:
    """Give a scenario of engines whose caches are empty, and of which nothing has been measured; all requests count."""
    asked = partial(popular, shared=shared)
    return Scenario(f"cold-{name}", says, engines, asked, loads=(1.0,), warm_up=0.0, rate=45.0)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("equal", "4 equal engines", (GPU,) * 4),
        Scenario("bursty", "4 equal engines, bursts of three times the mean rate", (GPU,) * 4, bursty=True),
        Scenario("fast-slow", "1 fast engine, and 3 that are four times slower", (GPU, SLOW, SLOW, SLOW)),
        Scenario(
            "stalling",
            "4 equal engines, one of which stalls for 2 s every 10 s",
            (Spec(stalls=Outage(every=10.0, lasts=2.0, first=5.0)), GPU, GPU, GPU),
        ),
        Scenario("refusing", "4 equal engines, one of which answers 503 at once", (Spec(refuses=True), GPU, GPU, GPU)),
        Scenario(
            "restarting",
            "4 equal engines, one of which restarts every 30 s: down for 5 s, its cache lost",
            (Spec(restarts=Outage(every=30.0, lasts=5.0, first=10.0)), GPU, GPU, GPU),
        ),
        *_and_published(Scenario("two-routers", "2 routers before the same 4 equal engines", (GPU,) * 4, routers=2)),
        *_and_published(
            Scenario("two-routers-few", "2 routers before the same 4 engines of four slots", (FEW,) * 4, routers=2)
        ),
        *_and_published(Scenario("guests", f"4 equal engines, {_GUESTS}", (GPU,) * 4, loads=(0.6, 0.75), guests=0.3)),
        Scenario("chats", "4 equal engines, conversations over 20 system prompts", (GPU,) * 4, chats, warm_up=TALKING),
        Scenario(
            "chats-skewed",
            "the same, where one system prompt has half of all conversations",
            (GPU,) * 4,
            partial(chats, skewed=True),
            warm_up=TALKING,
        ),
        Scenario(
            "mixed",
            "4 equal engines, prompts of 100 tokens, and every tenth of 16,000",
            (GPU,) * 4,
            partial(singles, prompts=_mixed),
        ),
        Scenario(
            "half-streaming",
            "1 fast engine, and 3 that are four times slower; half of the answers don't stream",
            (GPU, SLOW, SLOW, SLOW),
            partial(singles, prompts=PROMPTS.draw, streaming=0.5),
        ),
        Scenario("serial", "4 serial engines that the router launched", (LAUNCHED,) * 4, loads=(0.7, 0.95)),
        Scenario(
            "serial-untold", "4 serial engines of which the router knows nothing", (SERIAL,) * 4, loads=(0.7, 0.95)
        ),
        _cold_start(
            "start",
            "4 equal engines that read 4 prompts side by side, and keep the last 24; half a hundred conversations",
            (READERS,) * 4,
        ),
        _cold_start("shared", "the same, where all have one system prompt", (READERS,) * 4, shared=True),
        _cold_start("serial", "the same, where the engines read one prompt at a time", (READER,) * 4),
        _cold_start(
            "refusing",
            "the same, where one of four engines answers 503 at once",
            (replace(READERS, refuses=True), *(READERS,) * 3),
        ),
        Scenario(
            "eleven",
            "11 equal engines, one of which stalls for good after 20 s; the others have enough to spare",
            (Spec(stalls=Outage(every=inf, lasts=inf, first=20.0)), *(GPU,) * 10),
            loads=(0.5,),
        ),
    )
}


@lru_cache(maxsize=4)
def conversations_of(asked: Asked, count: int, seed: int, *, keep_bodies: bool = False) -> list[Conversation]:
    """Make the conversations of all runs with this seed: about `count` requests."""
    return asked(Writer(Random(f"{seed} asked"), keeps=keep_bodies), count)  # noqa: S311  (repeatable, no secret)


def starts_of(scenario: Scenario, conversations: Sequence[Conversation], load: float, seed: int) -> list[float]:
    """Give the moment at which each conversation begins, in seconds: at random, at the rate of that load."""
    jobs = [job for conversation in conversations for job in conversation]
    fresh, answer = fmean(job.fresh for job in jobs), fmean(job.answer for job in jobs)
    capacity = sum(spec.capacity(fresh, answer) for spec in scenario.engines)
    rate = load * (scenario.rate or capacity) * len(conversations) / len(jobs)
    arrive = Random(f"{seed} {load} arrive")  # noqa: S311
    return list(arrivals(len(conversations), rate, arrive, bursty=scenario.bursty))


def simulate(name: str, load: float, policy: str, *, requests: int, seed: int) -> list[SimulatedRequest]:
    """Run the scenario of this name as `play` does."""
    return play(SCENARIOS[name], load, policy, requests=requests, seed=seed)


def play(scenario: Scenario, load: float, policy: str, *, requests: int, seed: int) -> list[SimulatedRequest]:
    """Run a scenario at a load with a policy. Gives the requests that count.

    These are all but the first ones, while the engines fill up, those after the last conversation began, and those
    that didn't come through a router. The `weighted` policy, and no other, is told the engines' true capacities;
    `unaware` is least_latency that sees nothing of prompts but their size.
    """
    conversations = conversations_of(scenario.asked, requests, seed)
    starts = starts_of(scenario, conversations, load, seed)
    if policy == UNAWARE:
        conversations = [
            tuple(replace(job, ask=Ask(job.ask.size, streams=job.ask.streams)) for job in conversation)
            for conversation in conversations
        ]
    draws = Random(f"{seed} {load} draw")  # noqa: S311
    world = World(
        scenario.engines,
        policy,
        conversations,
        starts,
        draws,
        scenario.routers,
        weights_of(scenario) if policy == "weighted" else None,
        supervised=scenario.supervised,
        guests=scenario.guests,
    )
    warm_up = round(scenario.warm_up * sum(map(len, conversations)))
    counted = world.run()[warm_up:]
    return [each for each in counted if each.arrived <= starts[-1] and not each.job.is_guest(scenario.guests)]


def weights_of(scenario: Scenario) -> list[float]:
    """Tell the engines' true capacities, beside that of a GPU."""
    return [spec.writing / GPU.writing for spec in scenario.engines]
