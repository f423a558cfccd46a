"""Parts a model's reasoning from its answer, where the engine leaves both in one text.

Reasoning models write `<think>`, their reasoning, `</think>` and then the answer. Engines with a reasoning parser give
the two apart; others give the text as it is. Only a `<think>` at the very beginning counts: anywhere else it may be a
part of the answer.
"""

_OPENS, _CLOSES = "<think>", "</think>"


class ThinkingSplitter:
    """Parts a text that comes in pieces: `feed` each, then `end`. Both give (reasoning, answer), either maybe empty."""

    def __init__(self) -> None:
        # None: not decided yet.
        self._thinks: bool | None = None
        # What can't be told yet to which part it belongs.
        self._held = ""
        # Whether spaces that come next are between the parts.
        self._between = False

    @property
    def is_answering(self) -> bool:
        """Whether all that comes now is the answer's, as it comes."""
        return self._thinks is False and not self._between

    def feed(self, text: str) -> tuple[str, str]:
        """Take the next piece."""
        if self._thinks is None:
            text = self._held + text
            begins = text.lstrip()
            if len(begins) < len(_OPENS) and _OPENS.startswith(begins):
                self._held = text
                return "", ""
            self._held = ""
            self._thinks = begins.startswith(_OPENS)
            if self._thinks:
                text = begins[len(_OPENS) :]
                self._between = True
        if self._thinks:
            return self._feed_reasoning(text)
        return "", self._after_spaces(text)

    def _feed_reasoning(self, text: str) -> tuple[str, str]:
        text = self._held + text
        at = text.find(_CLOSES)
        if at >= 0:
            reasoning = self._after_spaces(text[:at].rstrip())
            self._thinks, self._held, self._between = False, "", True
            return reasoning, self._after_spaces(text[at + len(_CLOSES) :])
        end = _before_tag(text)
        self._held = text[end:]
        return self._after_spaces(text[:end]), ""

    def _after_spaces(self, text: str) -> str:
        if self._between:
            text = text.lstrip()
            self._between = not text
        return text

    def end(self) -> tuple[str, str]:
        """Take the end of the text: what was held back is what it seems."""
        held, self._held = self._held, ""
        return (held, "") if self._thinks else ("", held)


def _before_tag(text: str) -> int:
    """Give where what may become the closing tag begins; spaces before that tag belong to neither part."""
    at = text.rfind("<", max(0, len(text) - len(_CLOSES)))
    if at < 0 or not _CLOSES.startswith(text[at:]):
        at = len(text)
    return len(text[:at].rstrip())
