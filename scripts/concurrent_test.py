"""Tests how a server of language models bears many clients at a time.

    python scripts/concurrent_test.py                                   1, 2, 4, 8, 16 clients, 15 s each
    python scripts/concurrent_test.py --clients 1,8,64 --slo ttft=2s,tpot=100ms
    python scripts/concurrent_test.py --rate 2,5,10                     an open loop: by a schedule, whatever is late
    python scripts/concurrent_test.py --compare engine=http://127.0.0.1:9001 --out out

A closed loop (--clients) has a number of clients, each of which asks again when it is answered: it finds what a server
can do. An open loop (--rate) sends each request when it is due, and counts from there: it finds how long people wait.
Ctrl-C gives the report of what ran so far.
"""

import sys
from pathlib import Path

if not __package__:  # started as a file
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts.stress import options
from scripts.stress.command import StageOrder, start
from scripts.stress.load import Stage


def main() -> int:
    """Run the steps, one after another."""
    parser, group = options.parser(__doc__, "how many at a time")
    load = group.add_mutually_exclusive_group()
    load.add_argument("--clients", type=options.counts, default=[1, 2, 4, 8, 16], metavar="N,N,…",
        help="a step for each number of clients (default: 1,2,4,8,16)")  # fmt: skip
    load.add_argument("--rate", type=options.rates, metavar="R,R,…", help="a step for each number of requests/s")
    group.add_argument(
        "--duration", type=options.seconds, default=15.0, metavar="TIME", help="of a step (default: 15s)"
    )
    group.add_argument("--arrivals", type=options.arriving, default="poisson", metavar="HOW",
        help="with --rate: constant, poisson, or bursty:N, N at a moment (default: poisson)")  # fmt: skip
    asked = parser.parse_args()
    shape, seconds = options.shape(asked), asked.duration
    if asked.rate:
        stages = [Stage(shape, seconds, rate=rate, arrivals=asked.arrivals) for rate in asked.rate]
    else:
        stages = [Stage(shape, seconds, clients=number) for number in asked.clients]
    return start(asked, stages, of=StageOrder.STEPS)


if __name__ == "__main__":
    sys.exit(main())
