"""Sends one request after another, for long, to find drift, leaks and slow decay.

    python scripts/serial_stress_test.py                                5 minutes
    python scripts/serial_stress_test.py --duration 8h --out night --max-drift 1.2

The time is cut into equal parts. The last is compared with the first: times, requests/s, and the memory of the server
and its children, where it runs on this machine. Ctrl-C gives the report of what ran so far.
"""

import sys
from pathlib import Path

if not __package__:  # started as a file
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts.stress import options, units
from scripts.stress.command import StageOrder, start
from scripts.stress.load import Stage


def main() -> int:
    """Run the parts, one after another."""
    parser, group = options.parser(__doc__, "how long")
    group.add_argument("--duration", type=options.seconds, default=300.0, metavar="TIME", help="of all (default: 5m)")
    group.add_argument("--parts", type=options.count, default=10, metavar="N", help="equal parts of it (default: 10)")
    group.add_argument("--max-drift", type=float, metavar="RATIO",
        help="exit with 1, if a time or the memory is more than so many times what it was")  # fmt: skip
    asked = parser.parse_args()
    shape, each = options.shape(asked), asked.duration / asked.parts
    labels = [f"{units.time(part * each)} to {units.time((part + 1) * each)}" for part in range(asked.parts)]
    return start(asked, [Stage(shape, each, clients=1, label=label) for label in labels], of=StageOrder.PARTS)


if __name__ == "__main__":
    sys.exit(main())
