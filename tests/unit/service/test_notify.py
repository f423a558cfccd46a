"""What a service manager is told, by a socket that stands for systemd's."""

import os
import re
import socket
import time

import pytest

from router.service.notify import Notifier, sentence
from tests.running import eventually


class Manager:
    """A datagram socket, at a path or an abstract name, with what it was told."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(0)
        self.socket.bind(address.replace("@", "\0", 1))
        self.told: list[dict[str, str]] = []
        self.environ = {"NOTIFY_SOCKET": address, "OTHER": "stays"}

    def hear(self) -> list[dict[str, str]]:
        """Take what has come; give all of it."""
        while True:
            try:
                said = self.socket.recv(4096).decode()
            except BlockingIOError:
                return self.told
            self.told.append(dict(line.split("=", 1) for line in said.split("\n")))

    async def hears(self, key: str, times: int = 1) -> dict[str, str]:
        """Wait until it was told of this so many times; give the last."""
        await eventually(lambda: sum(key in each for each in self.hear()) >= times)
        return [each for each in self.told if key in each][-1]


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    path = f"{tmp_path}/notify"
    made = Manager(path if request.param == "path" else f"@{path}")
    yield made
    made.socket.close()


async def test_a_life(manager):
    """Ready, a reload, and the end; each with a sentence, in their order."""
    with Notifier(manager.environ) as notifier:
        assert manager.environ == {"OTHER": "stays"}
        notifier.ready(lambda: "Serving 1 model")
        before = time.monotonic_ns() // 1000
        notifier.reloading()
        notifier.reloaded()
        notifier.stopping(300)
        ready, reloading, reloaded, stopping = manager.hear()
    assert ready == reloaded == {"READY": "1", "STATUS": "Serving 1 model"}
    assert reloading["RELOADING"] == "1"
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert stopping == {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "330000000", "STATUS": "Serving 1 model"}


async def test_it_lives(manager):
    """Twice within the manager's time; and the sentence comes again when it has changed."""
    words = ["Serving 1 model"]
    manager.environ |= {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}
    with Notifier(manager.environ) as notifier:
        notifier.ready(lambda: words[0])
        assert await manager.hears("WATCHDOG", 3) == {"WATCHDOG": "1"}
        words[0] = "Serving 2 models"
        assert await manager.hears("STATUS", 2) == {"WATCHDOG": "1", "STATUS": "Serving 2 models"}


async def test_each_message_is_a_sign_of_life(manager):
    """Reloads that follow each other, each before the next beat is due, don't have a router killed that lives."""
    manager.environ |= {"WATCHDOG_USEC": "60000000"}
    with Notifier(manager.environ) as notifier:
        notifier.ready(str)
        notifier.reloading()
        notifier.reloaded()
        notifier.stopping(1)
        told = manager.hear()
    assert len(told) > 3
    assert [each for each in told if each.get("WATCHDOG") != "1"] == []


async def test_a_loop_that_is_held_up_says_nothing(manager):
    """So the manager starts the router anew."""
    manager.environ |= {"WATCHDOG_USEC": "20000"}
    with Notifier(manager.environ) as notifier:
        notifier.ready(str)
        await manager.hears("WATCHDOG")
        manager.told.clear()
        time.sleep(0.1)  # noqa: ASYNC251  (that is what holds it up)
        assert manager.hear() == []
        await manager.hears("WATCHDOG")


@pytest.mark.parametrize("more", [{"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {}])
async def test_nobody_watches(manager, more):
    """Another process is meant, or nothing that can be read."""
    manager.environ |= more
    with Notifier(manager.environ) as notifier:
        assert manager.environ == {"OTHER": "stays"}
        notifier.ready(str)
        notifier._beat()
        assert manager.hear() == [{"READY": "1", "STATUS": ""}]


async def test_a_manager_that_has_no_room(manager):
    """The loop isn't held up, and the latest of what waited comes as soon as there is room."""
    with Notifier(manager.environ) as notifier:
        notifier.ready(str)
        for _ in range(100_000):
            notifier.reloading()
            if notifier._unsent:
                break
        else:
            pytest.fail("it always has room")
        notifier.reloaded()
        before = len(manager.hear())
        await eventually(lambda: len(manager.hear()) > before)
    assert manager.told[-1] == {"READY": "1", "STATUS": ""}


async def test_a_manager_that_is_gone(manager):
    """Nothing fails."""
    manager.environ["NOTIFY_SOCKET"] += "-gone"
    with Notifier(manager.environ) as notifier:
        notifier.ready(str)
        notifier.stopping(1)
    assert manager.hear() == []


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:9"}])
async def test_without_a_manager_there_is_nothing(environ):
    """No socket, no timer."""
    with Notifier(environ) as notifier:
        notifier.ready(lambda: pytest.fail("nobody asks"))
        notifier.reloading()
        notifier.reloaded()
        notifier.stopping(1)
        assert (notifier._socket, notifier._timer) == (None, None)
    assert environ == {}


async def test_a_sentence_is_one_line(manager):
    """And a short one: a name of a model may be anything."""
    with Notifier(manager.environ) as notifier:
        notifier.ready(lambda: "a\nREADY=0\n" + "b" * 1000)
        (told,) = manager.hear()
    assert set(told) == {"READY", "STATUS"}
    assert len(told["STATUS"]) == 200


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "Serving 2 models at http://a, 1 request in flight"),
        ({"models": 1, "in_flight": 0}, "Serving 1 model at http://a, 0 requests in flight"),
        ({"mistakes": 1}, r"Serving .* flight; router.yaml is not taken over: 1 mistake \(router check\)"),
        ({"stops_in": 12.3, "mistakes": 2}, "Stopping: 1 request in flight may end within 12 s"),
    ],
)
def test_sentences(more, said):
    assert re.fullmatch(said, sentence(**{"url": "http://a", "models": 2, "in_flight": 1, **more}))
