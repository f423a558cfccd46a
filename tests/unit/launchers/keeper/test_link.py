import json
import os
import socket
import stat
from pathlib import Path

import pytest

from launchers.keeper import link as links
from launchers.keeper.link import Door, Link


@pytest.fixture
def pair():
    """A link, and the router's end of its socket."""
    ours, its = socket.socketpair()
    with ours, its:
        yield Link(ours), its


def test_orders_may_come_in_pieces_and_several_at_a_time(pair):
    """None, once the router is gone."""
    link, router = pair
    assert link.hear() == []
    router.sendall(b'{"do": "look"}\n{"do":')
    assert link.hear() == [{"do": "look"}]
    router.sendall(b' "kill"}\n')
    assert link.hear() == [{"do": "kill"}]
    router.close()
    assert link.hear() is None


def test_what_a_full_socket_does_not_take_waits(pair, monkeypatch):
    """Beyond a bound, nothing more is to be told."""
    monkeypatch.setattr(links, "MOST_SENT", 1000)
    link, router = pair
    assert link.has_room
    link.tell(warning="x" * 4_000_000)
    assert link.send()
    assert not link.has_room
    said = b""
    while not said.endswith(b"\n"):
        said += router.recv(1 << 20)
        link.send()
    assert json.loads(said) == {"warning": "x" * 4_000_000}
    assert link.has_room
    assert not link.send()


def test_a_router_that_is_gone_is_no_error_of_a_message(pair):
    """The next read shows it."""
    link, router = pair
    router.close()
    link.tell(warning="x")
    link.send()


def test_a_door_is_in_a_folder_that_nobody_else_may_enter(tmp_path):
    """And leaves nothing."""
    door = Door(tmp_path)
    assert stat.S_IMODE(door.path.parent.stat().st_mode) == 0o700
    with socket.socket(socket.AF_UNIX) as router:
        router.connect(str(door.path))
        connection, _ = door.listener.accept()
        connection.close()
    door.listener.close()
    door.remove()
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_a_path_that_is_too_long_for_a_socket_is_not_taken(tmp_path):
    """Its door is in /tmp."""
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    door = Door(folder)
    assert door.path.parent.parent == Path("/tmp")  # noqa: S108
    door.listener.close()
    door.remove()


def test_a_door_that_cannot_be_opened_leaves_nothing(tmp_path, monkeypatch):
    """Where a socket's path may be shorter still."""
    monkeypatch.setattr(links, "LONGEST_PATH", 10_000)
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    with pytest.raises(OSError, match="too long"):
        Door(folder)
    assert os.listdir(folder) == []  # noqa: PTH208
