import json
import logging
import re
import time
from datetime import datetime
from io import StringIO
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from router.telemetry import files, logs
from router.telemetry.files import LogFile, Rotation
from router.telemetry.logs import AUDIT, FIGURES, MODELS, SYSTEM, UPSTREAM, Form, configure, printable, set_up


@pytest.mark.parametrize("text", ["", "plain", "möd/el:7b", "日本", 'it\'s "so"', "a\\b"])
def test_printable_text_stays_as_it_is(text):
    """Most text is harmless, in any language."""
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\nb", r"a\nb"),
        ("a\r\tb", r"a\r\tb"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x7f\x00", r"\x7f\x00"),
        ("\u2028\u202e\ud800", r"\u2028\u202e\ud800"),
        ("ü\n", r"\xfc\n"),
    ],
)
def test_what_is_not_printable_is_spelt_out(text, said):
    """No line's end, no control character, nothing that turns the writing's direction."""
    assert printable(text) == said


@given(st.text(st.characters()))
def test_printable_gives_one_line_that_can_be_encoded(text):
    """Whoever chose it."""
    said = printable(text)
    assert said.isprintable()
    assert len(said.encode().splitlines()) <= 1


# Both outputs


@pytest.fixture
def logging_as_it_was(monkeypatch):
    """Give the process its own logging back: `configure` is for all of it, and a logger keeps it from its first use."""
    monkeypatch.setattr(files, "log", structlog.get_logger("router"))
    root, before, settings = logging.getLogger(), structlog.get_config(), structlog.is_configured()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("asyncio", "aiohttp.access")}
    root.handlers[:] = []
    yield
    while logs._OUTPUTS:
        logs._OUTPUTS.pop().close()
    for name in logs.FILES_ALONE:
        logging.getLogger(name).setLevel(logging.NOTSET)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, each in levels.items():
        logging.getLogger(name).setLevel(each)
    if settings:
        structlog.configure(**before)
    else:
        structlog.reset_defaults()


@pytest.fixture
def terminal(logging_as_it_was, tmp_path):  # noqa: ARG001
    stream = StringIO()
    configure("info", tmp_path / "logs", stream)
    return stream


def written(tmp_path: Path, name: str = "router") -> str:
    logs._OUTPUTS[0]._files[name].file.flush()
    path = tmp_path / "logs" / f"{name}.log"
    return path.read_text() if path.exists() else ""


def in_file(tmp_path: Path, name: str = "router") -> list[dict[str, object]]:
    return [json.loads(line) for line in written(tmp_path, name).splitlines()]


