"""What a look into a silent backend asks for, and when it ends: what the plane judges is the test's."""

import asyncio
from types import SimpleNamespace

import pytest

from router.core.stall import SILENT, Sight, StallVerdict
from router.proxy.dialling import Address
from router.proxy.watching.asking import Asker
from router.proxy.watching.examine import Process, Subject, _Examination
from tests.fakes.wired import Scene
from tests.running import eventually

STALL_AFTER = 10.0
LONG = SILENT * STALL_AFTER


class Nobody(Asker):
    """An asker whom no engine answers."""

    def __init__(self):
        self.tokens = 0

    def get(self, *_, **__):
        """Fail."""
        raise TimeoutError

    async def ask_for_token(self, *_):
        """Wait for ever."""
        self.tokens += 1
        await asyncio.Event().wait()


class Looked:
    """A look into a backend, whose verdicts are the test's."""

    def __init__(self, monkeypatch, *verdicts, **progress):
        self.scene = Scene("b", stall_after=STALL_AFTER)
        self.plane, (self.backend,) = self.scene.plane, self.scene.backends
        self.verdicts = list(verdicts)
        self.owed: list[float] = []
        self.told: list[object] = []
        self.asker = Nobody()
        facts = {"in_flight": 1, "silent": 1e9, "sight": Sight.NOTHING} | progress
        self.progress = SimpleNamespace(
            in_flight=facts["in_flight"], silence=lambda _: facts["silent"], sight=lambda *_: facts["sight"]
        )
        setattr(self.backend, "progress", self.progress)  # noqa: B010
        for name in ("read_cpu", "read_counter", "probed", "asked", "unasked"):
            monkeypatch.setattr(self.plane.ledger, name, lambda *_, name=name, **__: self.told.append(name))
        monkeypatch.setattr(self.plane, "judge", self._judge)
        self.look = _Examination(self.plane, self.subject(), Address("127.0.0.1", 1), self.asker, 2.0)
        self.look._every = 0.001

    def subject(self, publishes=False, process=lambda: None):
        """Give what is looked into."""
        return Subject(self.backend, "/health", publishes, process)

    def _judge(self, _, owed):
        self.owed.append(owed)
        return self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0]


async def test_a_token_is_asked_for_once_and_owed_until_it_comes(monkeypatch):
    """While nothing else shows whether it works."""
    looked = Looked(monkeypatch, *[StallVerdict.SILENT] * 5, StallVerdict.STALLED, in_flight=0)
    await asyncio.wait_for(looked.look.run(), 20)
    assert looked.asker.tokens == 1
    assert len(looked.owed) == 6
    assert looked.owed[0] == 0.0
    assert 0.0 < looked.owed[-2] < looked.owed[-1]
    assert (looked.told.count("asked"), looked.told.count("unasked")) == (1, 1)
    looked.plane.close()


@pytest.mark.parametrize("verdict", [StallVerdict.WORKS, StallVerdict.STALLED])
async def test_a_look_ends_with_the_silence_it_was_for(monkeypatch, verdict):
    """The backend works, or is out; nothing of the look goes on."""
    looked = Looked(monkeypatch, verdict)
    await asyncio.wait_for(looked.look.run(), 20)
    assert (len(looked.owed), looked.asker.tokens) == (1, 0)
    looked.plane.close()


async def test_another_process_at_its_place_ends_the_look(monkeypatch):
    looked = Looked(monkeypatch, StallVerdict.SILENT)
    task = asyncio.create_task(looked.look.run())
    await eventually(lambda: len(looked.owed) > 2)
    looked.plane.connections.close(looked.backend)
    await asyncio.wait_for(task, 20)
    looked.plane.close()


@pytest.mark.parametrize(
    ("facts", "whole", "unheard", "needed"),
    [
        ({"silent": LONG, "in_flight": 0}, False, 0, True),
        ({"silent": LONG - 0.1, "in_flight": 0}, False, 0, False),
        ({"silent": LONG}, True, 0, True),
        ({"silent": LONG}, False, 1, True),
        ({"silent": LONG}, False, 0, False),
        ({"silent": LONG, "sight": Sight.COUNTED}, True, 1, False),
        ({"silent": LONG - 0.1}, True, 1, False),
    ],
    ids=[
        *["nothing in flight", "not silent for long", "a whole answer", "unheard before", "streams tell"],
        *["it is seen at work", "not silent for long, at work"],
    ],
)
async def test_when_nothing_else_can_show_whether_it_works(monkeypatch, facts, whole, unheard, needed):
    """Requests that stream show it themselves, and so does what else is seen."""
    looked = Looked(monkeypatch, StallVerdict.SILENT, **facts)
    monkeypatch.setattr(looked.plane, "has_whole", lambda _: whole)
    looked.backend.estimate.unheard = unheard
    assert looked.look._needs_token(0.0) is needed
    looked.plane.close()


async def test_what_there_is_nothing_of_is_looked_at_once(monkeypatch):
    """No process of ours, no page of counters."""
    looked = Looked(monkeypatch, StallVerdict.SILENT)
    assert not await looked.look._read_cpu()
    assert not await looked.look._read_counters()
    assert looked.told == []
    looked.look._subject = looked.subject(publishes=True, process=lambda: Process(2**22 + 1, works=True, tells=True))
    assert await looked.look._read_cpu()
    assert await looked.look._read_counters()
    assert await looked.look._probe()
    assert looked.told == ["read_cpu", "probed"]
    looked.plane.close()
