"""The scenarios, and a run of each under each rule."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from router.core.memory.devices import Device
from router.core.memory.footprints import Placement
from router.core.memory.residency import Residency
from router.core.memory.resident import Loadable, Policy
from router.core.memory.rounds import Worth, worth
from scripts.instruments.statistics import percentile
from scripts.residency.machine import DEVICE, Machine, Scheduler
from scripts.residency.pulling import Pulling
from scripts.residency.rules import Gathering, OneByOne, belady, least_recently_used
from scripts.residency.traffic import (
    G,
    Traffic,
    alternating,
    batch_beside_chat,
    bursts,
    misfortune,
    two_agents,
    zipf,
)

RULES = ("router", "router, LRU", "Belady", "one by one, LRU", "Ollama", "llama-swap")
"""The first three share the gathering and differ by whom they evict. Belady's knows the future."""

SCENARIOS: Mapping[str, Callable[[int, int], Traffic]] = MappingProxyType(
    {
        "zipf, light": lambda count, seed: zipf(count, seed, rate=0.1),
        "zipf, medium": lambda count, seed: zipf(count, seed, rate=0.3),
        "zipf, heavy": lambda count, seed: zipf(count, seed, rate=1.0),
        "zipf, steep": lambda count, seed: zipf(count, seed, rate=0.3, exponent=2.0),
        "bursts": bursts,
        "two agents": two_agents,
        "agents that alternate": alternating,
        "batch beside chat": batch_beside_chat,
        "misfortune": misfortune,
    }
)


@dataclass(frozen=True)
class Figures:
    """What came of a run. Waits are in seconds, from arrival until an engine began; shares are 0 to 1."""

    requests: int
    loads: int
    swapping: float
    throughput: float
    p50: float
    p99: float
    longest: float
    failed: int
    failed_loads: int
    cut: int
    peak: float


def scheduler_of(rule: str, traffic: Traffic, policy: Policy | None = None) -> Scheduler:
    """Make what decides."""
    if rule == "llama-swap":
        return Gathering(traffic.engines, traffic.limit)
    if rule in {"Ollama", "one by one, LRU"}:
        return OneByOne(traffic.engines, traffic.limit, by_name=rule == "Ollama")
    worths: dict[str, Worth] = {"router": worth, "router, LRU": least_recently_used, "Belady": belady(traffic.jobs)}
    residency = Residency([Device(DEVICE, traffic.limit, traffic.total)], policy, worth_of=worths[rule])
    known = dict(traffic.known)
    for each in traffic.engines:
        size = {DEVICE: known.get(each.name, each.size[DEVICE])}
        placement = Placement(each.name, size, is_told=not known)
        residency.add(Loadable(each.name, (placement,), slots=each.slots), 0.0)
    return Pulling(residency)


def simulate(scenario: str, rule: str, *, requests: int, seed: int, policy: Policy | None = None) -> Figures | None:
    """Do one run; None where the rule can't be applied."""
    traffic = SCENARIOS[scenario](requests, seed)
    if rule == "Belady" and not traffic.is_known:
        return None
    scheduler = scheduler_of(rule, traffic, policy)
    machine = Machine(scheduler, traffic.engines, {DEVICE: traffic.total}, seed=seed, served=traffic.served)
    jobs = machine.run(traffic.jobs)
    waits = [job.waited for job in jobs if job.began >= 0]
    tally = machine.tally
    return Figures(
        requests=len(jobs),
        loads=tally.loads,
        swapping=tally.moving / (traffic.limit * tally.ended),
        throughput=len(waits) / tally.ended,
        p50=percentile(waits, 0.5),
        p99=percentile(waits, 0.99),
        longest=max(waits),
        failed=len(jobs) - len(waits),
        failed_loads=tally.failed_loads,
        cut=tally.cut,
        peak=tally.peak[DEVICE] / G,
    )
