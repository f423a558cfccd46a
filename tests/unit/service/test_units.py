"""What services' files say, and what systemd-analyze says of them."""

import configparser
import os
import plistlib
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from router.service.units import MARK, Service, plist, unit

ODD = 'my "own" $HOME, 100% ü'
"""A folder's name in which each letter means something to somebody."""

SYSTEMD = shutil.which("systemd-analyze")
verified = pytest.mark.skipif(SYSTEMD is None, reason="there is no systemd-analyze")


@pytest.fixture
def service(tmp_path):
    folder = tmp_path / ODD
    folder.mkdir()
    return Service(
        "router",
        (sys.executable, "-m", "router"),
        folder / "router.yaml",
        tmp_path,
        f"{folder}:/usr/bin",
        300,
        folder / "logs",
        written=(folder, folder / "logs"),
    )


def keys(text: str) -> dict[str, str]:
    """Read the [Service] of a unit."""
    read = configparser.RawConfigParser(strict=False, comment_prefixes=("#",), delimiters=("=",))
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read_string(text)
    return dict(read["Service"])


def analyze(*words: str, runtime: Path) -> str:
    """Run systemd-analyze; give what it says. It finds nothing wrong."""
    done = subprocess.run(
        [str(SYSTEMD), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def changes(service: Service, scope: str) -> Service:
    """Give a service of the user, or one of the system with all that it may say."""
    if scope == "user":
        return service
    return replace(service, user="daemon", groups=("video",), modprobe="/bin/true", ports=(443,))


@verified
@pytest.mark.parametrize("scope", ["user", "system"])
def test_systemd_takes_the_unit(service, scope, tmp_path):
    """It has nothing to say about any line."""
    path = tmp_path / "router.service"
    path.write_text(unit(changes(service, scope)))
    assert analyze(f"--{scope}", "verify", str(path), runtime=tmp_path) == ""


@verified
def test_it_is_hardened(service, tmp_path):
    """By systemd's own measure, from 0 to 10; what engines need of a GPU leaves about 3."""
    path = tmp_path / "router.service"
    path.write_text(unit(replace(service, user="daemon")))
    said = analyze("security", "--offline=yes", "--no-pager", str(path), runtime=tmp_path)
    measured = re.search(r"exposure level for router.service: ([\d.]+)", said)
    assert measured is not None
    assert float(measured[1]) < 4


@pytest.mark.parametrize("scope", ["user", "system"])
def test_what_an_engine_needs_stays_open(service, scope):
    """Devices, also those of which a setting says so in passing; locked memory; code that is made; shared memory."""
    said = keys(unit(changes(service, scope)))
    closing = {
        "PrivateDevices", "DevicePolicy", "DeviceAllow", "ProtectClock", "MemoryDenyWriteExecute", "PrivateIPC",
        "PrivateUsers", "PrivateNetwork", "ProtectHome", "RemoveIPC",
    }  # fmt: skip
    assert closing & said.keys() == set()
    assert said["LimitMEMLOCK"] == "infinity"
    assert said["OOMPolicy"] == "continue"


def test_times_fit(service):
    """A stop may take as long as requests may, and engines after them; a sign of life is asked for."""
    said = keys(unit(replace(service, drain_timeout=1200)))
    assert (said["Type"], said["TimeoutStopSec"], said["WatchdogSec"]) == ("notify", "1230", "120")
    assert (said["Restart"], said["ExecReload"]) == ("on-failure", "/bin/kill -HUP $MAINPID")
    assert plistlib.loads(plist(replace(service, drain_timeout=1200)).encode())["ExitTimeOut"] == 1230


def test_engines_that_stay(service):
    """Their parent isn't ended with the router, and their files of /tmp stay, too."""
    system = replace(service, user="daemon", written=(Path("/srv"),))
    ends, stays = keys(unit(system)), keys(unit(replace(system, keeps_engines=True)))
    assert (ends["KillMode"], ends["PrivateTmp"]) == ("mixed", "yes")
    assert (stays["KillMode"], stays.get("PrivateTmp")) == ("process", None)
    assert plistlib.loads(plist(replace(service, keeps_engines=True)).encode())["AbandonProcessGroup"] is True


def test_a_router_of_tmp_finds_its_files_there(service):
    """So it has no /tmp of its own."""
    assert "PrivateTmp" not in keys(unit(replace(service, user="daemon", written=(Path("/tmp/it"),))))  # noqa: S108


def test_only_a_low_port_needs_a_right(service):
    low, high = (keys(unit(replace(service, user="daemon", ports=ports))) for ports in ((8001, 80), (8001, 0)))
    assert low["AmbientCapabilities"] == low["CapabilityBoundingSet"] == "CAP_NET_BIND_SERVICE"
    assert high["AmbientCapabilities"] == high["CapabilityBoundingSet"] == ""


def test_names_keep_their_letters(service):
    """By systemd's rules of quoting, each in its place."""
    said = keys(unit(service))
    folder = str(service.config.parent).replace("%", "%%")
    quoted = folder.replace('"', '\\"')
    assert said["WorkingDirectory"] == folder
    assert said["EnvironmentFile"] == f"-{folder}/router.env"
    assert said["ExecStart"].endswith(f' -m router --config "{quoted.replace("$", "$$")}/router.yaml"')
    assert said["Environment"] == f'"PATH={quoted}:/usr/bin"'


def test_launchds_plist(service):
    """It can be read, and says what is its own, and what it starts."""
    text = plist(replace(service, user="alice"))
    said = plistlib.loads(text.encode())
    assert MARK in text
    assert said["Label"] == "local.router"
    assert said["ProgramArguments"] == [*service.command, "--config", str(service.config)]
    assert said["KeepAlive"] == {"SuccessfulExit": False}
    assert said["UserName"] == "alice"
    assert "UserName" not in plist(service)
    # A number of another type, and launchd refuses the whole file.
    assert {type(said[key]) for key in ("ExitTimeOut", "ThrottleInterval", "Umask")} == {int}