@pytest.fixture
def in_india(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_india")
def test_a_moment_has_its_offset(terminal, tmp_path):
    """In files and on a terminal in JSON alike, also what libraries log: else nobody could compare two machines'."""
    before = time.time() - 0.001
    set_up("info", Form.JSON, Rotation())
    structlog.get_logger("router").info("one")
    structlog.get_logger(AUDIT).info("two")
    logging.getLogger("another").warning("three")
    lines = [*in_file(tmp_path), *in_file(tmp_path, "audit"), *map(json.loads, terminal.getvalue().splitlines())]
    assert len(lines) == 5
    for each in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+05:30", str(each["timestamp"]))
        assert before <= datetime.fromisoformat(str(each["timestamp"])).timestamp() <= time.time()


def test_a_sentence_with_its_details(terminal, tmp_path):
    """The terminal has the time, a mark where something is wrong, and the details; the file has all as JSON."""
    structlog.get_logger("router.test").warning("it is so", backend="a b", seconds=1.5)
    assert terminal.getvalue()[8:] == " ! it is so  backend=a b  seconds=1.5\n"
    (line,) = in_file(tmp_path)
    assert line.pop("timestamp")
    assert line == {
        "event": "it is so",
        "backend": "a b",
        "seconds": 1.5,
        "level": "warning",
        "logger": "router.test",
    }


def test_a_librarys_line_is_one_as_well(terminal, tmp_path):
    """All logs of the process go the same way."""
    logging.getLogger("some.library").error("it is %s", "so")
    assert terminal.getvalue()[8:] == " ! it is so\n"
    assert in_file(tmp_path)[0]["logger"] == "some.library"


def test_what_matters_less_than_the_level_is_left_out(terminal, tmp_path):
    """And the noise of some libraries is, at any level."""
    structlog.get_logger("router.test").debug("psst")
    logging.getLogger("aiohttp.access").info("GET /")
    assert terminal.getvalue() == ""
    assert not written(tmp_path)


def test_no_detail_can_forge_a_line_or_steer_the_terminal(terminal, tmp_path):
    """What a client or an engine chose stays on the line that it belongs to."""
    evil = "m\n12:00:00 all is well\x1b[2J\r"
    structlog.get_logger("router.test").info("asked for", model=evil, list=[evil])
    assert len(terminal.getvalue().splitlines()) == 1
    assert "\x1b" not in terminal.getvalue()
    assert in_file(tmp_path)[0]["model"] == evil


def test_a_sentence_of_several_lines_keeps_them(terminal):
    """An engine's last lines are shown as lines, and can't steer the terminal either."""
    structlog.get_logger("router.test").error("it died\n    | last\x1b[2J\r\n    | words")
    assert terminal.getvalue()[8:] == " ! it died\n    | last\\x1b[2J\\r\n    | words\n"


def fail() -> None:
    raise RuntimeError("oh")


def test_a_traceback_follows_on_its_own_lines(terminal, tmp_path):
    """It is for a person to read, and the details come before it."""
    try:
        fail()
    except RuntimeError:
        structlog.get_logger("router.test").exception("a mistake", request_id="1")
    first, *trace = terminal.getvalue().splitlines()
    assert first[8:] == " ! a mistake  request_id=1"
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[-1] == "RuntimeError: oh"
    assert "RuntimeError: oh" in str(in_file(tmp_path)[0]["exception"])


def test_a_librarys_traceback_is_kept_too(terminal):
    """It comes as logging has it."""
    try:
        fail()
    except RuntimeError:
        logging.getLogger("some.library").exception("a mistake")
    assert terminal.getvalue().endswith("\nRuntimeError: oh\n")


def test_a_second_configuration_takes_the_place_of_the_first(terminal, tmp_path):
    """No line is written twice."""
    second = StringIO()
    configure("info", tmp_path / "logs", second)
    logging.getLogger("some.library").warning("once")
    assert terminal.getvalue() == ""
    assert second.getvalue().count("once") == 1
    assert len(in_file(tmp_path)) == 1


@pytest.mark.usefixtures("logging_as_it_was")
def test_a_folder_that_cannot_be_made_is_said_and_left_out(tmp_path):
    """The terminal has the lines all the same."""
    (tmp_path / "file").touch()
    stream = StringIO()
    configure("info", tmp_path / "file" / "logs", stream)
    logging.getLogger("some.library").warning("it goes on")
    first, second = stream.getvalue().splitlines()
    assert "! no log file can be written" in first
    assert "why=" in first
    assert second.endswith("it goes on")


@pytest.mark.usefixtures("logging_as_it_was")
def test_without_a_folder_there_is_the_terminal_alone():
    """Commands that only check something write no file."""
    stream = StringIO()
    configure("warning", None, stream)
    logging.getLogger("some.library").warning("it is so")
    assert stream.getvalue().endswith(" ! it is so\n")
    assert not logs._OUTPUTS[0]._files


# Which file


@pytest.mark.parametrize(
    ("logger", "found", "shown"),
    [
        ("router", {"router"}, True),
        (MODELS, {"router", "models"}, True),
        ("launchers", {"router", "models"}, True),
        (FIGURES, {"models"}, False),
        (SYSTEM, {"system"}, False),
        (AUDIT, {"audit"}, False),
        (UPSTREAM, {"router", "audit"}, True),
    ],
)
def test_a_loggers_name_says_where_its_lines_go(terminal, tmp_path, logger, found, shown):
    """Once to each."""
    structlog.get_logger(logger).info("it is so", backend="a")
    for name in ("router", *logs.FILES):
        assert [line["backend"] for line in in_file(tmp_path, name)] == ["a"] * (name in found), name
    assert ("it is so" in terminal.getvalue()) is shown


@pytest.mark.usefixtures("terminal")
def test_what_is_for_a_file_alone_is_written_whatever_the_level_is(tmp_path):
    """The level is of sentences for people."""
    set_up("error", Form.AUTO, Rotation())
    for logger in (AUDIT, MODELS):
        structlog.get_logger(logger).info("it is so")
    assert len(in_file(tmp_path, "audit")) == 1
    assert not in_file(tmp_path, "models")


def test_a_warning_that_repeats_is_said_once(terminal, tmp_path):
    """At the end with its count, in all outputs of its logger."""
    for number in range(5):
        structlog.get_logger(MODELS).warning("it repeats", request_id=number)
    structlog.get_config()["processors"][0].tell()
    assert terminal.getvalue().count("it repeats") == 2
    assert [line.get("repeated") for line in in_file(tmp_path, "models")] == [None, 4]


# Their form


def test_json_for_a_program_that_reads_the_terminal(terminal, tmp_path):
    """The same lines as in the file."""
    set_up("info", Form.JSON, Rotation())
    structlog.get_logger("router.test").warning("it is so", seconds=1.5)
    assert json.loads(terminal.getvalue()) == in_file(tmp_path)[0]


def test_text_in_files(terminal, tmp_path):
    """As on the terminal, with the day."""
    set_up("info", Form.TEXT, Rotation())
    structlog.get_logger("router.test").warning("it is so", seconds=1.5)
    said = written(tmp_path)
    assert said[11:] == terminal.getvalue()
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ! it is so", said)


def test_a_file_takes_a_value_that_can_not_be_shown(tmp_path):
    """It harms nobody who logs."""
    file = LogFile(tmp_path / "router.log")
    logs.FileHandler(file).handle(logging.makeLogRecord({"msg": Unshowable()}))
    file.close()
    assert (tmp_path / "router.log").read_text() == "a log record can't be rendered: ValueError\n"


class Unshowable:
    """A value that raises when it is shown."""

    def __repr__(self) -> str:
        raise ValueError


def test_what_can_not_be_shown_is_said_once():
    """It harms nobody who logs."""
    stream = StringIO()
    handler = logs.TerminalHandler(stream)
    for said in (Unshowable(), Unshowable(), "and on"):
        handler.handle(logging.makeLogRecord({"msg": said}))
    assert stream.getvalue() == "! a log record can't be rendered: ValueError\nand on\n"


needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


@needs_dev_full
@pytest.mark.usefixtures("logging_as_it_was")
def test_a_full_disk_does_not_silence_the_terminal(tmp_path):
    """One of the two outputs is enough to hear of it."""
    (tmp_path / "router.log").symlink_to("/dev/full")
    stream = StringIO()
    configure("info", tmp_path, stream)
    for _ in range(3):
        logging.getLogger("some.library").warning("it is so")
    configure("info", None, stream)  # which closes the file
    assert stream.getvalue().count("it is so") == 3
    assert stream.getvalue().count("can't be written") == 1
