"""`doctor --report`: all that a report of a fault needs, in one text, without secrets, prompts and answers.

What is read here is put together as it is; `Cleaner` goes over all of it at the end, so that nothing goes past it. The
logs of engines are left out, as they may have prompts in them, and so is what router.log quotes of them.
"""

import json
import os
import platform
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any, Final

from launchers import devices
from launchers.files import read_ordinary
from profiles import Facts
from profiles.detect import gibibytes
from router.config import ConfigError, Loaded, LoggingConfig, load
from router.config.masking import masked, secrets_in
from router.distribution import VERSION
from router.doctor import findings
from router.doctor.cleaning import Cleaner, secrets_of, secrets_of_environment
from router.doctor.findings import FindingGroup
from router.doctor.quotes import without_quotes
from router.telemetry.logs import printable

PACKAGES: Final = (
    "aiohttp", "msgspec", "psutil", "pydantic", "pyyaml", "structlog", "uvloop", "watchfiles",
    "llama-cpp-python", "xllamacpp", "mlx", "mlx-lm", "vllm", "torch", "nvidia-ml-py", "ray",
)  # fmt: skip
PROGRAMS: Final = (
    "llama-server", "vllm", "mlx_lm.server", "nvidia-smi", "rocm-smi", "amd-smi", "rocminfo", "ollama", "docker",
    "systemctl",
)  # fmt: skip
SHOWN: Final = (
    "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES",
    "HSA_OVERRIDE_GFX_VERSION", "LANG", "LC_ALL", "TERM",
)  # fmt: skip
"""Variables whose values are told. Of others that matter, only the name is."""

DEVICES: Final = ("dev/nvidia*", "dev/kfd", "dev/dri/*", "dev/dxg")
TITLE: Final = "# Report of `router doctor`, "
"""Each report begins with it."""

LAST_LINES: Final = 100
LONGEST: Final = 1000
"""Characters of a line of the log."""

MOST: Final = 200_000
"""Bytes of a file that are told: the end of a log, the beginning of a configuration."""


def report(path: Path, environ: Mapping[str, str], facts: Facts, found: list[FindingGroup], now: float) -> str:
    """Write the report on the router.yaml at `path`. `found` is what doctor has found."""
    loaded: Loaded | None = None
    try:
        loaded = load(path, environ)
        files = loaded.files
    except ConfigError as error:
        files = error.files or (path,)
    texts = _texts(files)
    secrets = [*secrets_of_environment(environ, "\n".join(texts.values()))]
    if loaded is not None:
        secrets += secrets_of(loaded.config)
    shown = {}
    for file, text in texts.items():
        try:
            secrets += secrets_in(text, file, prompts=True)
            lines = masked(text, file, prompts=True).splitlines()
            # Comments are longer than what they are about.
            shown[file] = "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#"))
        except ConfigError:
            shown[file] = "It is no YAML, so its secrets can't be told from the rest, and it is left out."
    logs = path.resolve().parent / (loaded.config.logging if loaded else LoggingConfig()).dir
    parts: list[tuple[str, str | list[FindingGroup]]] = [
        ("Versions", "\n".join(_versions())),
        ("Platform", "\n".join(_platform(facts))),
        ("Devices", "\n".join([*_devices(), *_device_files()])),
        ("Variables and programs", "\n".join([*_variables(environ), *_programs()])),
        ("Doctor", found),
        *((file, text) for file, text in shown.items()),
        ("The router that runs", _running(logs)),
        (f"The last lines of {logs.name}/router.log", "\n".join(_last_lines(logs / "router.log"))),
    ]
    when = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC")
    cleaner = Cleaner(secrets, str(Path.home()))
    cleaned = [(cleaner.clean(title), _cleaned(body, cleaner).replace("```", "` ` `")) for title, body in parts]
    text = "\n".join(f"\n## {title}\n\n```\n{body}\n```" for title, body in cleaned)
    return f"{TITLE}{when}\n{text}\n"


