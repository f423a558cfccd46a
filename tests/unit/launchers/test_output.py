import pytest
from structlog.testing import capture_logs

from launchers.output import KEPT_LINES, MAX_LINE, Output


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs" / "demo.log"


def test_what_is_said_is_kept_and_written(path):
    output = Output(path)
    for piece in (b"one\ntw", b"o\n\n", b"three"):
        output.feed(piece)
    output.close()
    assert output.last_lines == ("one", "two", "three")
    assert path.read_bytes() == b"one\ntwo\n\nthree"


def test_a_log_is_continued(path):
    for word in (b"one\n", b"two\n"):
        output = Output(path)
        output.feed(word)
        output.close()
    assert path.read_bytes() == b"one\ntwo\n"


def test_only_the_last_lines_are_kept(path):
    output = Output(path)
    output.feed(b"".join(b"%d\n" % n for n in range(1000)))
    output.close()
    assert output.last_lines == tuple(str(n) for n in range(1000 - KEPT_LINES, 1000))


def test_a_line_without_end_is_cut(path):
    output = Output(path)
    for _ in range(100):
        output.feed(b"x" * 1000)
    assert list(output.last_lines) == ["x" * MAX_LINE]
    output.feed(b"\nnext\n")
    output.close()
    assert list(output.last_lines) == ["x" * MAX_LINE, "next"]


def test_the_steps_of_a_progress_bar_are_lines(path):
    output = Output(path)
    output.feed(b" 10%\r 20%\r\n")
    output.close()
    assert output.last_lines == (" 10%", " 20%")


def test_bytes_that_are_no_text_do_no_harm(path):
    output = Output(path)
    output.feed(b"\xff\xfe ok\n")
    output.close()
    assert output.last_lines[0].endswith(" ok")


def test_a_log_that_is_full_makes_room_for_the_next(path):
    output = Output(path, max_file=100)
    for number in range(50):
        output.feed(b"line %03d\n" % number)
    output.close()
    assert path.stat().st_size < 100
    assert path.with_name("demo.log.1").stat().st_size < 110
    assert path.with_name("demo.log.1").read_bytes().endswith(b"line 047\n")
    assert path.read_bytes() == b"line 048\nline 049\n"


def test_a_folder_that_can_not_be_written_costs_one_warning(tmp_path):
    (tmp_path / "logs").write_text("a file, not a folder")
    with capture_logs() as logs:
        output = Output(tmp_path / "logs" / "demo.log")
        output.feed(b"still\n")
        output.feed(b"heard\n")
        output.close()
    assert output.last_lines == ("still", "heard")
    assert [entry["log_level"] for entry in logs] == ["warning"]


def test_a_full_disk_costs_one_warning(path):
    path.parent.mkdir()
    path.symlink_to("/dev/full")
    with capture_logs() as logs:
        output = Output(path)
        output.feed(b"still\n")
        output.feed(b"heard\n")
        output.close()
    assert output.last_lines == ("still", "heard")
    assert [entry["log_level"] for entry in logs] == ["warning"]


def test_the_first_error_is_known_however_much_is_said_after_it(path):
    output = Output(path)
    output.feed(b"loading\nValueError: no room\n" + b"cleaning up\n" * 1000 + b"RuntimeError: see above")
    output.close()
    assert output.reason == "ValueError: no room"
    assert len(output.last_lines) == KEPT_LINES


def test_last_words_without_a_line_end_are_a_reason_too(path):
    output = Output(path)
    output.feed(b"loading\nno such model")
    output.close()
    assert output.reason == output.reason == "no such model"
