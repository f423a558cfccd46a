"""What is asked of the machine: engines, jobs that come by themselves, and agents that ask when they were answered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random

from scripts.residency.machine import DEVICE, Engine, Job

G = 2**30
NAMES = tuple(f"m{number}" for number in range(10))

Served = Callable[[Job, float], Job | None]


@dataclass(frozen=True)
class Traffic:
    """One run's engines and jobs. `served` gives an agent's next job. The device has `total` bytes, `limit` for us."""

    engines: Sequence[Engine]
    limit: int
    jobs: Sequence[Job]
    served: Served | None = None
    total: int = 24 * G
    known: Sequence[tuple[str, int]] = ()  # what footprints are believed to be, where that is wrong

    @property
    def is_known(self) -> bool:
        """Whether all jobs are known beforehand, so that Belady's rule can be applied."""
        return self.served is None


def equal(count: int = 10, *, load: float = 10.0) -> tuple[Engine, ...]:
    """Engines of 4 GiB each."""
    return tuple(Engine(name, {DEVICE: 4 * G}, load=load, unload=1.0) for name in NAMES[:count])


def uneven(random: Random) -> tuple[Engine, ...]:
    """Engines of 1 to 8 GiB that load at half a GiB a second, after three seconds."""
    sizes = [random.uniform(1.0, 8.0) for _ in NAMES]
    return tuple(
        Engine(name, {DEVICE: int(size * G)}, load=3 + 2 * size) for name, size in zip(NAMES, sizes, strict=True)
    )


def zipf(
    count: int, seed: int, *, rate: float, exponent: float = 1.0, service: float = 2.0, engines: Sequence[Engine] = ()
) -> Traffic:
    """Independent requests, a Poisson process, for ten models whose popularity follows Zipf's law; three fit."""
    random = Random(seed)  # noqa: S311
    chosen = engines or equal()
    names = [each.name for each in chosen]
    random.shuffle(names)  # so that a rule that goes by names gains nothing
    weights = [1 / (place + 1) ** exponent for place in range(len(names))]
    now, jobs = 0.0, []
    for number in range(count):
        now += random.expovariate(rate)
        jobs.append(
            Job(number, now, random.choices(names, weights)[0], random.expovariate(1 / service), key="abc"[number % 3])
        )
    return Traffic(chosen, 12 * G, jobs)


def bursts(count: int, seed: int) -> Traffic:
    """Each model is used in bursts of some twenty requests, a second or two apart, with minutes between; three fit."""
    random = Random(seed)  # noqa: S311
    ahead = [(random.expovariate(1 / 60), name, 60.0 * 1.5**place, 1) for place, name in enumerate(NAMES)]
    jobs: list[Job] = []
    while len(jobs) < count:
        now, name, mean, left = heappop(ahead)
        jobs.append(Job(len(jobs), now, name, random.expovariate(1.0)))
        if left:
            heappush(ahead, (now + random.expovariate(1 / 1.5), name, mean, left - 1))
        else:
            heappush(ahead, (now + random.expovariate(1 / mean), name, mean, random.randint(5, 35)))
    return Traffic(equal(), 12 * G, jobs)


class Agents:
    """Each agent asks its models one after the other, each time when it was answered and has thought."""

    def __init__(self, plans: Sequence[Sequence[str]], each: int, seed: int, *, service: float, think: float) -> None:
        self._plans = plans
        self._left = [each - 1] * len(plans)
        self._turns = [0] * len(plans)
        self._random = Random(seed)  # noqa: S311
        self._service = service
        self._think = think
        self._number = 0

    def first(self) -> list[Job]:
        """Give each agent's first job."""
        return [self._job(agent, agent / 10) for agent in range(len(self._plans))]

    def _job(self, agent: int, at: float) -> Job:
        plan = self._plans[agent]
        model = plan[self._turns[agent] % len(plan)]
        self._turns[agent] += 1
        self._number += 1
        return Job(self._number, at, model, self._random.uniform(0.5, 1.5) * self._service, key=str(agent))

    def served(self, job: Job, now: float) -> Job | None:
        """Give the next job of the agent that was answered."""
        agent = int(job.key)
        if not self._left[agent]:
            return None
        self._left[agent] -= 1
        return self._job(agent, now + self._random.uniform(0.5, 1.5) * self._think)


def two_agents(count: int, seed: int, *, load: float = 20.0, service: float = 2.0) -> Traffic:
    """Two models that don't fit together; each agent uses one, and thinks for half a second."""
    agents = Agents((("m0",), ("m1",)), count // 2, seed, service=service, think=0.5)
    return Traffic(equal(2, load=load), 4 * G, agents.first(), agents.served)


def alternating(count: int, seed: int) -> Traffic:
    """Two models that don't fit together; each of two agents uses both by turns, as a planner and a coder."""
    agents = Agents((("m0", "m1"), ("m1", "m0")), count // 2, seed, service=2.0, think=0.5)
    return Traffic(equal(2, load=20.0), 4 * G, agents.first(), agents.served)


def batch_beside_chat(count: int, seed: int) -> Traffic:
    """Two models that don't fit together: one has a batch of sixteen at a time, with the other one a person chats."""
    plans = [("m0",)] * 16 + [("m1",)]
    batch = Agents(plans, max(2, count // 17), seed, service=4.0, think=0.0)
    random = Random(seed)  # noqa: S311

    def served(job: Job, now: float) -> Job | None:
        following = batch.served(job, now)
        if following is not None and job.backend == "m1":
            following.at = now + random.expovariate(1 / 30)  # reads and types
        return following

    return Traffic(equal(2), 4 * G, batch.first(), served)


def misfortune(count: int, seed: int) -> Traffic:
    """As `zipf`, with models of uneven sizes, of which a tenth of the loads fail and footprints are 30% off."""
    random = Random(seed)  # noqa: S311
    engines = [Engine(each.name, each.size, load=each.load, unload=each.unload, fails=0.1) for each in uneven(random)]
    plain = zipf(count, seed, rate=0.2, engines=engines)
    known = [(each.name, int(each.size[DEVICE] * random.uniform(0.7, 1.3))) for each in engines]
    return Traffic(engines, 12 * G, plain.jobs, total=12 * G, known=known)