def _cleaned(body: str | list[FindingGroup], cleaner: Cleaner) -> str:
    """Clean a part; findings one by one, since the words of router.yaml's problems are told from the values in them."""
    if isinstance(body, str):
        return cleaner.clean(body)
    return findings.render(
        [
            replace(
                group,
                findings=tuple(
                    replace(
                        each, what=cleaner.clean(each.what), text=cleaner.clean(each.text, is_problem=each.is_problem)
                    )
                    for each in group.findings
                ),
            )
            for group in body
        ]
    )


def _texts(files: Iterable[Path]) -> dict[str, str]:
    """Read router.yaml and what it includes, each under its name."""
    read = {}
    for each in files:
        try:
            read[str(each)] = read_ordinary(each, MOST).decode(errors="replace")
        except OSError as error:
            read[str(each)] = f"# can't be read: {error.strerror or error}"
    return read


def _versions() -> Iterator[str]:
    yield f"router {VERSION}"
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"
    hot = find_spec("router.proxy.exchange")
    compiled = hot is not None and not str(hot.origin).endswith(".py")
    yield f"hot path: {'compiled' if compiled else 'not compiled'}"
    yield f"python {platform.python_implementation()} {sys.version}"


def _platform(facts: Facts) -> Iterator[str]:
    yield platform.platform()
    yield " ".join(each for each in (facts.os, facts.machine, facts.chip) if each)
    usable = gibibytes(facts.usable_memory_bytes)
    yield f"{facts.cpus} cpus, {gibibytes(facts.memory_bytes)}, of which {usable} may be used"
    yield f"wsl: {facts.wsl}; container: {_container()}; libc: {' '.join(platform.libc_ver())}"
    for gpu in facts.gpus:
        yield str(gpu)
    yield from facts.notes


def _container() -> bool:
    return any(Path(each).exists() for each in ("/.dockerenv", "/run/.containerenv"))


def _devices() -> Iterator[str]:
    for each in devices.look():
        yield f"{each.name}: {gibibytes(each.total)}, free {gibibytes(each.free)}"


def _device_files(root: Path = Path("/")) -> Iterator[str]:
    """Tell who may open the devices of GPUs: what most often is amiss with AMD's."""
    for pattern in DEVICES:
        for each in sorted(root.glob(pattern)):
            with suppress(OSError, KeyError):
                if stat.S_ISDIR(each.stat().st_mode):
                    continue
                mine = "open to this user" if os.access(each, os.R_OK | os.W_OK) else "not open to this user"
                yield f"/{each.relative_to(root)}: {stat.filemode(each.stat().st_mode)} {each.group()}, {mine}"


def _variables(environ: Mapping[str, str]) -> Iterator[str]:
    yield from (f"{name}={environ[name]}" for name in SHOWN if name in environ)
    begins = ("ROUTER_", "CUDA_", "HIP_", "ROC", "HSA_", "HF_", "VLLM_", "LLAMA_", "MLX_", "OLLAMA_", "NCCL_", "RAY_")
    others = sorted(name for name in environ if name.startswith(begins) and name not in SHOWN)
    yield f"set, too: {', '.join(others) or 'none that matters'}"


def _programs() -> Iterator[str]:
    yield from (f"{name}: {which(name)}" for name in PROGRAMS if which(name))


def _running(logs: Path) -> str:
    """Tell of the router that has the folder of logs, by its lock."""
    try:
        said: Any = json.loads(read_ordinary(logs / "router.lock"))
        pid, url = int(said["pid"]), said.get("url", "none yet")
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return "There is none."
    return f"pid {pid}, at {printable(str(url))}: {'it runs' if _runs(pid) else 'it has ended'}"


def _runs(pid: int, kill: Callable[[int, int], None] = os.kill) -> bool:
    try:
        kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _last_lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - MOST))
            lines = stream.read(MOST).decode(errors="replace").splitlines()
    except OSError as error:
        yield f"can't be read: {error.strerror or error}"
        return
    yield from (printable(line)[:LONGEST] for line in without_quotes(lines[-LAST_LINES:]))
