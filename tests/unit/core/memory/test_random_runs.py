"""Random machines, random requests, random misfortune: what must stay true is checked after each event."""

from functools import partial
from random import Random

import pytest

from router.core.memory.devices import Device
from router.core.memory.footprints import Placement
from router.core.memory.order import ByKey
from router.core.memory.residency import Residency
from router.core.memory.resident import Loadable, Policy
from router.core.memory.states import State
from scripts.residency.machine import Engine, Job, Machine
from scripts.residency.pulling import Pulling

G = 2**30
TOTAL = {"gpu0": 24 * G, "ram": 64 * G}


class Checks:
    """The invariants of `router.core.memory`, looked at after each event."""

    def __init__(self, residency: Residency, *, is_exact: bool) -> None:
        self.residency = residency
        self.is_exact = is_exact

    def __call__(self, machine: Machine) -> None:
        """Check all."""
        self._memory()
        assert machine.tally.cut == 0, "a running answer was cut"
        for name, resident in self.residency.residents().items():
            self._resident(name, machine)
            assert resident.leases.items() <= resident.waiting.items()
            assert not (resident.is_unused and resident.state is State.QUEUED and not resident.wish.load)

    def _memory(self) -> None:
        reservations = self.residency.reservations
        for device in TOTAL:
            used = sum(each.bytes.get(device, 0) for each in reservations.holdings.values())
            assert used == reservations.reserved(device)
            if self.is_exact:
                assert used <= reservations.ceiling(device), "reserved beyond what there is"

    def _resident(self, name: str, machine: Machine) -> None:
        resident, process = self.residency.residents()[name], machine.processes.get(name)
        assert resident.holds_memory == (name in self.residency.reservations.holdings)
        if process is not None:
            assert resident.holds_memory, "a process without a reservation"
        if resident.state in {State.UNLOADING, State.RELEASING, State.UNLOADED, State.QUEUED, State.FAILED}:
            assert not resident.in_flight, "told to end while it served"
        if resident.state is State.UNLOADING and not resident.failures.reason:
            assert not resident.loadable.pinned, "a pinned backend was told to end"


def machine_of(seed: int, *, is_exact: bool, keys: bool = False, pinned: bool = False) -> Machine:
    """Make a machine of up to ten backends, with footprints that are right or wrong."""
    random = Random(seed)  # noqa: S311
    residency = Residency(
        [Device(name, int(size * random.uniform(0.7, 1.0)), size) for name, size in TOTAL.items()],
        Policy(max_wait=random.choice([20.0, 120.0])),
        order=ByKey({"a": 2.0}) if keys else None,
    )
    engines = []
    for number in range(random.randint(2, 10)):
        size = {"gpu0": random.randint(1, 12) * G, "ram": random.randint(0, 8) * G}
        known = {device: int(each * (1 if is_exact else random.uniform(0.6, 1.5))) for device, each in size.items()}
        name = f"m{number}"
        engines.append(
            Engine(
                name,
                size,
                load=random.uniform(1.0, 30.0),
                unload=random.uniform(0.1, 3.0),
                slots=random.randint(1, 6),
                fails=0.0 if is_exact else 0.1,
            )
        )
        loadable = Loadable(
            name,
            (Placement(name, known, is_told=is_exact),),
            slots=engines[-1].slots,
            pinned=pinned and number == 0,
            unload_after=random.choice([20.0, 1e9]),
        )
        residency.add(loadable, 0.0)
    checks = Checks(residency, is_exact=is_exact)
    return Machine(Pulling(residency), engines, TOTAL, seed=seed, lag=random.uniform(0.0, 5.0), check=checks)


def jobs_of(machine: Machine, seed: int, count: int, *, rate: float = 0.5, impatient: bool = False) -> list[Job]:
    """Make requests at random moments, in bursts."""
    random, names = Random(seed + 1), list(machine.engines)  # noqa: S311
    now, jobs = 0.0, []
    for number in range(count):
        now += random.expovariate(rate) if random.random() < 0.7 else 0.0
        jobs.append(
            Job(
                number,
                now,
                random.choice(names),
                random.expovariate(1.0),
                key=random.choice("abc"),
                keep_alive=random.choice([None, None, None, 0.0, 30.0]),
                leaves_after=random.expovariate(0.05) if impatient and random.random() < 0.3 else 1e9,
            )
        )
    return jobs


@pytest.mark.parametrize("seed", range(15))
def test_whatever_comes_all_are_served(seed):
    """With footprints as they are, and engines that work, nobody is refused, nothing is over a limit or cut."""
    machine = machine_of(seed, is_exact=True, keys=seed % 2 == 0)
    jobs = machine.run(jobs_of(machine, seed, 120))
    assert all(job.began >= 0 for job in jobs)
    assert machine.tally.failed_loads == 0


@pytest.mark.parametrize("seed", range(15))
def test_whatever_happens_all_are_served_or_refused(seed):
    """Wrong footprints, failing loads, clients that leave, engines that die: nobody waits for ever."""
    machine = machine_of(seed + 100, is_exact=False, pinned=seed % 3 == 0)
    jobs = jobs_of(machine, seed, 120, impatient=True)
    random = Random(seed)  # noqa: S311
    for _ in range(5):
        name = random.choice(list(machine.engines))
        machine.at(random.uniform(0.0, 300.0), partial(machine.crash, name))
    ended = set()
    for job in machine.run(jobs):
        ended.add("served" if job.began >= 0 else "refused" if job.refused else "left" if job.left else "lost")
    assert "served" in ended
    assert "lost" not in ended


@pytest.mark.parametrize("seed", range(10))
def test_nobody_waits_longer_than_the_swaps_before_take(seed):
    """Equal backends that don't fit together, all wanted all the time: the wait has a bound."""
    random = Random(seed)  # noqa: S311
    residency = Residency([Device("gpu0", 8 * G, 24 * G)], Policy(max_wait=60.0))
    engines = [Engine(f"m{n}", {"gpu0": 8 * G}, load=5.0, unload=0.5) for n in range(4)]
    for each in engines:
        residency.add(Loadable(each.name, (Placement(each.name, each.size, is_told=True),), load_seconds=5.0), 0.0)
    machine = Machine(Pulling(residency), engines, {"gpu0": 24 * G}, check=Checks(residency, is_exact=True))
    now, jobs = 0.0, []
    for number in range(600):
        now += random.expovariate(1.0)
        jobs.append(Job(number, now, random.choice(engines).name, random.expovariate(1.0)))
    longest = max(job.waited for job in machine.run(jobs))
    # All four may be late at once; then each has one swap and what it gathered in max_wait, of four slots.
    assert longest <= 60.0 + 4 * (5.0 + 0.5 + 0.3 + 5.0 + 60.0 / 4 / 4)


def test_fifty_models_at_once_where_three_fit():
    """All are answered, and none is loaded twice in one round."""
    residency = Residency([Device("gpu0", 24 * G, 24 * G)])
    engines = [Engine(f"m{n}", {"gpu0": 8 * G}, load=4.0) for n in range(50)]
    for each in engines:
        residency.add(Loadable(each.name, (Placement(each.name, each.size, is_told=True),)), 0.0)
    machine = Machine(Pulling(residency), engines, {"gpu0": 24 * G}, check=Checks(residency, is_exact=True))
    jobs = machine.run([Job(number, number % 7 / 10, f"m{number % 50}", 1.0) for number in range(200)])
    assert all(job.began >= 0 for job in jobs)
    assert machine.tally.loads == 50
