import asyncio
import json
import re
import shlex
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from router.core.ending import told_by
from router.core.record import Record
from router.telemetry import access, terminal
from router.telemetry.access import FLUSH_EVERY, MANY_RECORDS, MOST_RECORDS, SLICE, AccessLog
from router.telemetry.files import Rotation
from router.telemetry.lines import line as line_of
from router.telemetry.logs import Form

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d")
CLOCK = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
record = partial(
    Record,
    id="id-1",
    path="/v1/chat/completions",
    model="demo",
    backend="gpu-box",
    status=200,
    outcome="answered",
    attempts=1,
    ttft=0.0361,
    duration=1.2044,
    sent=1418,
    events=7,
    tail=b"",
    client="10.0.0.7",
)
RECORD = record()


def line(record: Record) -> str:
    return line_of(record, told_by(record))


# A record's line


def test_line():
    """The client, status, path, model, backend, times, bytes, and the id."""
    assert line(record()) == "10.0.0.7 200 POST /v1/chat/completions demo gpu-box 1.204s ttft=0.036s 1418B id-1"


def test_line_of_a_request_that_reached_no_backend():
    """What there is none of is a dash: the fields stay where they are."""
    said = line(record(backend=None, status=503, ttft=None, sent=0, attempts=0))
    assert said == "10.0.0.7 503 POST /v1/chat/completions demo - 1.204s ttft=- 0B id-1"


def test_line_of_a_request_that_was_tried_again():
    """How often, at the end."""
    assert line(record(attempts=3)).endswith(" id-1 attempts=3")
    assert line(record(attempts=2, hedge="won")).endswith(" id-1 attempts=2 hedge=won")


@pytest.mark.parametrize(
    ("tail", "said"),
    [
        (b'{"usage":{"prompt_tokens":12,"completion_tokens":40}}', "1418B 12+40tok id-1"),
        (b'{"usage":{"prompt_tokens":0,"completion_tokens":0}}', "1418B 0+0tok id-1"),
        (b'{"usage":{"prompt_tokens":12,"total_tokens":12}}', "1418B 12+-tok id-1"),  # embeddings
        (b'{"usage":{"output_tokens":40}}', "1418B -+40tok id-1"),
        (b'{"usage":{}}', "1418B id-1"),
        (b'{"finish_reason":"length"}', "1418B length id-1"),
        (b'{"finish_reason":"stop","usage":{"prompt_tokens":1,"completion_tokens":2}}', "1418B 1+2tok stop id-1"),
        (b'data: {"error": {"message": "out of memory"}}\n\n', "1418B error id-1"),
        (
            b'data: {"finish_reason":"stop","usage":{"input_tokens":1,"output_tokens":2}}\n\ndata: {"error":{}}\n\n',
            "1418B 1+2tok stop error id-1",
        ),
        (b"", "1418B id-1"),
        (b"\x00\xff not an answer", "1418B id-1"),
    ],
)
def test_line_of_what_the_end_of_an_answer_says(tail, said):
    """The tokens, why the engine stopped, and an error that its status doesn't tell of, between bytes and id."""
    assert line(record(tail=tail)).endswith(f" ttft=0.036s {said}")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"outcome": "cancelled by an admin"}, ' 1418B -+7tok id-1 cut="cancelled by an admin"'),
        ({"outcome": "the client left", "status": 499, "attempts": 2}, ' id-1 cut="the client left" attempts=2'),
        ({"outcome": 'broken (a "b"\n)'}, r' id-1 cut="broken (a \"b\"\n)"'),
        ({"outcome": "x" * 500}, f" id-1 cut={'x' * 120}"),
        # The status says it.
        ({"outcome": "No backend has room.", "status": 503, "events": 0}, " 1418B id-1"),
    ],
)
def test_line_of_an_answer_that_was_cut(changed, said):
    """Why, behind the id; with about as many tokens as it had events."""
    assert line(record(**changed)).endswith(said)


@pytest.mark.parametrize(("status", "told"), [(200, True), (399, True), (400, False), (503, False)])
def test_line_says_error_where_the_status_does_not(status, told):
    """A status that is an error's says it already."""
    assert (" error " in line(record(status=status, tail=b'{"error":{"message":"no"}}'))) is told


@pytest.mark.parametrize("forged", ["abc attempts=9 key=root", "key=root", 'a" key="root', "two words", ""])
@pytest.mark.parametrize(("place", "number"), [("path", 3), ("model", 4), ("backend", 5), ("id", 9)])
def test_no_field_can_be_forged(place, number, forged):
    """What could be taken for several fields, or for none, stands in quotes: it stays one field, in its place."""
    honest, said = (shlex.split(line(each)) for each in (record(key="k"), record(**{place: forged}, key="k")))
    assert said == [*honest[:number], forged, *honest[number + 1 :]]
    assert f" {forged} " not in line(record(**{place: forged}))


