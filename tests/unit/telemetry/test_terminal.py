import os
import re
import select
import subprocess
import sys
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import pytest

from router.telemetry.terminal import MOST_WAITING, Terminal, say


@pytest.fixture
def pipe():
    """Give both ends of a pipe: where it is read, and a stream that writes to it."""
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w", encoding="ascii")
    yield reading, stream
    os.close(reading)
    stream.close()


def test_what_is_said_is_written(pipe):
    """A letter that the terminal doesn't know, and half a character, in ASCII."""
    reading, stream = pipe
    terminal = Terminal(stream)
    terminal.write("模型 \ud83d é\n")
    terminal.write("two\n")
    terminal.flush(20)
    assert os.read(reading, 1000) == b"\\u6a21\\u578b \\ud83d \\xe9\ntwo\n"


def test_a_terminal_that_takes_nothing_holds_up_nobody(pipe):
    """What waits for it is bounded; what is left out is told when it takes on."""
    reading, stream = pipe
    terminal = Terminal(stream)
    lines = 0
    # Its thread fills the pipe at some time, and then takes nothing more; what is written then is left out.
    while lines < 4 * MOST_WAITING // 100 or terminal._size <= MOST_WAITING - 200:
        for _ in range(MOST_WAITING // 100):
            terminal.write("x" * 99 + "\n")
        lines += MOST_WAITING // 100
        terminal.flush(0.01)
    assert MOST_WAITING - 200 < terminal._size <= MOST_WAITING
    read = b""
    while terminal._size or select.select([reading], [], [], 0)[0]:
        if select.select([reading], [], [], 0.05)[0]:  # all may be read, and not yet be counted
            read += os.read(reading, 1 << 20)
    terminal.write("and on\n")
    terminal.flush(20)
    read += os.read(reading, 1000)
    left_out = sum(map(int, re.findall(rb"! (\d+) lines were left out: nobody took them\n", read)))
    assert left_out > lines // 2
    assert left_out + read.count(b"x\n") == lines
    assert read.endswith(b" nobody took them\nand on\n")


def test_a_terminal_that_does_not_block_is_waited_for_by_nobody_else(pipe):
    """Another program may have made it so: all is written all the same."""
    reading, stream = pipe
    terminal = Terminal(stream)
    os.set_blocking(stream.fileno(), False)
    said = "".join(f"{number:099d}\n" for number in range(5000))
    terminal.write(said)
    read = b""
    while len(read) < len(said):
        read += os.read(reading, 1 << 20)
    assert read == said.encode()


def test_a_terminal_that_is_closed_costs_nothing():
    """Nobody reads it."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        terminal = Terminal(stream)
        for _ in range(3):
            terminal.write("lost\n")
        terminal.flush(20)
        assert not terminal._size


def test_what_a_full_disk_takes_no_more_is_counted(tmp_path, monkeypatch):
    """And told with the first line that it takes again, or at the end."""
    is_full, write = [True], os.write

    def put(descriptor: int, data: bytes) -> int:
        if is_full[0]:
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", put)
    with (tmp_path / "said").open("w") as stream:
        terminal = Terminal(stream)
        for _ in range(3):
            terminal.write("lost\nlost\n")
            terminal.flush(20)
        is_full[0] = False
        terminal.write("and on\n")
        terminal.flush(20)
        is_full[0] = True
        terminal.write("lost\n")
        with terminal._changed:
            assert terminal._changed.wait_for(lambda: not terminal._size, 20)
        is_full[0] = False
        terminal.flush(20)
    assert (tmp_path / "said").read_text() == (
        "! 6 lines were left out: nobody took them\nand on\n! 1 lines were left out: nobody took them\n"
    )


def test_a_stream_without_a_descriptor_is_written_at_once():
    """As tests have it; and none at all is no mistake."""
    stream = StringIO()
    assert Terminal(stream).write("one\n") == 4
    assert stream.getvalue() == "one\n"
    terminal = Terminal(None)
    terminal.write("nobody\n")
    terminal.flush()


class Failing(StringIO):
    """A stream that can't be written."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def write(self, _: str) -> int:
        """Fail."""
        raise self._error


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (StringIO(), True),
        (TextIOWrapper(BytesIO(), encoding="ascii"), True),
        (None, False),
        (Failing(BrokenPipeError(32, "")), True),  # `| head`: he has had what he wanted
        (Failing(OSError(28, "No space left on device")), False),
        (Failing(ValueError("I/O operation on closed file")), False),
    ],
)
def test_say(stream, said):
    """It never raises, and tells whether it could be written."""
    assert say("模型 \ud83d", stream) is said


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams_lead_nowhere(tmp_path, closed):
    """And not into the next file that is opened, whose descriptor would be theirs."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, os\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[3])!r})\n"
        "from router.telemetry.terminal import secure_standard_streams\n"
        "secure_standard_streams()\n"
        f"file = open({str(tmp_path / 'file')!r}, 'w')\n"
        "print('out', flush=True); print('err', file=sys.stderr, flush=True); os.write(1, b'x'); os.write(2, b'x')\n"
        "sys.stderr.isatty(); file.write(str(file.fileno() > 2)); file.close()\n"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {sys.executable} {script} {closed}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (tmp_path / "file").read_text() == "True", done.stderr
    assert done.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_told_by_say_alone():
    """What has a stream's words goes on; a command that only prints knows that nobody has them."""
    with Path("/dev/full").open("w") as stream:
        assert say("lost", stream) is False
        terminal = Terminal(stream)
        terminal.write("lost")
        terminal.flush(20)
        assert not terminal._size
