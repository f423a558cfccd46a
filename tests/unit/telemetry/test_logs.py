import json
import logging
import os
import shutil
from io import StringIO
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from router.telemetry import logs
from router.telemetry.logs import FILES, BoundedFile, configure, printable


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
def logging_as_it_was():
    """Give the process its own logging back: `configure` is for all of it."""
    root, before, settings = logging.getLogger(), structlog.get_config(), structlog.is_configured()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("asyncio", "aiohttp.access")}
    root.handlers[:] = []
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
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


def in_file(tmp_path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (tmp_path / "logs" / "router.log").read_text().splitlines()]


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
    assert not (tmp_path / "logs" / "router.log").exists()


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
    assert len(logging.getLogger().handlers) == 1


# The file


def record(text: str) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": text})


def test_the_files_are_bounded_in_size_and_number(tmp_path, monkeypatch):
    """The oldest lines go."""
    monkeypatch.setattr(logs, "FILE_SIZE", 100)
    file = BoundedFile(tmp_path / "router.log")
    for i in range(1000):
        file.handle(record(f"line {i}"))
    file.close()
    found = sorted(tmp_path.iterdir())
    assert [path.name for path in found] == ["router.log", *[f"router.log.{i}" for i in range(1, FILES)]]
    assert all(path.stat().st_size <= 100 for path in found)
    assert found[0].read_text().endswith("line 999\n")


def test_a_file_that_can_not_be_written_is_said_once(tmp_path, capsys):
    """Then it goes on, and writes as soon as it can."""
    (tmp_path / "taken").write_text("no folder")
    file = BoundedFile(tmp_path / "taken" / "router.log")
    for _ in range(3):
        file.handle(record("lost"))
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "taken").unlink()
    file.handle(record("kept"))
    file.close()
    assert (tmp_path / "taken" / "router.log").read_text() == "kept\n"
    assert capsys.readouterr().err == ""


def test_a_file_that_was_removed_is_made_again(tmp_path, capsys):
    """And so is its folder: what is written to a file without a name nobody reads."""
    file = BoundedFile(tmp_path / "logs" / "router.log")
    file.handle(record("one"))
    shutil.rmtree(tmp_path / "logs")
    file.handle(record("two"))
    (tmp_path / "logs" / "router.log").unlink()
    file.handle(record("three"))
    file.close()
    assert (tmp_path / "logs" / "router.log").read_text() == "three\n"
    assert capsys.readouterr().err == ""


def test_a_fifo_in_a_files_place_is_not_waited_for(tmp_path, capsys):
    """Nobody reads it: it can't be written, which is said."""
    os.mkfifo(tmp_path / "router.log")
    file = BoundedFile(tmp_path / "router.log")
    file.handle(record("lost"))
    file.close()
    assert "can't be written" in capsys.readouterr().err


def test_half_a_character_is_written_in_ascii(tmp_path, capsys):
    """Whoever chose the text: the line isn't lost."""
    file = BoundedFile(tmp_path / "router.log")
    file.handle(record("cut \ud83d"))
    file.close()
    assert (tmp_path / "router.log").read_text() == "cut \\ud83d\n"
    assert capsys.readouterr().err == ""


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
def test_a_full_disk_is_said_once(capsys):
    """It costs no request: nothing is raised, and the lines are lost."""
    file = BoundedFile(Path("/dev/full"))
    for _ in range(1000):
        file.handle(record("lost" * 100))
    said = capsys.readouterr().err
    assert said.startswith("! the log /dev/full can't be written: ")
    assert said.count("\n") == 1
    file.close()


@needs_dev_full
@pytest.mark.usefixtures("logging_as_it_was")
def test_a_full_disk_does_not_silence_the_terminal(tmp_path, capsys):
    """One of the two outputs is enough to hear of it."""
    (tmp_path / "router.log").symlink_to("/dev/full")
    stream = StringIO()
    configure("info", tmp_path, stream)
    for _ in range(3):
        logging.getLogger("some.library").warning("it is so")
    assert stream.getvalue().count("it is so") == 3
    assert capsys.readouterr().err.count("can't be written") == 1
    configure("info", None, stream)  # which closes the file
