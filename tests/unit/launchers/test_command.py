"""Any program as an engine: its command, and that its requests are left as they are."""

import pytest

from launchers.engines.command import AnyCommand
from launchers.files import Disk
from launchers.spec import LaunchSpec


def spec(*cmd: str, **env: str) -> LaunchSpec:
    return LaunchSpec("w", "command", "/bin/w", "w", {"cmd": ("w", *cmd), "parallel": 3}, env, 60.0)


def test_it_is_told_its_port():
    """In its arguments and its variables; its program is the one that was found."""
    command = AnyCommand().command(spec("--port", "{port}", "--url=http://h:{port}/", A="x:{port}", B="b"), 7, "/bin/w")
    assert command.argv == ("/bin/w", "--port", "7", "--url=http://h:7/")
    assert (dict(command.env), command.unset) == ({"A": "x:7", "B": "b"}, ())


def test_it_works_on_as_many_requests_as_is_said():
    assert (AnyCommand().works_on(spec().args), AnyCommand(parallel=5).works_on({})) == (3, 5)


@pytest.mark.parametrize("path", ["/inference", "/v1/chat/completions"])
def test_requests_are_left_as_they_are(path):
    """And so is its model, whatever that may be."""
    body = b'{"model": "w", "n": null}'
    assert AnyCommand().put_right(path, body) is body
    assert AnyCommand().find_model("/bin/w", Disk()) == "/bin/w"
