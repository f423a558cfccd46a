"""Why a start failed: the first error among the lines that an engine said. Pure.

What an engine says last is seldom why it ended: vllm's core tells why, and scores of lines later another of its
processes says "see root cause above"; llama.cpp's last word is that it cleans up. So lines are read in order:

1. The first that is an error wins: by its level, by being an exception, or by the word.
2. Where a traceback follows at once, or after more errors (several processes may speak at the same time), it is the
   traceback's exception, which says more than the line above it.
3. Without such a line: the first that speaks of a failure, else the last.

Lines of the levels below an error are passed over: engines warn of much that is harmless.
"""

import re
from collections.abc import Iterable

LONGEST = 400
"""Characters of a reason: it is read in a log, in an answer's error and in a status."""

_PREFIX = re.compile(
    r"""(?:\([\w\ =.-]+\)\ )?                                               # vllm: which of its processes
    (?:(?P<vllm>[A-Z]+)\ [\d-]+\ [\d:]+\ \[[^\]]*\]\ ?                      # ERROR 11-23 04:28:42 [core.py:1100]
    |\d{4}-\d\d-\d\d\ [\d:]+,\d+\ -\ (?P<logging>[A-Z]+)\ -\                # 2026-11-29 08:01:35,871 - ERROR -
    |(?P<uvicorn>[A-Z]+):\s+                                                # ERROR:    [Errno 98] …
    |[\d.]+\ (?P<llama>[DIWE])\ (?:(?:cmn|srv|slot)\s+)?                    # 0.00.002.026 E srv   start: …
    |(?P<glog>[DIWE])\d{4}\ [\d:.]+\ \d+\ [^\]]*\]\ )?                      # W1129 08:02:03.191000 15180 x.py:53]
    """,
    re.VERBOSE,
)
_HARMLESS = frozenset({"DEBUG", "INFO", "WARNING", "D", "I", "W"})
_BAD = frozenset({"ERROR", "CRITICAL", "FATAL", "E"})
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)(?::|$)")
_OF_A_PROGRAM = re.compile(r"[\w./-]+: error: ")  # argparse's: `vllm: error: unrecognized arguments: --x`
_ERROR = re.compile(r"\berror\b", re.IGNORECASE)
_FAILURE = re.compile(r"fail|fatal|could ?n.t|can.?not|unable|invalid|no such", re.IGNORECASE)
_TRACEBACK = "Traceback (most recent call last)"
_BETWEEN = (_TRACEBACK, "During handling of", "The above exception")  # of a traceback, but no exception
_ONLY_REPEATS = re.compile(r"root cause above|why stands above", re.IGNORECASE)
_MORE_FOLLOWS = re.compile(r"validation errors? for")  # pydantic says what is wrong in the next lines
_DETAILS = re.compile(r" \[type=\w+, input.*")
_MODULE = re.compile(r"^(?:\w+\.)+(?=\w+: )")


class FirstError:
    """Listens to what an engine says, and keeps no more of it than the reason."""

    def __init__(self) -> None:
        self._found = ""  # for certain
        self._error = ""  # unless a traceback follows at once
        self._more = False  # whether other lines have followed
        self._failure = ""
        self._last = ""
        self._in_traceback = False
        self._cut_short = False  # the exception goes on in the next line that says something

    @property
    def known(self) -> str:
        """The first error; nothing where no line was one."""
        return self._found or self._error

    @property
    def text(self) -> str:
        """The first error, or what comes nearest to one; nothing where nothing was said."""
        return self.known or _short(self._failure or self._last)

    def hear(self, line: str) -> None:
        """Take in the next line."""
        if self._found and not self._cut_short:
            return
        prefix = _PREFIX.match(line)
        level = prefix[prefix.lastgroup] if prefix and prefix.lastgroup else ""
        text = line[prefix.end() :] if prefix else line
        if text.strip():
            self._read(text.rstrip(), level)

    def _read(self, text: str, level: str) -> None:
        if self._cut_short:
            self._found, self._cut_short = _short(f"{self._found}: {text.strip()}"), False
        elif self._in_traceback:
            if not (text[0].isspace() or text.startswith(_BETWEEN)):
                self._in_traceback = False
                self._take_exception(text)
        elif self._error and self._more and level not in _BAD:  # no traceback explains it
            self._found = self._error
        elif level not in _HARMLESS and text.startswith(_TRACEBACK):
            self._in_traceback = True
        elif self._error:
            self._more = True
        elif level not in _HARMLESS and not text[0].isspace():
            self._read_line(text, level)
        else:
            self._last = text

    def _take_exception(self, text: str) -> None:
        if _ONLY_REPEATS.search(text) and self._error:
            self._found = self._error
        elif not _ONLY_REPEATS.search(text):
            self._found = _short(_MODULE.sub("", text))
            self._cut_short = bool(_MORE_FOLLOWS.search(text))

    def _read_line(self, text: str, level: str) -> None:
        # Asked for first, as the pattern takes the square of a long word's length.
        said = _OF_A_PROGRAM.sub("", text, count=1) if ": error: " in text else text
        if _ONLY_REPEATS.search(text):
            return
        if level in _BAD or said is not text or _EXCEPTION.match(text) or _ERROR.search(text):
            self._error = _short(said)
        elif not self._failure and _FAILURE.search(text):
            self._failure = text
        self._last = text


def first_error(lines: Iterable[str]) -> FirstError:
    """Read all of what was said."""
    heard = FirstError()
    for line in lines:
        heard.hear(line)
    return heard


def _short(text: str) -> str:
    text = _DETAILS.sub("", " ".join(text.split()))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
