"""Measures what a proxy costs: CPU time, latency and memory of ours beside the installed others.

    make bench                                     ours, and nginx, haproxy and the peers, where installed
    make bench-peers                               installs the peers, each in an environment of its own
    .venv/bin/python -m scripts.bench --runs 5 --soak 2000000 --docs
    .venv/bin/python -m scripts.bench --only router,nginx --runs 1 --share 0.1        a trial

The proxy under test has the first core for itself where there are two; engine and load share the others. CPU time (user
and system) and memory are those of the proxy's whole process tree. Ratios within one run mean something, absolute
figures are this machine's. Each proxy is started afresh for each run, the proxies take turns, and the table shows
medians. docs/performance.md says what each case is.
"""

import argparse
import datetime as dt
import sys
from collections.abc import Callable
from pathlib import Path

from scripts.bench import cases, report
from scripts.bench.proxies import OURS, PROXIES, Proxy
from scripts.bench.results import BenchResults, this_machine
from scripts.instruments.processes import ROOT, DidNotStartError, cores, file_limit, pinned, raise_file_limit


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="of each proxy; the table shows medians (default: 3)")
    parser.add_argument(
        "--only", default="", metavar="NAME,NAME", help="proxies to measure (default: all that are here)"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the usual counts, for a trial (default: 1)")
    parser.add_argument("--no-crowds", action="store_true", help="leave out the 10,000 streams and connections")
    parser.add_argument(
        "--soak", type=int, default=0, help="requests through ours while memory is watched (default: 0)"
    )
    parser.add_argument("--docs", action="store_true", help="write the tables into docs/performance.md, too")
    parser.add_argument("--out", type=Path, default=ROOT / "bench", help="folder for results (default: bench)")
    return parser.parse_args()


def chosen(only: str) -> list[Proxy]:
    """Give the installed proxies, of those that were asked for."""
    names = [name for name in only.split(",") if name]
    unknown = set(names) - {proxy.name for proxy in PROXIES}
    if unknown:
        raise SystemExit(f"--only: there is no {', '.join(sorted(unknown))} among {', '.join(p.name for p in PROXIES)}")
    return [proxy for proxy in PROXIES if proxy.found() and (not names or proxy.name in names)]


def crowd_size(share: float, files: int) -> int:
    """Give how many connections are tried at once; a proxy needs two descriptors for each stream."""
    return min(round(cases.CROWD * share), (files - 500) // 2)


class Bench:
    """One benchmark: the proxies that still take part, and what was found so far."""

    def __init__(self, proxies: list[Proxy], engine: int, core: int, folder: Path, results: BenchResults) -> None:
        self._proxies = proxies
        self._at = (engine, core, folder)
        self._results = results
        self._folder = folder

    def _each(self, what: str, proxies: list[Proxy], do: Callable[[Proxy], None]) -> None:
        """Do it with each of these; one that doesn't start takes no further part."""
        for proxy in proxies:
            try:
                do(proxy)
            except DidNotStartError as error:
                print(error, file=sys.stderr)
                self._proxies.remove(proxy)
            else:
                print(f"{what}: {proxy.name}", file=sys.stderr)

    def runs(self, count: int, share: float) -> None:
        """Measure each proxy `count` times, in turns, and the engine without a proxy."""
        engine = self._at[0]
        for number in range(count):
            self._results.no_proxy.append(cases.open_loop(engine, cases.RATE, cases.SECONDS * share))
            self._each(f"run {number + 1} of {count}", list(self._proxies), lambda proxy: self._run(proxy, share))
            self.save()

    def _run(self, proxy: Proxy, share: float) -> None:
        self._results.runs.setdefault(proxy.name, []).append(cases.run(proxy, *self._at, share))

    def crowds(self, count: int) -> None:
        """Try each proxy that may bear it, once, with very many connections."""
        able = [proxy for proxy in self._proxies if proxy.crowds]
        self._each(f"{count:,} connections", able, lambda proxy: self._crowds(proxy, count))
        self.save()

    def _crowds(self, proxy: Proxy, count: int) -> None:
        self._results.crowds[proxy.name] = cases.crowds(proxy, *self._at, count)

    def soak(self, requests: int) -> None:
        """Put very many requests through ours."""
        for proxy in self._proxies:
            if proxy.name == OURS and requests:
                self._results.soak = cases.soak(proxy, *self._at, requests)
        self.save()

    def save(self, *, docs: bool = False) -> None:
        """Write what was found so far."""
        report.write(self._results, self._folder, docs=docs)


def main() -> None:
    """Measure each proxy in turns."""
    asked = options()
    raise_file_limit()
    proxies, available = chosen(asked.only), cores()
    asked.out.mkdir(parents=True, exist_ok=True)
    results = BenchResults(
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        machine=this_machine(),
        share=asked.share,
        versions={proxy.name: proxy.version() for proxy in proxies},
        scales={proxy.name: proxy.scale for proxy in proxies if proxy.scale != 1},
    )
    with pinned(available[1:] or available), cases.engine(available[-1], asked.out) as engine:
        bench = Bench(proxies, engine, available[0], asked.out, results)
        bench.runs(asked.runs, asked.share)
        if not asked.no_crowds:
            bench.crowds(crowd_size(asked.share, file_limit()))
        bench.soak(asked.soak)
        bench.save(docs=asked.docs)
    print(report.report(results))


if __name__ == "__main__":
    main()
