"""Takes what router.log quotes of engines and servers out of its lines: it may have prompts and secrets in it. Pure.

What went wrong is still told: how the process ended, and which of some known reasons its words have.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

_FIELDS: Final = ("said",)
"""Fields of a line with words of others."""

_IN_TEXT: Final = re.compile(rf"\b({'|'.join(_FIELDS)})=(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\S+)")
"""Matches such a field where the log is text."""

_QUOTED_LINE: Final = re.compile(r"^    \| .*", re.MULTILINE)
"""Matches one of an engine's last lines below a failure."""

_REASON: Final = re.compile(
    r"(?P<ours>(?:while starting|after serving for [\d.e+]+ s|was not ready within [^:\n]*|the engine last said"
    r"|; the last(?!: (?:exited|ended|was)\b)): )(?P<words>.+?)"
    r"(?P<then>; next try in [\d.]+ s|; a reload or a change of its model [^\n]*)?$",
    re.MULTILINE,
)
"""Matches the reason that an engine's words give, in `launchers.wording`'s sentences. A test writes them all."""

_KNOWN: Final = re.compile(
    r"out of memory|no such file or directory|permission denied|address already in use|no space left on device"
    r"|illegal instruction|segmentation fault|failed to load model|unknown model architecture|unknown argument"
    r"|unrecognized arguments|invalid argument|cannot open shared object file|no kernel image is available"
    r"|no module named|modulenotfounderror|importerror|valueerror|runtimeerror|assertionerror|cuda error|hip error"
    r"|nccl error|driver version is insufficient|not supported|unsupported",
    re.IGNORECASE,
)
"""Matches reasons that say nothing of anybody."""


def without_quotes(lines: Iterable[str]) -> Iterator[str]:
    """Give lines of router.log without the words of others, whether they are JSON or text."""
    for line in lines:
        try:
            said: Any = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            yield _without(_IN_TEXT.sub(r"\1=(left out)", line))
            continue
        told = {key: _short(str(value)) if key in _FIELDS else value for key, value in said.items()}
        event = said.get("event")
        if isinstance(event, str):
            told["event"] = _without(event)
        yield line if told == said else json.dumps(told, ensure_ascii=False)


def _without(text: str) -> str:
    text = _REASON.sub(lambda found: f"{found['ours']}{_short(found['words'])}{found['then'] or ''}", text)
    return re.sub(r"(?:\n    \| \(left out\))+", "\n    | (left out)", _QUOTED_LINE.sub("    | (left out)", text))


def _short(words: str) -> str:
    known = dict.fromkeys(each.lower() for each in _KNOWN.findall(words))
    return f"({', '.join(known)}; the rest is left out)" if known else "(left out)"
