"""What a proxy adds to a request and to a streamed event, in CPU time: ours beside those that are installed.

    make bench                                     ours, and of nginx, haproxy and the peers those that are there
    make bench-peers                               installs the peers, each in an environment of its own
    .venv/bin/python -m scripts.bench --runs 5 --out bench

The proxy under test has the first core for itself where there are two; engine and load share the other. What counts is
the CPU time (user and system) of the proxy's whole process tree, read from /proc, over what it carried meanwhile:
ratios within one run mean something, absolute figures are this machine's. Each proxy is started afresh for each run,
the proxies take turns, and the table shows medians.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvloop

from scripts import bench_load
from scripts.bench_engine import EVENTS

HERE = Path(__file__).parent
PEERS = HERE.parent / ".peers"
MODEL = "bench"


def _body(**more: object) -> bytes:
    return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hello there."}], **more}).encode()


@dataclass(frozen=True)
class Proxy:
    """A proxy to measure: how to tell whether it is here, and how to start it between two ports."""

    name: str
    found: Callable[[], bool]
    command: Callable[[int, int, Path], list[str]]  # its port, the engine's port, a folder for its files


def ours(port: int, engine: int, folder: Path) -> list[str]:
    """Run our router with the default features on: balancing, health, logs."""
    config = folder / "router.yaml"
    config.write_text(
        f"server: {{port: {port}}}\nbackends: [{{url: 'http://127.0.0.1:{engine}', models: [{MODEL}]}}]\n"
    )
    return [sys.executable, "-m", "router", "--config", str(config)]


def nginx(port: int, engine: int, folder: Path) -> list[str]:
    """Run one worker as nginx's documentation sets a proxy for streams: no buffering, kept-alive upstreams."""
    config = folder / "nginx.conf"
    config.write_text(f"""
        daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
        events {{ worker_connections 16384; }}
        http {{
            access_log {folder}/access.log;
            client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
            uwsgi_temp_path {folder}; scgi_temp_path {folder};
            keepalive_requests 10000000;
            upstream engine {{ server 127.0.0.1:{engine}; keepalive 512; keepalive_requests 10000000; }}
            server {{
                listen 127.0.0.1:{port};
                location / {{
                    proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection "";
                    proxy_buffering off; proxy_read_timeout 600s;
                }}
            }}
        }}
    """)
    return ["nginx", "-e", f"{folder}/error.log", "-c", str(config)]


def haproxy(port: int, engine: int, folder: Path) -> list[str]:
    """Run one thread, connections reused."""
    config = folder / "haproxy.cfg"
    config.write_text(f"""
global
    nbthread 1
    maxconn 9000
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    http-reuse always
frontend front
    bind 127.0.0.1:{port}
    default_backend engine
backend engine
    server one 127.0.0.1:{engine} maxconn 9000
""")
    return ["haproxy", "-f", str(config)]


def peer(name: str, *command: str) -> Proxy:
    """Describe a router for language models that `make bench-peers` installs: round robin, and no line a request."""
    program = PEERS / name / "bin" / command[0]

    def launch(port: int, engine: int, _: Path) -> list[str]:
        own = ["--host", "127.0.0.1", "--port", str(port), "--worker-urls", f"http://127.0.0.1:{engine}"]
        quiet = ["--policy", "round_robin", "--log-level", "error", "--prometheus-port", str(free_port())]
        return [str(program), *command[1:], *own, *quiet]

    return Proxy(name, program.exists, launch)


PROXIES = (
    Proxy("router", lambda: True, ours),
    Proxy("nginx", lambda: shutil.which("nginx") is not None, nginx),
    Proxy("haproxy", lambda: shutil.which("haproxy") is not None, haproxy),
    peer("vllm-router", "vllm-router"),
    peer("sglang-router", "python", "-m", "sglang_router.launch_router"),
    peer("smg", "smg", "launch"),
)


@dataclass(frozen=True)
class Case:
    """A load, and what its CPU time is divided by."""

    name: str
    body: bytes
    clients: int
    each: int
    stream: bool

    @property
    def units(self) -> int:
        """Requests, or events where they stream."""
        return self.clients * self.each * (EVENTS if self.stream else 1)


