"""Tests how a server behaves, then how it bears loads of every kind.

    python scripts/comprehensive_test.py                                a minute, against what `make run` started
    python scripts/comprehensive_test.py --duration 10m --clients 64 --out out
    python scripts/comprehensive_test.py --max-failures 0               for CI: 1 if a check or a request failed

First the behaviour of --base-url: models, the form of answers and streams, errors and their shapes, leaving midway,
limits. Then loads: one client; several; conversations that grow, half of them streamed; clients that leave midway;
bursts; and a reload in the middle of it, where the router's admin API can be reached.
"""

import sys
from pathlib import Path

if not __package__:  # started as a file
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts.stress import options
from scripts.stress.checks import behaviour, reload
from scripts.stress.command import start
from scripts.stress.distribution import Distribution
from scripts.stress.load import Stage


def main() -> int:
    """Look at the behaviour, then run the loads."""
    parser, group = options.parser(__doc__, "how much of it")
    group.add_argument(
        "--clients", type=options.count, default=8, metavar="N", help="of the loads, at a time (default: 8)"
    )
    group.add_argument(
        "--duration",
        type=options.seconds,
        default=60.0,
        metavar="TIME",
        help="of the loads, all together (default: 1m)",
    )
    asked = parser.parse_args()
    shape, clients, seconds = options.shape(asked), asked.clients, asked.duration / 6
    mixed = shape._replace(turns=Distribution("uniform", 1, 4), shared=0.5, stream=0.5)
    stages = [
        Stage(shape, seconds, clients=1),
        Stage(shape, seconds, clients=clients),
        Stage(mixed, seconds, clients=clients, label=f"{clients}, conversations"),
        Stage(shape._replace(leave=0.5), seconds, clients=clients, label=f"{clients}, half leave"),
        Stage(shape, seconds, rate=clients / 2, arrivals=f"bursty:{clients}", label=f"bursts of {clients}"),
        Stage(shape, seconds, clients=clients, label=f"{clients}, a reload", during=reload),
    ]
    return start(asked, stages, checks=behaviour)


if __name__ == "__main__":
    sys.exit(main())
