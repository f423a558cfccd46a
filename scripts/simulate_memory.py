"""Simulates models that load and unload by themselves, beside the rules of other programs.

    python -m scripts.simulate_memory                                          all scenarios, as Markdown
    python -m scripts.simulate_memory --scenario bursts --rule router --rule Belady
    python -m scripts.simulate_memory --requests 50000 --seed 7

The decisions are the router's own (router.core.memory); engines, memory and time are models, which scripts/residency
describes. All rules of a scenario meet the same requests. docs/memory.md explains the figures.
"""

import argparse
import multiprocessing
import time
from functools import partial

from scripts.residency.scenarios import RULES, SCENARIOS, Figures, simulate


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="again for more (default: all)")
    parser.add_argument("--rule", action="append", choices=RULES, help="again for more (default: all)")
    parser.add_argument("--requests", type=int, default=5000, metavar="N", help="of each run (default: 5000)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (default: 1)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    return parser.parse_args(arguments)


def line(rule: str, figures: Figures) -> str:
    """Write a rule's figures as a line of the table."""
    each = figures
    return (
        f"| {rule} | {each.loads} | {each.swapping:.0%} | {each.throughput:.3f} | {each.p50:.1f} | {each.p99:.1f} | "
        f"{each.longest:.1f} | {each.failed} |"
    )


def run(key: tuple[str, str], *, requests: int, seed: int) -> tuple[tuple[str, str], Figures | None]:
    """Do the run of one line."""
    return key, simulate(*key, requests=requests, seed=seed)


def main(arguments: list[str] | None = None) -> None:
    """Run all that was asked for, and print the tables."""
    asked = options(arguments)
    scenarios, rules = asked.scenario or list(SCENARIOS), asked.rule or list(RULES)
    began = time.monotonic()
    keys = [(scenario, rule) for scenario in scenarios for rule in rules]
    work = partial(run, requests=asked.requests, seed=asked.seed)
    if asked.workers > 1:
        with multiprocessing.Pool(asked.workers) as pool:
            results = dict(pool.imap_unordered(work, keys))
    else:
        results = dict(map(work, keys))
    for scenario in scenarios:
        print(f"\n**{scenario}**\n")
        print("| rule | loads | swapping | requests/s | wait p50, s | p99 | longest | failed |")
        print("|---|---|---|---|---|---|---|---|")
        for rule in rules:
            figures = results[scenario, rule]
            if figures is not None:
                print(line(rule, figures))
    print(f"\n{asked.requests} requests a line, seed {asked.seed}; {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main()