CASES = (
    Case("µs a request", _body(), clients=32, each=500, stream=False),
    Case("µs an event, full speed", _body(stream=True), clients=16, each=40, stream=True),
    Case("µs an event, 200 streams at 50/s", _body(stream=True, paced=True), clients=200, each=1, stream=True),
)
MEMORY = "MB resident"


def free_port() -> int:
    """Find a port that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def running(command: Sequence[str], core: int, port: int, log: Path) -> Iterator[psutil.Process]:
    """Run a process on one core, from when its port answers to the end of the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=HERE.parent)
    tree = psutil.Process(process.pid)
    try:
        if hasattr(tree, "cpu_affinity"):
            tree.cpu_affinity([core])
        until = time.monotonic() + 60
        while True:
            if answers(port):
                break
            if time.monotonic() > until or process.poll() is not None:
                raise SystemExit(f"{command[0]} didn't start; see {log}:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield tree
    finally:
        for each in family(tree):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.terminate()
        process.wait()


def answers(port: int) -> bool:
    """Tell whether a request is answered at this port: some proxies listen before they know their backends."""
    body = _body()
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as sock:
        sock.sendall(bench_load.request(body))
        return sock.recv(12) == b"HTTP/1.1 200"
    return False


def family(tree: psutil.Process) -> list[psutil.Process]:
    """Give a process and all that it started; nothing, if it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [tree, *tree.children(recursive=True)]
    return []


def cpu_seconds(tree: psutil.Process) -> float:
    """Add up user and system time of the tree."""
    return sum(each.cpu_times().user + each.cpu_times().system for each in family(tree))


def measure(proxy: Proxy, engine: int, core: int, folder: Path) -> dict[str, float]:
    """Start a proxy, put each load on it, and tell what each unit cost."""
    place = Path(tempfile.mkdtemp(prefix=f"{proxy.name}-", dir=folder))
    port = free_port()
    figures: dict[str, float] = {}
    with running(proxy.command(port, engine, place), core, port, place / "output.log") as tree:
        uvloop.run(bench_load.load(port, _body(), clients=32, each=50, stream=False))  # to warm up
        for case in CASES:
            before = cpu_seconds(tree)
            tally = uvloop.run(
                bench_load.load(port, case.body, clients=case.clients, each=case.each, stream=case.stream)
            )
            if tally.failures:
                raise SystemExit(f"{proxy.name}: {tally.failures} of {case.clients * case.each} answers didn't come")
            figures[case.name] = (cpu_seconds(tree) - before) / case.units * 1e6
        figures[MEMORY] = sum(each.memory_info().rss for each in family(tree)) / 1e6
    return figures


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """Write the medians as Markdown."""
    names = [case.name for case in CASES] + [MEMORY]
    lines = [f"| proxy | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for proxy, runs in results.items():
        medians = [statistics.median(run[name] for run in runs) for name in names]
        lines.append(f"| {proxy} | {' | '.join(f'{value:.1f}' for value in medians)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure each proxy in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="of each proxy; the table shows medians (default: 3)")
    parser.add_argument("--out", type=Path, default=HERE.parent / "bench", help="folder for results (default: bench)")
    options = parser.parse_args()
    proxies = [proxy for proxy in PROXIES if proxy.found()]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[1:])
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[dict[str, float]]] = {proxy.name: [] for proxy in proxies}
    engine = free_port()
    command = [sys.executable, str(HERE / "bench_engine.py"), "--port", str(engine)]
    with running(command, cores[-1], engine, options.out / "engine.log"):
        for number in range(options.runs):
            for proxy in proxies:
                results[proxy.name].append(measure(proxy, engine, cores[0], options.out))
                print(f"run {number + 1} of {options.runs}: {proxy.name}", file=sys.stderr)
    machine = f"{platform.platform()}, Python {platform.python_version()}, {len(cores)} cores"
    (options.out / "results.json").write_text(json.dumps({"machine": machine, "results": results}, indent=1))
    (options.out / "results.md").write_text(f"{table(results)}\n\n{machine}\n")
    print(table(results))


if __name__ == "__main__":
    main()
