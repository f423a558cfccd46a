"""The proxies that are measured, and how each is started: ours, nginx, haproxy, and the peers of `make bench-peers`.

Each is set up as its documentation says for one backend that speaks OpenAI's API, with the limits that ten thousand
streams need. nginx logs requests, as ours does, since one line of configuration turns that on.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from router.distribution import VERSION
from scripts.instruments.processes import ROOT, file_limit, free_port

PEERS = ROOT / ".peers"
MODEL = "bench"


@dataclass(frozen=True)
class Proxy:
    """A proxy to measure: whether it is installed, and how it is started between two ports."""

    name: str
    found: Callable[[], bool]
    command: Callable[[int, int, Path], list[str]]
    """Gives the command, for its port, the engine's port, and an empty folder for its files."""
    version: Callable[[], str]
    env: Mapping[str, str] = field(default_factory=dict)
    scale: float = 1.0
    """The share of the usual counts that it is measured with."""
    crowds: bool = True
    """Whether it is tried with ten thousand connections."""


def ours(port: int, engine: int, folder: Path) -> list[str]:
    """Run our router as `pip install .` makes it, with the default features on: balancing, health, logs."""
    config = folder / "router.yaml"
    config.write_text(f"""
server: {{port: {port}}}
backends: [{{url: 'http://127.0.0.1:{engine}', models: [{MODEL}]}}]
logging: {{dir: '{folder}/logs'}}
""")
    installed = PEERS / "router" / "bin" / "python"
    return [str(installed) if installed.exists() else sys.executable, "-P", "-m", "router", "--config", str(config)]


def nginx(port: int, engine: int, folder: Path) -> list[str]:
    """Run one worker as nginx's documentation sets a proxy for streams: no buffering, kept-alive upstreams."""
    config = folder / "nginx.conf"
    config.write_text(f"""
        daemon off; worker_processes 1; worker_rlimit_nofile {file_limit()};
        pid {folder}/pid; error_log {folder}/error.log;
        events {{ worker_connections 32768; }}
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
    most = min(30000, (file_limit() - 100) // 2)  # it doesn't start with more than it has descriptors for
    config.write_text(f"""
global
    nbthread 1
    maxconn {most}
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    option http-no-delay
    http-reuse always
frontend front
    bind 127.0.0.1:{port}
    default_backend engine
backend engine
    server one 127.0.0.1:{engine} maxconn {most}
""")
    return ["haproxy", "-f", str(config)]


def litellm(port: int, engine: int, folder: Path) -> list[str]:
    """Run one worker of LiteLLM's proxy on a configuration file with one model."""
    config = folder / "litellm.yaml"
    config.write_text(f"""
model_list:
  - model_name: {MODEL}
    litellm_params: {{model: openai/{MODEL}, api_base: 'http://127.0.0.1:{engine}/v1', api_key: none}}
""")
    own = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    return [str(PEERS / "litellm/bin/litellm"), "--config", str(config), *own]


def router(name: str, *command: str, more: tuple[str, ...] = ()) -> Proxy:
    """Describe a router of the family that takes --worker-urls: round robin, without a log of requests."""
    program = PEERS / name / "bin" / command[0]

    def launch(port: int, engine: int, _: Path) -> list[str]:
        own = ["--host", "127.0.0.1", "--port", str(port), "--worker-urls", f"http://127.0.0.1:{engine}"]
        quiet = ["--policy", "round_robin", "--log-level", "error", "--prometheus-port", str(free_port())]
        return [str(program), *command[1:], *own, *quiet, *more]

    return Proxy(name, program.exists, launch, lambda: installed(name))


def installed(name: str) -> str:
    """Ask a peer's environment for the peer's version."""
    code = f"import importlib.metadata; print(importlib.metadata.version({name!r}))"
    return said([str(PEERS / name / "bin/python"), "-c", code])


def said(command: list[str]) -> str:
    """Give the first version number in a command's output."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"\d+(\.\d+)+\S*", done.stdout + done.stderr)
    return found[0] if found else "?"


OURS = "router"
ROUTERS = ("vllm-router", "sglang-router", "smg")
PROXIES = (
    Proxy(OURS, lambda: True, ours, lambda: VERSION),
    Proxy("nginx", lambda: shutil.which("nginx") is not None, nginx, lambda: said(["nginx", "-v"])),
    Proxy("haproxy", lambda: shutil.which("haproxy") is not None, haproxy, lambda: said(["haproxy", "-v"])),
    router("vllm-router", "vllm-router"),
    router("sglang-router", "python", "-m", "sglang_router.launch_router"),
    router("smg", "smg", "launch", more=("--max-concurrent-requests", "0")),  # no bound; others have none that matters
    Proxy(
        "litellm",
        (PEERS / "litellm/bin/litellm").exists,
        litellm,
        lambda: installed("litellm"),
        env={
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # it wants a key of its clients, or this
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it asks the network for prices, or takes those that it came with
            "LITELLM_LOG": "ERROR",
        },
        scale=0.02,
        crowds=False,
    ),
)
