"""Measures what logs that can't be written cost requests: on a full disk, to an unread pipe, in a removed folder.

    python -m scripts.bench.logs                         five pairs of each; six minutes
    python -m scripts.bench.logs --pairs 1 --seconds 3   a trial

Requests come by a schedule, to a router whose logs are written, to one whose logs can't be, and to the first again.
Each pair has their p99: what it costs is to be compared with the largest difference between the two of the first.

1. Full disk: the folder is a file system of its own, of 64 KiB, in a namespace (Linux).
2. Unread pipe: standard output and error are a pipe that is full, and that nobody reads.
3. Removed folder: it is removed ten times a second.

The router is this checkout's: compile it first, with `make fast`. It has the first core for itself where there are two.
Figures of one run may be compared, those of two not.
"""

import argparse
import contextlib
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from scripts.bench.cases import answers, beside_engine
from scripts.bench.pairs import beside
from scripts.bench.proxies import MODEL
from scripts.bench.strangers import p99
from scripts.instruments.processes import empty_folder, free_port, running

FULL = 'mount -t tmpfs -o size=64k none "$0" && head -c 65536 /dev/zero >"$0"/full; exec "$@"'
UNREAD = '{ head -c 65536 /dev/zero; exec "$@"; } 2>&1 | sleep 100000'

PLAIN, FULL_DISK, UNREAD_PIPE, REMOVED = "written", "full disk", "unread pipe", "removed folder"


@contextlib.contextmanager
def router(name: str, engine_port: int, core: int, place: Path) -> Iterator[tuple[int, Path]]:
    """Run one of them; give its port and the folder of its logs."""
    port, folder = free_port(), empty_folder(place / name.replace(" ", "-"))
    logs, file = folder / "logs", folder / "router.yaml"
    logs.mkdir()
    file.write_text(
        f"server: {{port: {port}}}\nlogging: {{dir: '{logs}'}}\nstate: {{dir: '{folder}/state'}}\n"
        f"backends: [{{url: 'http://127.0.0.1:{engine_port}', models: [{MODEL}]}}]\n"
    )
    command = [sys.executable, "-m", "router", "--config", str(file)]
    if name == FULL_DISK:
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", FULL, str(logs), *command]
    elif name == UNREAD_PIPE:
        command = ["sh", "-c", UNREAD, "sh", *command]
    with running(command, core, lambda: answers(port), folder / "output.log"):
        yield port, logs


@contextlib.contextmanager
def removed(folder: Path) -> Iterator[None]:
    """Remove a folder in the block, again and again."""
    over = threading.Event()

    def remove() -> None:
        while not over.wait(0.1):
            shutil.rmtree(folder, ignore_errors=True)

    thread = threading.Thread(target=remove)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def measure(name: str, plain: int, other: tuple[int, Path], asked: argparse.Namespace) -> str:
    """Measure both in turns; say what was found."""
    port, logs = other
    now = plain

    @contextlib.contextmanager
    def there() -> Iterator[None]:
        nonlocal now
        now = port
        with removed(logs) if name == REMOVED else contextlib.nullcontext():
            yield
        now = plain

    return f"{name}:\n" + beside(name, asked.pairs, lambda: p99(now, asked.rate, asked.seconds), there)


def main() -> None:
    """Measure each of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=float, default=8, help="of each measurement; default: 8")
    parser.add_argument("--rate", type=float, default=500, help="requests a second; default: 500")
    asked = parser.parse_args()
    with beside_engine() as (port, core, folder), contextlib.ExitStack() as stack:
        routers = {
            name: stack.enter_context(router(name, port, core, folder))
            for name in (PLAIN, FULL_DISK, UNREAD_PIPE, REMOVED)
        }
        plain = routers.pop(PLAIN)[0]
        p99(plain, asked.rate, 2)
        for name, other in routers.items():
            p99(other[0], asked.rate, 2)
            print(measure(name, plain, other, asked))


if __name__ == "__main__":
    main()
