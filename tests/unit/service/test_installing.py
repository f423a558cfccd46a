"""`service`, with programs in the place of systemd's and launchd's that write down what they are asked for."""

import grp
import os
import plistlib
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from router.cli import service as command
from router.cli.main import main
from router.service import looking
from router.service.installing import state_of, user_in
from router.service.rights import Lack
from router.service.units import MARK, Service

SHOWN = """\
LoadState=loaded
UnitFileState=enabled
ActiveState=active
SubState=running
Result=success
MainPID=42
NRestarts=0
StatusText=Serving 2 models at http://127.0.0.1:8001, 0 requests in flight
"""
PRINTED = """\
gui/501/local.router = {
	active count = 1
	path = /Users/me/Library/LaunchAgents/local.router.plist
	state = running

	pid = 4711
	last exit code = (never exited)
	subdomains = {
		state = active
	}
}
"""


class Here:
    """A folder with router.yaml, a home, and a PATH with these programs alone. `asked` is what they were asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        for each in ("home", "bin"):
            (folder / each).mkdir()
        (folder / "router.yaml").write_text("backends: [{url: 'http://127.0.0.1:1'}]\n")
        self.program("loginctl")

    def program(self, name: str, says: str = "", code: int = 0) -> None:
        """Have a program that says this."""
        (self.folder / f"{name}.says").write_text(says)
        path = self.folder / "bin" / name
        path.write_text(
            f'#!/bin/sh\necho {name} "$@" >>{self.folder}/asked\ncat {self.folder}/{name}.says\nexit {code}\n'
        )
        path.chmod(0o755)

    @property
    def asked(self) -> list[str]:
        """Give the command lines, in their order."""
        path = self.folder / "asked"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def unit(self) -> Path:
        """Give where the user's unit lies."""
        return self.home / ".config/systemd/user/router.service"

    def run(self, *words: str) -> int:
        """Run the command; give its exit code."""
        return main(["service", *words, "--config", str(self.folder / "router.yaml")])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    for name in ("SUDO_USER", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    # What other users may, is test_rights' affair.
    monkeypatch.setattr(command, "lacks", lambda _: ())
    made = Here(tmp_path)
    made.program("systemctl", SHOWN)
    return made


@pytest.fixture
def mac(here, monkeypatch):
    """The same on a Mac."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "getuid", lambda: 501)
    here.program("launchctl", PRINTED)
    return here


def test_a_dry_run_shows_all_and_does_nothing(here, capsys):
    """Where the file would lie, the commands, and the file, which is as it would be."""
    assert here.run("install", "--user", "--dry-run") == 0
    said = capsys.readouterr().out
    assert said.startswith(
        f"# {here.unit}\n# then: systemctl --user daemon-reload\n# then: systemctl --user enable --now"
    )
    assert here.asked == []
    assert not here.unit.exists()
    assert here.run("install", "--user") == 0
    assert said.endswith("\n" + here.unit.read_text())


def test_install_status_remove(here, capsys):
    """It is written and started, tells how it is, and is gone without a trace."""
    assert here.run("install", "--user") == 0
    assert MARK in here.unit.read_text()
    assert here.asked == [
        "systemctl --user daemon-reload",
        "systemctl --user enable --now router.service",
        "loginctl enable-linger",
    ]
    assert "journalctl --user -u router" in capsys.readouterr().out
    assert here.run("status", "--user") == 0
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows == {
        "file": str(here.unit),
        "state": "active (running)",
        "at boot": "enabled",
        "pid": "42",
        "says": "Serving 2 models at http://127.0.0.1:8001, 0 requests in flight",
    }
    assert here.run("remove", "--user") == 0
    assert here.asked[-2:] == ["systemctl --user disable --now router.service", "systemctl --user daemon-reload"]
    assert not here.unit.exists()
    assert here.run("remove", "--user") == 1
    assert here.run("status", "--user") == 1


def test_status_says_what_no_longer_fits(here, capsys):
    """A longer drain_timeout, and the unit would have requests cut."""
    here.run("install", "--user")
    (here.folder / "router.yaml").write_text("backends: [{url: 'http://127.0.0.1:1'}]\nlimits: {drain_timeout: 20m}\n")
    here.program("systemctl", SHOWN.replace("=active", "=failed").replace("=success", "=watchdog"))
    capsys.readouterr()
    assert here.run("status", "--user") == 1
    said = capsys.readouterr().out
    assert "failed (running)" in said
    assert "ended by  watchdog" in said
    assert "`service install` would write it otherwise now" in said
    assert here.run("install", "--user") == 0
    assert "TimeoutStopSec=1230" in here.unit.read_text()


def test_another_path_changes_no_service(here, capsys, monkeypatch):
    """Whoever looks at it needn't have the PATH of who installed it."""
    here.run("install", "--user")
    monkeypatch.setenv("PATH", f"{here.folder}/bin:/usr/bin:/bin:/usr/sbin")
    capsys.readouterr()
    assert here.run("status", "--user") == 0
    assert "otherwise" not in capsys.readouterr().out


def test_folders_are_of_who_runs_it(tmp_path, monkeypatch):
    """Those that weren't there."""
    given = []
    monkeypatch.setattr(shutil, "chown", lambda path, user: given.append((path, user)))
    logs = tmp_path / "logs"
    written = (tmp_path, logs, tmp_path / "state")
    service = Service("a", ("b",), tmp_path / "c", tmp_path, "", 1, logs, written=written)
    command.make_folders(replace(service, written=(tmp_path, logs)))
    assert given == []
    command.make_folders(replace(service, user="alice"))
    assert given == [(tmp_path / "state", "alice")]
    assert logs.is_dir()


@pytest.mark.parametrize("name", ["../a", "a b", "", "a/b", "a\nb"])
def test_a_name_is_a_name(here, capsys, name):
    assert here.run("install", "--user", "--dry-run", "--name", name) == 2
    assert "letters, digits" in capsys.readouterr().err


def test_a_folder_that_cant_be_named(here, capsys, tmp_path):
    """A new line in a unit would begin a new setting."""
    folder = tmp_path / "a\nExecStart=b"
    folder.mkdir()
    (folder / "router.yaml").write_text((here.folder / "router.yaml").read_text())
    assert main(["service", "install", "--user", "--dry-run", "--config", str(folder / "router.yaml")]) == 2
    assert "can't name this folder" in capsys.readouterr().err


def test_a_service_can_be_removed_whatever_router_yaml_says(here):
    """But not installed with a mistake in it."""
    here.run("install", "--user")
    (here.folder / "router.yaml").unlink()
    assert here.run("status", "--user") == 2
    assert here.run("remove", "--user", "--dry-run") == 0
    assert here.run("remove", "--user") == 0
    assert here.run("install", "--user") == 2
    assert not here.unit.exists()


def test_the_file_of_somebody_else_stays(here, capsys):
    here.unit.parent.mkdir(parents=True)
    here.unit.write_text("[Service]\nExecStart=/bin/true\n")
    for what in ("install", "remove"):
        assert here.run(what, "--user") == 2
    assert "take another --name" in capsys.readouterr().err
    assert here.asked == []
    assert here.run("install", "--user", "--name", "second") == 0
    assert here.unit.with_name("second.service").exists()


def test_what_its_manager_refuses_is_said(here, capsys):
    """With the command, which a person may try."""
    here.program("systemctl", "Failed to connect to bus", code=1)
    assert here.run("install", "--user") == 1
    assert "`systemctl --user daemon-reload` failed: Failed to connect to bus" in capsys.readouterr().err


def test_one_that_ends_with_the_session_is_said(here, capsys):
    here.program("loginctl", code=1)
    assert here.run("install", "--user") == 0
    assert "it runs only while you are logged in" in capsys.readouterr().err


def test_a_system_without_systemd(here, capsys, monkeypatch):
    (here.folder / "bin/systemctl").unlink()
    monkeypatch.setenv("PATH", f"{here.folder}/bin")
    assert here.run("install", "--user") == 2
    assert "this system has no systemd" in capsys.readouterr().err


@pytest.mark.parametrize("uid", [0, 1000])
def test_root_installs_for_the_system_and_others_for_themselves(here, capsys, monkeypatch, uid):
    """Without a word about it."""
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert here.run("install", "--dry-run", *(["--as", "daemon"] if uid == 0 else [])) == 0
    said = capsys.readouterr().out
    assert ("\nUser=daemon\n" in said) is (uid == 0)
    assert ("# /etc/systemd/system/router.service\n" in said) is (uid == 0)


def test_who_runs_it(here, capsys, monkeypatch):
    """Who called sudo; or the owner of router.yaml, but never root."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(looking, "_owner", lambda _: "root")
    assert here.run("install", "--dry-run") == 2
    assert "engines should not run as root" in capsys.readouterr().err
    monkeypatch.setenv("SUDO_USER", "daemon")
    assert here.run("install", "--dry-run") == 0
    assert user_in(capsys.readouterr().out) == "daemon"
    assert here.run("install", "--dry-run", "--as", "nobody-has-this-name") == 2
    assert here.run("install", "--user", "--as", "daemon") == 2


@pytest.mark.parametrize("what", ["status", "remove"])
def test_one_of_roots_folder_can_be_asked_for_and_removed(here, capsys, monkeypatch, what):
    """Neither starts an engine, so nobody need be named."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(looking, "_owner", lambda _: "root")
    assert here.run(what, "--name", "not-here") == 1
    assert "there is no " in capsys.readouterr().err


def test_a_user_who_cant_run_it_gets_no_service(here, capsys, monkeypatch):
    """It would be tried every ten seconds for ever; what can be done without is said, and so is all in a dry run."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    folders = here.folder / "units"
    monkeypatch.setattr(command, "place", lambda *_, **__: folders / "router.service")
    monkeypatch.setattr(command, "lacks", lambda _: (Lack("can't run it", stops=True), Lack("can't log", stops=False)))
    assert here.run("install", "--as", "daemon", "--dry-run") == 0
    said = capsys.readouterr()
    assert said.err == "! can't run it\n! can't log\n"
    assert user_in(said.out) == "daemon"
    assert here.run("install", "--as", "daemon") == 2
    assert "can't run it" in capsys.readouterr().err
    assert not folders.exists()
    assert here.asked == []


def test_only_root_changes_the_system(here, capsys, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert here.run("install", "--system", "--as", "daemon") == 2
    assert "use sudo, or --user" in capsys.readouterr().err
    assert here.asked == []


def test_on_a_mac(mac, capsys):
    """A job that is there already goes first; what is shown can be read as it stands."""
    path = mac.home / "Library/LaunchAgents/local.router.plist"
    assert mac.run("install", "--user", "--dry-run") == 0
    assert plistlib.loads(capsys.readouterr().out.encode())["Label"] == "local.router"
    assert mac.run("install", "--user") == 0
    assert mac.asked == ["launchctl bootout gui/501/local.router", f"launchctl bootstrap gui/501 {path}"]
    assert plistlib.loads(path.read_bytes())["WorkingDirectory"] == str(mac.folder)
    assert (mac.folder / "logs").is_dir()
    capsys.readouterr()
    assert mac.run("status", "--user") == 0
    assert "pid             4711" in capsys.readouterr().out
    assert mac.run("remove", "--user") == 0
    assert not path.exists()
    assert mac.run("install", "--system", "--as", "daemon", "--dry-run") == 0
    assert user_in(capsys.readouterr().out) == "daemon"


def test_launchd_refuses_a_job_that_still_stops(mac, monkeypatch):
    """It is asked again, until the old one has ended."""
    monkeypatch.setattr(command, "AGAIN", 0.01)
    program = mac.folder / "bin/launchctl"
    tries = f'[ "$1" = bootout ] || [ "$(grep -c bootstrap {mac.folder}/asked)" -ge 3 ] || exit 5\n'
    program.write_text(program.read_text().replace("cat ", f"{tries}cat "))
    assert mac.run("install", "--user") == 0
    assert [each.split()[1] for each in mac.asked] == ["bootout", "bootstrap", "bootstrap", "bootstrap"]


def test_state_of_a_service_that_isnt_there():
    """It is launchctl that says so, in a sentence."""
    assert state_of('Could not find service "local.router" in domain for user gui: 501\n') == (False, [])


@pytest.mark.parametrize("program", ["router", "python"])
def test_what_starts_it(tmp_path, monkeypatch, program):
    """The command that was typed, by its link: that leads to the next version, too."""
    (tmp_path / "real").write_text("#!/bin/sh\n")
    (tmp_path / "real").chmod(0o755)
    (tmp_path / program).symlink_to("real")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / program)])
    typed = (str(tmp_path / "router"),)
    assert looking._command() == (typed if program == "router" else (sys.executable, "-m", "router"))


def test_folders_of_programs(monkeypatch, tmp_path):
    """Those that are there, and the router's own first, each once."""
    monkeypatch.setattr(sys, "executable", "/bin/python")
    said = looking._path({"PATH": f"relative:/bin:{tmp_path}:/gone:/bin:"})
    assert said == f"/bin:{tmp_path}"


def test_groups_of_devices(tmp_path):
    """Those that own what engines open; root needs no naming."""
    (tmp_path / "dev/dri").mkdir(parents=True)
    (tmp_path / "dev/dri/renderD128").touch()
    found = looking._groups(tmp_path)
    assert found == (() if (tmp_path / "dev/dri/renderD128").stat().st_gid == 0 else (grp.getgrgid(os.getgid())[0],))