def test_the_name_of_a_key_is_one_field():
    assert line(record(key="my laptop key=root")).endswith(' id-1 key="my laptop key=root"')


def test_line_without_an_address():
    """A dash: the fields stay where they are."""
    assert line(record(client="")).startswith("- 200 POST ")


def test_line_is_one_line_whatever_model_was_asked_for():
    """A client chooses that name."""
    assert line(record(model="m\n12:00:00 200 POST\x1b[2J")).isprintable()


@given(st.binary(max_size=60) | st.text(st.sampled_from(' \n\x1b":{},a_1')).map(str.encode))
def test_line_is_one_line_whatever_an_answer_ends_with(said):
    """An engine chooses that."""
    for name in (b"finish_reason", b"usage", b"error"):
        tail = b'\n{"%s":%s,"%s":{"prompt_tokens":%s}}' % (name, said, name, said)
        assert line(record(tail=tail)).isprintable()


# The log of them


class Terminal:
    """One that remembers each write."""

    def __init__(self) -> None:
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        """Take it."""
        self.writes.append(text)
        return len(text)


async def soon(condition) -> None:
    """Wait until it holds, for as long as the slowest machine may take."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  (what is waited for says nothing when it comes)
            await asyncio.sleep(FLUSH_EVERY / 10)


async def test_records_are_gathered_and_written_together(tmp_path):
    """Within FLUSH_EVERY of the first, each with a time; once to the file, once to the terminal."""
    terminal, began = Terminal(), time.monotonic()
    one, two = record(id="one"), record(id="two %s\\n {}")
    log = AccessLog(tmp_path, terminal)  # type: ignore[arg-type]  # write is all that is asked of it
    log.write(one)
    log.write(two)
    assert terminal.writes == []
    assert not (tmp_path / "access.log").exists()
    await soon(lambda: terminal.writes)
    assert time.monotonic() - began >= FLUSH_EVERY * 0.9
    assert [CLOCK.sub("", text) for text in terminal.writes] == [f"{line(one)}\n{line(two)}\n"]
    assert len(CLOCK.findall(terminal.writes[0])) == 2
    written = tmp_path / "access.log"
    await soon(lambda: written.exists() and written.read_text() == terminal.writes[0])
    log.close()


async def test_records_after_a_flush_are_flushed_too(tmp_path):
    """There is always a next time."""
    log = AccessLog(tmp_path, None)
    for count in (1, 2, 3):
        log.write(RECORD)
        await soon(lambda count=count: (tmp_path / "access.log").exists() and lines(tmp_path) == count)
    log.close()


def lines(folder: Path, log: AccessLog | None = None) -> int:
    if log is not None and log._file is not None:
        log._file.flush()
    return len((folder / "access.log").read_text().splitlines())


async def test_records_are_read_in_slices(tmp_path):
    """What else there is to do is done in between; they are written together."""
    terminal, ended = Terminal(), list[str]()
    log = AccessLog(tmp_path, terminal, lambda record, _: ended.append(record.id))  # type: ignore[arg-type]
    sent = [str(number) for number in range(MANY_RECORDS - 1)]
    for number in sent:
        log.write(record(id=number))
    await asyncio.sleep(0)
    assert ended == []
    log.write(record(id="last"))  # they are many: it doesn't wait any longer
    for turns in range(1, MANY_RECORDS // SLICE):
        await asyncio.sleep(0)
        assert len(ended) == turns * SLICE
    assert terminal.writes == []
    await asyncio.sleep(0)
    assert ended == [*sent, "last"]
    assert [text.count("\n") for text in terminal.writes] == [MANY_RECORDS]
    log.close()


async def test_very_many_records_are_written_at_once(tmp_path):
    """What waits is bounded."""
    log = AccessLog(tmp_path, None)
    for _ in range(MOST_RECORDS - 1):
        log.write(RECORD)
    assert not (tmp_path / "access.log").exists()
    log.write(RECORD)
    assert lines(tmp_path, log) == MOST_RECORDS
    log.write(RECORD)
    log.close()
    assert lines(tmp_path) == MOST_RECORDS + 1


async def test_what_waits_is_written_at_the_close(tmp_path):
    """And nothing is left that would write later."""
    terminal = Terminal()
    log = AccessLog(tmp_path, terminal)  # type: ignore[arg-type]
    log.write(RECORD)
    log.close()
    assert CLOCK.sub("", (tmp_path / "access.log").read_text()) == f"{line(RECORD)}\n"
    assert log._next is None
    await asyncio.sleep(0)
    assert len(terminal.writes) == 1


async def test_nothing_is_written_where_there_is_nothing(tmp_path):
    """A router that nobody asks leaves no file."""
    AccessLog(tmp_path, None).close()
    assert list(tmp_path.iterdir()) == []


async def test_a_terminal_alone_is_enough():
    """And so is neither."""
    terminal = Terminal()
    for log in (AccessLog(None, terminal), AccessLog(None, None)):  # type: ignore[arg-type]
        log.write(RECORD)
        log.close()
    assert len(terminal.writes) == 1


async def test_a_closed_terminal_costs_nothing(tmp_path):
    """The file goes on."""

    class Closed:
        def write(self, _: str) -> int:
            raise BrokenPipeError

    log = AccessLog(tmp_path, terminal.Terminal(Closed()))  # type: ignore[arg-type]
    for count in (1, 2):
        log.write(RECORD)
        log.flush()
        assert lines(tmp_path, log) == count
    log.close()


async def test_the_clock_moves_on(monkeypatch):
    """A line has the time at which it is written, the same as those written with it; the next ones have another."""
    terminal, now = Terminal(), iter([10.9, 11.0])
    log = AccessLog(None, terminal)  # type: ignore[arg-type]
    clock = SimpleNamespace(strftime=lambda form: time.strftime(form, time.gmtime(next(now))))
    monkeypatch.setattr(access, "time", clock)
    for count in (3, 1):
        for _ in range(count):
            log.write(RECORD)
        log.flush()
    assert terminal.writes == [f"1970-01-01 00:00:10 {line(RECORD)}\n" * 3, f"1970-01-01 00:00:11 {line(RECORD)}\n"]
    log.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
async def test_a_full_disk_costs_nothing(tmp_path):
    """It is said once while lines come, and how many are lost at the close."""
    (tmp_path / "access.log").symlink_to("/dev/full")
    log = AccessLog(tmp_path, None)
    with capture_logs() as said:
        for _ in range(3):
            log.write(RECORD)
            log.flush()
        log.close()
    assert ["can't be written" in each["event"] for each in said] == [True, False]
    assert said[1]["lost"] == 3


# As JSON


def in_json(**changed) -> dict[str, Any]:
    each = record(**changed)
    said: dict[str, Any] = json.loads(access.in_json(each, told_by(each), "2026-11-30T05:11:58.000+00:00"))
    return said


def test_a_line_of_json():
    """All that a text line has, by name, and the time from one token to the next."""
    tail = b'{"finish_reason":"stop","usage":{"prompt_tokens":12,"completion_tokens":41}}'
    assert in_json(tail=tail, key="alice", waited=0.25, ttft=0.2, duration=1.2) == {
        "timestamp": "2026-11-30T05:11:58.000+00:00",
        "id": "id-1",
        "key": "alice",
        "client": "10.0.0.7",
        "api": "openai",
        "path": "/v1/chat/completions",
        "model": "demo",
        "backend": "gpu-box",
        "attempts": 1,
        "hedge": "",
        "status": 200,
        "outcome": "answered",
        "finish_reason": "stop",
        "error": False,
        "stream": True,
        "ttft": 0.2,
        "tpot": 0.025,
        "duration": 1.2,
        "queued": 0.25,
        "prompt_tokens": 12,
        "cached_tokens": None,
        "tokens": 41,
        "bytes": 1418,
    }


def test_a_line_of_json_of_what_is_not_known():
    """It is null; events are about tokens, where those aren't counted."""
    said = in_json(backend=None, status=503, ttft=None, events=0, sent=0)
    assert [said[name] for name in ("backend", "ttft", "tpot", "tokens", "stream")] == [None, None, None, None, False]
    assert in_json(ttft=0.2, duration=0.8, events=7)["tpot"] == 0.1
    assert in_json(ttft=0.2, duration=0.8, events=1)["tpot"] is None


@pytest.mark.parametrize("evil", ["a\nb", 'a" b', "模", "cut \ud83d"])
def test_no_line_of_json_can_be_forged(evil):
    """What clients choose is one value, whatever it is."""
    assert in_json(model=evil)["model"] == evil


async def test_the_form_may_change_while_it_runs(tmp_path):
    """From one line to the next."""
    log = AccessLog(tmp_path, None)
    for form in (Form.JSON, Form.TEXT, Form.AUTO):
        log.set_up(form, Rotation())
        log.write(RECORD)
        log.flush()
    log.close()
    first, *others = (tmp_path / "access.log").read_text().splitlines()
    assert json.loads(first)["id"] == "id-1"
    assert MOMENT.fullmatch(json.loads(first)["timestamp"])
    assert all(CLOCK.sub("", each) == line(RECORD) for each in others)
