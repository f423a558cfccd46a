"""Simulates the balancing policies: how soon first tokens come, beside an oracle that knows the engines' true state.

    python scripts/simulate.py                                        all scenarios, as Markdown; five minutes
    python scripts/simulate.py --scenario chats --scenario equal      these alone
    python scripts/simulate.py --policy least_latency --policy oracle --load 0.9 --requests 20000 --seed 7
    python scripts/simulate.py --json figures.json                    the same figures as data, too

The policies, the estimates, health and the rules of retries are the router's own code; engines and time are models,
which scripts/balance/simulation describes. All policies of a scenario meet the same requests. TTFT is in seconds, from
a request's arrival at the router, retries included; the first tenth of the requests is left out of the figures. The
oracle is greedy: it sends each request where its first token will come soonest. That is not always the best for later
requests, so a policy can be better than the oracle. A load is a share of what the engines together can do at most.
"""

import argparse
import json
import multiprocessing
import sys
import time
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # as `python scripts/simulate.py`, too

from scripts.balance.simulation.choosing import POLICIES
from scripts.balance.simulation.figures import Key, RunFigures, as_json, figures_of, ordered, summary, tables
from scripts.balance.simulation.scenarios import SCENARIOS, simulate


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="again for more (default: all)")
    parser.add_argument("--policy", action="append", choices=POLICIES, help="again for more (default: all)")
    parser.add_argument("--load", action="append", type=float, help="share of capacity (default: the scenario's own)")
    parser.add_argument("--requests", type=int, default=4000, metavar="N", help="of each run (default: 4000)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random in the first run (default: 1)")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="with one seed more each (default: 3)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser.parse_args(arguments)


def run(key: Key, *, requests: int, seeds: range) -> tuple[Key, RunFigures]:
    """Do the runs of one line of a table: the figures are of all of them together."""
    return key, figures_of([each for seed in seeds for each in simulate(*key, requests=requests, seed=seed)])


def main(arguments: list[str] | None = None) -> None:
    """Run all that was asked for, and print the tables."""
    asked = options(arguments)
    keys = [
        Key(name, load, policy)
        for name in asked.scenario or SCENARIOS
        for load in asked.load or SCENARIOS[name].loads
        for policy in asked.policy or POLICIES
    ]
    began, seeds = time.monotonic(), range(asked.seed, asked.seed + asked.runs)
    work = partial(run, requests=asked.requests, seeds=seeds)
    if asked.workers > 1:
        with multiprocessing.Pool(asked.workers) as pool:
            runs = list(pool.imap_unordered(work, keys, chunksize=len(POLICIES)))
    else:
        runs = list(map(work, keys))
    results = ordered(runs)
    print("\n".join((*tables(results), *summary(results))))
    took = time.monotonic() - began
    print(f"{asked.runs} runs of {asked.requests} requests a line, seeds from {asked.seed}; {took:.0f} s.")
    if asked.json:
        asked.json.write_text(json.dumps(as_json(results), indent=1) + "\n")


if __name__ == "__main__":
    main()
