"""What the user of a service can't run, read or write to is said before a service of theirs is made."""

import os
from pathlib import Path

import pytest

from router.service.rights import as_user, lacks
from router.service.units import Service


@pytest.fixture
def service(tmp_path):
    """One of the system, for alice; its folder of logs is there, the one of state isn't."""
    config, logs = tmp_path / "router.yaml", tmp_path / "logs"
    config.touch()
    logs.mkdir()
    written = (tmp_path, logs, tmp_path / "state")
    return Service(
        "router", ("/opt/router",), config, Path("/home/alice"), "/bin", 30, logs, user="alice", written=written
    )


def closed_to(*names: str):
    """Give what tells that a command could be run, unless it is about one of these."""
    return lambda user, words, _: user == "alice" and Path(words[-1]).name not in names and words[0] not in names


@pytest.mark.parametrize(
    ("closed", "said"),
    [
        ((), []),
        (("/opt/router",), [("alice can't run /opt/router: install the router where alice may read it", True)]),
        (("router.yaml",), [("alice can't read {folder}/router.yaml: chown it", True)]),
        (("logs", "state"), [("alice can't write to {folder}/logs: chown it", False)]),
    ],
)
def test_what_is_not_theirs_is_said(service, tmp_path, closed, said):
    """The program and router.yaml stop it; logs and state don't, and folders that aren't there will be theirs."""
    found = [*lacks(service, closed_to(*closed))]
    assert [each.stops for each in found] == [stops for _, stops in said]
    for lack, (sentence, _) in zip(found, said, strict=True):
        assert lack.sentence.startswith(sentence.format(folder=tmp_path))


def test_a_service_of_ones_own_needs_no_try(tmp_path):
    own = Service("router", ("/opt/router",), tmp_path / "router.yaml", tmp_path, "/bin", 30, tmp_path)
    assert not [*lacks(own, closed_to("/opt/router"))]


def test_a_command_is_tried_as_that_user(tmp_path):
    """What only its owner may run, can't be; without root's rights nothing is known, and nothing said."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o700)
    is_root = os.geteuid() == 0
    assert as_user("nobody", (str(program),), Path("/")) is not is_root
    assert as_user("nobody", ("/bin/sh", "-c", "true"), Path("/"))
    if is_root:
        assert not as_user("nobody", ("/bin/sh", "-c", "false"), Path("/"))
