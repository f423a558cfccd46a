"""Why a start failed: the first error among the lines that an engine said. Pure.

An engine's last line is seldom the reason: vllm's core tells it, and scores of lines later another of its processes
says "see root cause above"; llama.cpp's last line says that it cleans up. So lines are read in order:

1. The first that is an error wins: by its level, by being an exception, or by the word.
2. If a traceback follows at once, or after more errors (several processes may write at the same time), its exception
   is the reason: it says more than the line above it.
3. If that exception led to another (Python prints the chain, the first one first), that is told after it.
4. Without such a line: the first that speaks of a failure, else the last.

Lines of the levels below an error are passed over: engines warn of much that is harmless.
"""

import re
from collections.abc import Iterable

LONGEST = 400
"""Most characters of a reason: people read it in a log, in an error answer and in a status."""

_PREFIX = re.compile(
    r"""(?:\([\w\ =.,:-]+\)(?:\ |$))?(?:\[rank\d+\]:\ ?)?                     # vllm, torch: which of its processes
    (?:(?P<vllm>[A-Z]+)\ [\d-]+\ [\d:,.]+\ \[[^\]]*\]\ ?                      # ERROR 11-23 04:28:42 [core.py:1100]
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
# vllm up to 0.12 colours the names of its processes, terminal or not.
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
# Of each exception in an ExceptionGroup.
_MARGIN = re.compile(r"\s+\| ")
# argparse's: `vllm serve: error: …`.
_OF_A_PROGRAM = re.compile(r"[\w./-]+(?: [\w-]+){0,2}: error: ")
_ERROR = re.compile(r"\berror\b", re.IGNORECASE)
_FAILURE = re.compile(r"fail|fatal|could ?n.t|can.?not|unable|invalid|no such|segfault|killed", re.IGNORECASE)
_TRACEBACK = "Traceback (most recent call last)"
_CHAINED = ("During handling of", "The above exception")
_BETWEEN = (_TRACEBACK, *_CHAINED)  # of a traceback, but no exception
_ONLY_REPEATS = re.compile(r"root cause above|why stands above", re.IGNORECASE)
_MORE_FOLLOWS = re.compile(r"validation errors? for|^terminate called after throwing")  # pydantic's, and C++'s
_DETAILS = re.compile(r" \[type=\w+, input.*")
_MODULE = re.compile(r"^(?:\w+\.)+(?=\w+: )")


class FirstError:
    """Reads an engine's output line by line, and keeps only the reason."""

    def __init__(self) -> None:
        # The first error for certain, and the last exception of the chain that it began.
        self._found = ""
        self._led_to = ""
        # The first error unless a traceback follows at once, and whether other lines have followed it.
        self._error = ""
        self._more = False
        self._failure = ""
        self._last = ""
        self._in_traceback = False
        # Whether the next traceback belongs to what was found.
        self._chained = False
        self._closed = False
        # Most lines for which the text of the exception still goes on.
        self._missing = 0

    @property
    def known(self) -> str:
        """The first error; "" if no line was one."""
        return f"{self._found}; it led to {self._led_to}" if self._led_to else self._found or self._error

    @property
    def text(self) -> str:
        """The first error, or the line that comes nearest to one; "" if there was no output."""
        return self.known or _short(self._failure or self._last)

    def hear(self, line: str) -> None:
        """Take in the next line."""
        if self._closed:
            return
        level, text = _parted(line)
        if text.strip():
            self._read(_MARGIN.sub("", text.rstrip(), count=1) if "| " in text else text.rstrip(), level)

    def _read(self, text: str, level: str) -> None:
        if self._missing:
            self._found = _short(f"{self._found}: {text.strip()}")
            self._missing = 0 if text[0].isspace() else self._missing - 1
        elif self._in_traceback:
            if not (text[0].isspace() or text.startswith(_BETWEEN)):
                self._in_traceback = False
                self._take_exception(text)
        elif self._found:
            self._follow(text)
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
        if _ONLY_REPEATS.search(text):
            self._found = self._found or self._error
        elif self._found:
            self._led_to = _short(_MODULE.sub("", text), LONGEST // 2)
        else:
            self._find(_MODULE.sub("", text))

    def _find(self, text: str) -> None:
        self._found = _short(text)
        # Perhaps a field's name follows, and then what is wrong with it.
        self._missing = 2 if _MORE_FOLLOWS.search(text) else 0

    def _follow(self, text: str) -> None:
        """Find out whether another exception was raised because of this one."""
        if text.startswith(_CHAINED):
            self._chained = True
        elif text.startswith(_TRACEBACK):
            self._in_traceback, self._closed, self._chained = self._chained, not self._chained, False

    def _read_line(self, text: str, level: str) -> None:
        said = _OF_A_PROGRAM.sub("", text, count=1) if _OF_A_PROGRAM.match(text) else text
        if _ONLY_REPEATS.search(text):
            return
        if _MORE_FOLLOWS.search(said):
            self._find(said)
        elif level in _BAD or said is not text or _EXCEPTION.match(text) or _ERROR.search(text):
            self._error = _short(said)
        elif not self._failure and _FAILURE.search(text):
            self._failure = text
        self._last = text


def level_of(line: str) -> str:
    """Give the level that a line of a log has, as its engine writes it; "" if it tells none."""
    return _parted(line)[0]


def _parted(line: str) -> tuple[str, str]:
    """Give a line's level, and its text after the prefix."""
    line = _COLOUR.sub("", line)
    prefix = _PREFIX.match(line)
    level = prefix[prefix.lastgroup] if prefix and prefix.lastgroup else ""
    return level, line[prefix.end() :] if prefix else line


def first_error(lines: Iterable[str]) -> FirstError:
    """Read all lines of an output."""
    heard = FirstError()
    for line in lines:
        heard.hear(line)
    return heard


def _short(text: str, longest: int = LONGEST) -> str:
    text = _DETAILS.sub("", " ".join(text.split()))
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
