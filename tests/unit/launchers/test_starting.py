"""What is started, of what was planned, without processes."""

import os
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from launchers import kin, leftovers
from launchers.errors import ModelNotFoundError, UnfitModelError
from launchers.gpus import CACHE, SHARE, Claim
from launchers.record import ProcessRecord
from launchers.spec import ArgValue, LaunchSpec
from launchers.starting import Starter
from tests.fakes.kept import FakeKeepers
from tests.fakes.launched import LaunchedFake

SPEC = LaunchSpec("demo", "llama_cpp", "any", "demo", {}, {}, 60.0)
HALF = replace(SPEC, args={SHARE: 0.5, CACHE: 1000}, claim=Claim(("NVIDIA 0",), 0.5, sized=True))


@pytest.fixture
def keepers():
    return FakeKeepers()


@pytest.fixture
def starter(keepers, tmp_path):
    """Gives what starts a spec."""

    def make(spec=SPEC):
        return Starter(spec, LaunchedFake(), keepers, logs=tmp_path, name=spec.name, python="python")

    return make


async def test_each_start_has_another_port_and_the_same_key(starter, keepers):
    """The engine is told both."""
    one, two = [await starter().start(None, lambda: None) for _ in range(2)]
    assert one.port != two.port
    assert one.key == two.key != ""
    for started, command in zip((one, two), keepers.commands, strict=True):
        assert command.argv[command.argv.index("--port") + 1] == str(started.port)
        assert command.env == {"ENGINE_API_KEY": started.key}


@pytest.mark.parametrize("share", [None, 0.5])
async def test_a_share_that_is_free_is_taken_as_it_was_planned(starter, keepers, share):
    with capture_logs() as logs:
        await starter(HALF).start(share, lambda: None)
    assert f"--{SHARE} 0.5 --{CACHE} 1000" in " ".join(keepers.commands[0].argv)
    assert not logs


async def test_a_lower_share_is_started_with_and_said_and_the_plan_is_what_it_is_known_by(starter, keepers):
    """The cache, which was sized beside the share, is the engine's to size then."""
    with capture_logs() as logs:
        started = await starter(HALF).start(0.25, lambda: None)
    said = " ".join(keepers.commands[0].argv)
    assert f"--{SHARE} 0.25" in said
    assert CACHE not in said
    assert [entry["event"] for entry in logs] == [
        "demo: takes 0.25 of its GPU's memory, instead of 0.5: no more is free"
    ]
    assert keepers.fingerprints == [LaunchedFake().command(HALF, started.port, "python").fingerprint]


async def test_a_model_that_is_missing_is_an_error_before_anything_is_started(starter, keepers):
    with pytest.raises(ModelNotFoundError, match="missing"):
        await starter(replace(SPEC, model="missing")).start(None, lambda: None)
    assert not keepers.commands


async def test_a_spec_that_changes_counts_at_the_next_start(starter, keepers):
    made = starter()
    await made.start(None, lambda: None)
    made.spec = replace(SPEC, args={"events": 3})
    await made.start(None, lambda: None)
    assert ["--events" in command.argv for command in keepers.commands] == [False, True]


async def test_the_files_that_it_is_started_from_are_looked_at(starter, tmp_path):
    """Its model, and what its arguments name by a path; a word without one is no file."""
    for name in ("model", "template", "word"):
        (tmp_path / name).write_text(name)
    args: dict[str, ArgValue] = {"template": str(tmp_path / "template"), "other": "word", "number": 3}
    stamp = await starter(replace(SPEC, model=str(tmp_path / "model"), args=args)).stamp()
    assert [entry[0].rpartition("/")[2] for entry in stamp] == ["model", "template"]


@pytest.fixture
def left(tmp_path, monkeypatch):
    """Says which command an earlier router left running, and hears what is ended."""
    ended: list[ProcessRecord] = []
    monkeypatch.setattr(leftovers, "end", ended.append)

    def leave(fingerprint):
        me = (os.getpid(), kin.started(os.getpid()) or "")
        record = ProcessRecord(
            str(tmp_path / "run" / "demo.json"), "demo", *me, 20000, fingerprint, True, "router-a", 1, "never", *me,
            "", kin.world(), "old key",
        )  # fmt: skip
        record.write()
        return ended

    return leave


async def test_what_an_earlier_router_left_is_taken_over_if_it_is_what_would_be_started(starter, left, keepers):
    """With its port and its key; nothing is started beside it."""
    kept = replace(SPEC, keep=True)
    ended = left(LaunchedFake().command(kept, 20000, "python").fingerprint)
    started = await starter(kept).start(None, lambda: None)
    assert (started.port, started.key) == (20000, "old key")
    assert not keepers.commands
    assert not ended


async def test_what_is_another_is_ended_and_started_anew(starter, left, keepers):
    """Its memory is wanted."""
    ended = left("of another model")
    started = await starter(replace(SPEC, keep=True)).start(None, lambda: None)
    assert [record.fingerprint for record in ended] == ["of another model"]
    assert len(keepers.commands) == 1
    assert started.key != "old key"


async def test_without_keep_engines_nothing_is_taken_over(starter, left, keepers):
    """What is left is ended at the start of the router."""
    ended = left(LaunchedFake().command(SPEC, 20000, "python").fingerprint)
    assert await starter().left_running() is None
    await starter().start(None, lambda: None)
    assert len(keepers.commands) == 1
    assert not ended


async def test_what_cannot_be_taken_over_is_ended_and_started_anew(starter, left, keepers):
    """It ended meanwhile, or doesn't answer."""
    keepers.adopts = False
    kept = replace(SPEC, keep=True)
    ended = left(LaunchedFake().command(kept, 20000, "python").fingerprint)
    with capture_logs() as logs:
        await starter(kept).start(None, lambda: None)
    assert len(ended) == len(keepers.commands) == 1
    assert "is started anew: it has ended" in logs[0]["event"]


async def test_what_is_secret_to_an_engine_is_hidden_in_its_output(starter, left, keepers):
    """What its variables say, its key, and that of one that is taken over; also before it was started."""
    kept = replace(SPEC, keep=True, env={"SEC": "its words"})
    made = starter(kept)
    before = made.secrets()
    key = (await made.start(None, lambda: None)).key
    left(LaunchedFake().command(kept, 20000, "python").fingerprint)
    adopting = starter(kept)
    await adopting.start(None, lambda: None)
    assert {key, "its words"} <= set(before)
    assert [{key, "old key", "its words"} & set(each) for each in keepers.hidden] == [
        {key, "its words"},
        {"old key", "its words"},
    ]
    assert adopting.secrets() == keepers.hidden[1]


@pytest.mark.parametrize("engine", ["llama_cpp", "cmd"])
async def test_a_model_that_is_cut_off_is_an_error_before_anything_is_started(starter, keepers, tmp_path, engine):
    """But for an engine that may have files of its own form."""
    path = tmp_path / "half.gguf"
    path.write_bytes(b"GGUF\3\0\0\0")
    spec = replace(SPEC, model=str(path), engine=engine)
    if engine == "cmd":
        await starter(spec).start(None, lambda: None)
        return
    with pytest.raises(UnfitModelError, match=r"half\.gguf: the header is cut off after 8 bytes; fetch it again"):
        await starter(spec).start(None, lambda: None)
    assert not keepers.commands
