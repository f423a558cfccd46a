"""Custom tools of /v1/responses, whose input is plain text, as functions with one argument, `input`.

A model's call of such a function is `{"input": "…"}`. `InputReader` reads the text out of it while it comes.
"""

import json
import re
from typing import Final

import msgspec

from router.translate.responses_request import Grammar

PARAMETERS = msgspec.Raw(
    b'{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}'
)

_HINT = "Its whole input is the text in `input`."
_BEGINS = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_MOST_BEFORE = 64
"""Characters in which the text has to begin, if it is to be passed on as it comes."""

_WHOLE = re.compile(
    r'(?:[^"\\]+|\\["\\/bfnrt]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}'
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    # Half a pair, when it is clear that the other half doesn't follow.
    r'|\\u[dD][89a-fA-F][0-9a-fA-F]{2}(?=[\s\S]{6}|[^\\]*"))*+'
)
"""What can be decoded of a text in JSON that is cut anywhere."""

_read_grammar = msgspec.json.Decoder(Grammar).decode
_decode = json.JSONDecoder(strict=False).decode


def described(description: str | None, form: msgspec.Raw) -> str:
    """Give the description for the model, with the grammar of the input, which chats can't hold it to."""
    try:
        grammar = _read_grammar(form).definition if form else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        grammar = None
    words = [description, _HINT, f"It must follow this grammar:\n{grammar}" if grammar else None]
    return "\n\n".join([each for each in words if each])


class InputReader:
    """Reads the text of one call's input from its arguments, which come in pieces."""

    def __init__(self) -> None:
        self._pieces: Final[list[str]] = []
        # What hasn't been read yet.
        self._rest = ""
        self._begun = False
        self._over = False

    def feed(self, text: str) -> str:
        """Take the next piece of the arguments; give what is new of the input."""
        if self._over:
            return ""
        rest = self._rest + text
        if not self._begun:
            self._pieces.append(text)
            begins = None if len(self._rest) > _MOST_BEFORE else _BEGINS.match(rest)
            if begins is None:
                self._rest = rest[: _MOST_BEFORE + 1]
                return ""
            self._begun, rest = True, rest[begins.end() :]
        found = _WHOLE.match(rest)
        end = 0 if found is None else found.end()
        self._rest, self._over = rest[end:], rest[end : end + 1] == '"'
        return _sound(str(_decode(f'"{rest[:end]}"')))

    def end(self) -> str:
        """Give what is left: all of it, if it isn't of the expected form."""
        return "" if self._begun else _input_in("".join(self._pieces))


def _input_in(arguments: str) -> str:
    """Give the only text in some arguments, else the arguments themselves: models write an input without JSON, too."""
    try:
        said = _decode(arguments)
    except (ValueError, RecursionError):
        return arguments
    texts = [said] if isinstance(said, str) else []
    if isinstance(said, dict):
        texts = [each for name, each in said.items() if isinstance(each, str) and (name == "input" or len(said) == 1)]
    return _sound(texts[0]) if texts else arguments


def _sound(text: str) -> str:
    """Replace halves of surrogate pairs, which are no text."""
    return text.encode("utf-8", "replace").decode("utf-8")
