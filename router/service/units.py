"""What a service's file says: a unit of systemd, or a plist of launchd. Pure.

Both start the router alone; it starts its engines itself. What is closed to it is closed to them, too, so nothing is
that an engine needs: GPUs' devices, locked memory, shared memory, code that is made at run time.
"""

import plistlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from router.service.notify import TO_STOP

MARK: Final = "Written by `router service install`"
"""Stands in each file that is ours: others aren't replaced, and aren't removed."""

MOST_FILES: Final = 65536
"""Open files: each stream needs two."""

WATCHED: Final = 120
"""Seconds without a sign of life after which systemd starts the router anew. A busy machine's worst is some seconds."""

RETRY: Final = 10
"""Seconds until a router that failed is started again, for ever: what it lacked may have come meanwhile."""

PRIVATE: Final = (".ssh", ".gnupg", ".aws", ".kube")
"""Folders of a user's home that no engine has any business with."""

LOW: Final = 1024
"""Ports below it are root's."""


@dataclass(frozen=True, slots=True)
class Service:
    """What a service is made of. `command` starts the router, but for its file.

    `user`: who runs it, for one of the system; None: whose service it is. `written` are folders that it writes to.
    `groups` own the devices of GPUs. `modprobe` is NVIDIA's program that makes theirs.
    """

    name: str
    command: tuple[str, ...]
    config: Path
    home: Path
    path: str
    drain_timeout: float
    logs: Path
    user: str | None = None
    written: tuple[Path, ...] = ()
    keeps_engines: bool = False
    ports: tuple[int, ...] = ()
    groups: tuple[str, ...] = ()
    modprobe: str | None = None

    @property
    def stops_within(self) -> int:
        """Seconds that its stop may take."""
        return int(self.drain_timeout + TO_STOP)


def unit(service: Service) -> str:
    """Write a unit of systemd. It says nothing that systemd 247, of 2020, doesn't know."""
    is_system = service.user is not None
    folder = service.config.parent
    about = f"[Unit]\nDescription=Router of language models, {_plain(service.config)}"
    about += "\nWants=network-online.target\nAfter=network-online.target" * is_system
    lines = [
        "Type=notify",
        f"ExecStart={_command([*service.command, '--config', str(service.config)])}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        f"WorkingDirectory={_plain(folder)}",
        f"Environment={_quoted(f'PATH={service.path}')}",
        "# Secrets that router.yaml takes from the environment: NAME=value, a line each; chmod 600",
        f"EnvironmentFile=-{_plain(folder / 'router.env')}",
        "",
        f"Restart=on-failure\nRestartSec={RETRY}\nSuccessExitStatus=130",
        f"TimeoutStartSec={WATCHED}",
        f"# limits.drain_timeout, {service.drain_timeout:g} s, and what engines take to end",
        f"TimeoutStopSec={service.stops_within}",
        f"WatchdogSec={WATCHED}",
        *_end_of_engines(service),
        "# An engine that the kernel kills for want of memory is the router's to start again",
        "OOMPolicy=continue",
        "",
        f"LimitNOFILE={MOST_FILES}",
        "# For engines that lock their weights in memory",
        "LimitMEMLOCK=infinity",
        "UMask=0077",
        *(_of_the_system(service) if is_system else ()),
        *_gpus(service),
        "",
        *_HARDENED,
    ]
    wanted = "multi-user.target" if is_system else "default.target"
    body = "\n".join(lines)
    head = f"# {MARK}, which may write it anew. Changes of yours: `systemctl edit`."
    return f"{head}\n{about}\n\n[Service]\n{body}\n\n[Install]\nWantedBy={wanted}\n"


def _end_of_engines(service: Service) -> Iterable[str]:
    if service.keeps_engines:
        return ("# server.keep_engines: they stay for the router's next start", "KillMode=process")
    return ("# The router alone is asked to end, and ends its engines after their requests", "KillMode=mixed")


def _of_the_system(service: Service) -> Iterable[str]:
    yield ""
    yield f"User={service.user}"
    if service.groups:
        yield f"# They own the devices of GPUs\nSupplementaryGroups={' '.join(service.groups)}"
    capability = "CAP_NET_BIND_SERVICE" * any(0 < port < LOW for port in service.ports)
    yield f"CapabilityBoundingSet={capability}\nAmbientCapabilities={capability}"
    yield "ProtectSystem=full"
    yield f"ReadWritePaths={' '.join(_quoted(f'-{each}') for each in service.written)}"
    yield f"InaccessiblePaths={' '.join(_quoted(f'-{service.home / each}') for each in PRIVATE)}"
    if not service.keeps_engines and not any(each.is_relative_to(_TMP) for each in service.written):
        # Engines that stay would lose it with the router.
        yield "PrivateTmp=yes"
    yield "ProtectControlGroups=yes\nProtectHostname=yes\nProtectKernelLogs=yes"
    yield "ProtectKernelModules=yes\nProtectKernelTunables=yes"
    yield "# No PrivateDevices, and no ProtectClock, which closes all devices but clocks: engines need those of GPUs"


def _gpus(service: Service) -> Iterable[str]:
    if service.modprobe:
        yield "# Makes the devices of CUDA, which engines mayn't: it needs root's rights"
        yield f"ExecStartPre=-+{_command([service.modprobe, '-c0', '-u'])}"


_HARDENED: Final = (
    "# No MemoryDenyWriteExecute: CUDA and PyTorch make code as they run",
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=~@clock @cpu-emulation @module @mount @obsolete @raw-io @reboot @swap",
    "SystemCallErrorNumber=EPERM",
)

_TMP: Final = Path("/tmp")  # noqa: S108  (nothing is written there)
_ORDINARY: Final = re.compile(r"[\w/.:=@+,-]+", re.ASCII)


def _plain(value: object) -> str:
    """Write a value that is taken as it stands, but for % (systemd.unit(5), specifiers)."""
    return str(value).replace("%", "%%")


def _quoted(value: str) -> str:
    """Write one of several values (systemd.syntax(7), quoting)."""
    text = _plain(value)
    if _ORDINARY.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _command(words: Iterable[str]) -> str:
    """Write a command line, in which $ would be a variable (systemd.service(5), command lines)."""
    return " ".join(_quoted(word.replace("$", "$$")) for word in words)


def label(name: str) -> str:
    """Give a service's name in launchd."""
    return f"local.{name}"


def plist(service: Service) -> str:
    """Write a plist of launchd (launchd.plist(5))."""
    folder = service.config.parent
    said: dict[str, object] = {
        "Label": label(service.name),
        "ProgramArguments": [*service.command, "--config", str(service.config)],
        "WorkingDirectory": str(folder),
        "EnvironmentVariables": {"PATH": service.path},
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": RETRY,
        "ExitTimeOut": service.stops_within,
        # Else the system may slow engines down, as if nobody waited for them.
        "ProcessType": "Interactive",
        "SoftResourceLimits": {"NumberOfFiles": MOST_FILES},
        "HardResourceLimits": {"NumberOfFiles": MOST_FILES},
        "Umask": 0o077,
        "AbandonProcessGroup": service.keeps_engines,
        "StandardOutPath": str(service.logs / "service.out"),
        "StandardErrorPath": str(service.logs / "service.out"),
    }
    if service.user is not None:
        said["UserName"] = service.user
    text = plistlib.dumps(said, sort_keys=False).decode()
    head, tag, rest = text.partition("<plist")
    return f"{head}<!-- {MARK}, which may write it anew. -->\n{tag}{rest}"
