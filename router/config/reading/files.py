"""A file's bytes, and its text: anything but a small text file in UTF-8 becomes a `Problem`.

Reading never blocks: a FIFO that nobody writes to, a terminal or a device is refused.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

from yaml.reader import Reader

from launchers.files import NoFileError, read_ordinary
from router.config.problems import ConfigError, Problem, SourcePosition

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 4 * 1024 * 1024
"""Bytes of router.yaml and all files that it includes, together."""

BEGINNING = (
    "name another with --config FILE, have one written by the command init, or write one: a line is enough, "
    "`backends: [{name: mine, launch: {model: /path/to/model.gguf}}]`"
)
"""What to do if there is no router.yaml. A test loads this line."""

LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""Line breaks of YAML 1.1."""

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read(path: Path, most: int = MAX_BYTES, *, of_another: bool = False) -> bytes:
    """The bytes of a file, `most` of them. Raises ConfigError, which names the file as the path does.

    `of_another`: it is another program's, and none is to be written if it isn't there.
    """
    file = str(path)
    try:
        raw = read_ordinary(path, most + 1)
    except NoFileError:
        raise fatal(SourcePosition(file), "is no ordinary file: write what it gives to one, and name that") from None
    except FileNotFoundError:
        advice = "" if of_another else f"; {BEGINNING}"
        raise fatal(SourcePosition(file), f"there is no such file in {path.absolute().parent}{advice}") from None
    except IsADirectoryError:
        raise fatal(SourcePosition(file), "is a directory; name the file in it") from None
    except PermissionError:
        raise fatal(SourcePosition(file), "may not be read: check the file's owner and permissions") from None
    except (OSError, ValueError) as error:
        raise fatal(SourcePosition(file), f"can't be read: {getattr(error, 'strerror', None) or error}") from None
    if len(raw) > most:
        whole = "" if most == MAX_BYTES else ", with what was read before it"
        raise fatal(SourcePosition(file), f"is larger than {MAX_BYTES >> 20} MiB{whole}: this can't be a router.yaml")
    return raw


def decoded(raw: bytes, file: str) -> str:
    """The text of a file's bytes, without the byte order mark that some editors write. Raises ConfigError."""
    if raw.startswith(_UTF_16):
        raise fatal(SourcePosition(file, 1, 1), "is UTF-16 text: save the file as UTF-8")
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise fatal(_place_after(raw[: error.start].decode(), file), "is not UTF-8 text: save it as UTF-8") from None
    if odd := Reader.NON_PRINTABLE.search(text):
        raise fatal(_place_after(text[: odd.start()], file), f"the character {odd[0]!r} can't stand in YAML")
    return text


def _place_after(before: str, file: str) -> SourcePosition:
    lines = LINE_BREAK.split(before)
    return SourcePosition(file, len(lines), len(lines[-1]) + 1)


def fatal(place: SourcePosition, message: str, key: str = "") -> ConfigError:
    """An error that leaves no data to go on with."""
    return ConfigError([Problem(*place, key=key, message=message)])
