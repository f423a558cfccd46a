"""Measures what our own features cost a request and an event: logs and metrics, and keys with limits.

    python -m scripts.bench.features                         five rounds; four minutes
    python -m scripts.bench.features --rounds 1 --share 0.1  a trial

Routers that differ in one thing run beside each other, and get the same loads in turns:

- "nothing told": all that is done with a request after its end is left out: its lines in logs, metrics, the history,
  usage.
- "as it is": with all defaults.
- "with limits": the clients' key, and its team, have limits of each kind.

Each ratio is of CPU time, between two neighbours of one round. The first is of two routers that are alike: what the
machine itself differs by. The routers are this checkout's: compile it first, with `make fast`. They have the first core
for themselves where there are two. Figures of one run may be compared, those of two not.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import psutil

from scripts.bench.cases import EVENT, REQUEST, Case, answers, beside_engine, cost
from scripts.bench.proxies import MODEL
from scripts.instruments.processes import empty_folder, free_port, running

KEY = "a-key-that-is-right"
WIDE = 10**9
_TIMES = ("minute", "day", "month")
_COUNTED = [f"{what}_per_{time}" for what in ("requests", "tokens") for time in _TIMES]
LIMITS = ", ".join(f"{name}: {WIDE}" for name in (*_COUNTED, "cost_per_day", "cost_per_month", "max_in_flight"))
WITH_LIMITS = f"""
auth:
  keys: [{{name: alice, key: {KEY}, {LIMITS}}}]
  teams: {{all: {{keys: [alice], {LIMITS}}}}}
"""

AGAIN, AS_IT_IS, UNTOLD, LIMITED = "as it is, again", "as it is", "nothing told", "with limits"
PAIRS = ((AGAIN, AS_IT_IS), (AS_IT_IS, UNTOLD), (LIMITED, AS_IT_IS))
"""Each is divided by the other."""


@contextlib.contextmanager
def router(name: str, engine_port: int, core: int, place: Path) -> Iterator[tuple[psutil.Process, int]]:
    """Run one of them; give its process and its port."""
    port, folder = free_port(), empty_folder(place / name)
    file = folder / "router.yaml"
    file.write_text(
        f"server: {{port: {port}}}\nlogging: {{dir: '{folder}/logs'}}\n"
        f"backends: [{{url: 'http://127.0.0.1:{engine_port}', models: [{MODEL}]}}]\n" + WITH_LIMITS * (name == LIMITED)
    )
    module = "scripts.bench.untold" if name == UNTOLD else "router"
    command = [sys.executable, "-m", module, "--config", str(file)]
    with running(command, core, lambda: answers(port, KEY), folder / "router.out") as process:
        yield process, port


def measure(routers: dict[str, tuple[psutil.Process, int]], case: Case, rounds: int) -> str:
    """Put a load on each in turns; say what was found."""
    found: dict[str, list[float]] = {name: [] for name in routers}
    for number in range(-1, rounds):  # the first round warms them up
        for name in list(routers) if number % 2 else reversed(routers):
            costs = cost(*routers[name], case, KEY)
            if costs.lost:
                raise SystemExit(f"{name}: {costs.lost} of {costs.units} lost")
            if number >= 0:
                found[name].append(costs.total)
        print(f"{case.name}: round {number + 1} of {rounds}", file=sys.stderr)
    lines = [f"{case.name}: " + ", ".join(f"{median(costs):.2f} {name}" for name, costs in found.items())]
    for name, other in PAIRS:
        ratios = [one / two for one, two in zip(found[name], found[other], strict=True)]
        listed = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        lines.append(f"  {median(ratios):.3f} times, {name} / {other}: {listed}")
    return "\n".join(lines)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual counts, for a trial (default: 1)")
    asked = parser.parse_args()
    with beside_engine() as (port, core, folder), contextlib.ExitStack() as stack:
        # An even number of neighbours' places: none is always behind the same one.
        routers = {
            name: stack.enter_context(router(name, port, core, folder)) for name in (AGAIN, AS_IT_IS, UNTOLD, LIMITED)
        }
        for case in (REQUEST, EVENT):
            print(measure(routers, case.scaled(asked.share), asked.rounds))


if __name__ == "__main__":
    main()
