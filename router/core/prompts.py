"""How many tokens a prompt has, about, before an engine has counted them: by the bytes of its text. Pure.

How many bytes of a model's prompts make a token is learned from what engines report. Images, sounds and files are in
base64, megabytes of it, and are no text: they are told by their bytes. Texts in any language have a space, an escape or
a letter that base64 lacks in every few words.
"""

import re
from typing import TYPE_CHECKING, Final

import msgspec

from router.core.apis import COUNT, GENERATES
from router.core.outline import BASE64

if TYPE_CHECKING:
    from router.core.outline import Texts

BYTES_A_TOKEN: Final = 4.0
"""Bytes of a request's text for each token, until something is known of its model."""

LEAST: Final = 0.25
MOST: Final = 64.0
"""Bounds of that: a template adds tokens to short texts, and a request has bytes beside its text."""

MOST_SUMMED: Final = 1e5
"""Tokens from which on older ones count half: what is learned follows a model whose use changes."""

MOST_MODELS: Final = 1024
"""Models of which something is known."""

_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_STEP: Final = 2048
_WINDOW: Final = 256
"""A text is looked at for so many bytes in each step: base64 is noticed from two steps on."""

_READS_NONE: Final = frozenset({COUNT, "/tokenize", "/detokenize", "/apply-template"})


_CHOICES: Final = re.compile(rb'"n(?:_cmpl)?"\s*:')
"""Names of the number of choices, llama.cpp's own one, too."""


def choices_in(body: bytes) -> int:
    """Tell how many choices a request asks for; 1, if that can't be read."""
    if _CHOICES.search(body) is None:
        return 1
    try:
        fields = _fields_of(body)
        return max(1, *[int(bytes(fields.get(name, b"1")).strip(b'"')) for name in ("n", "n_cmpl")])
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return 1


def uses_tokens(path: str) -> bool:
    """Tell whether a request on this path has an engine's model read something."""
    return path not in _READS_NONE


def generates(path: str) -> bool:
    """Tell whether answers on this path are text that a model makes."""
    return path in GENERATES


def text_size(body: bytes, texts: "Texts | None" = None) -> int:
    """Tell how many bytes of a body are text; `texts` are what was cut out, if the body is an outline."""
    size = len(body)
    for at in range(_STEP - _WINDOW, size - _WINDOW + 1, _STEP):
        ends = at + _WINDOW
        if body.find(b" ", at, ends) < 0 and not body[at:ends].translate(None, BASE64):
            size -= _STEP
    return size if texts is None else size + texts.words


class Rates:
    """How many bytes of text make a token, for each model."""

    def __init__(self) -> None:
        # Of prompts that were counted: the bytes and the tokens.
        self._sums: dict[str, tuple[float, float]] = {}

    def tokens(self, model: str, size: int) -> int:
        """Estimate the tokens of so many bytes of text: at least one."""
        known = self._sums.get(model)
        rate = BYTES_A_TOKEN if known is None else min(MOST, max(LEAST, known[0] / known[1]))
        return max(1, round(size / rate))

    def learn(self, model: str, size: int, tokens: int) -> None:
        """Take a prompt that an engine has counted."""
        if tokens <= 0:
            return
        if model not in self._sums and len(self._sums) >= MOST_MODELS:
            del self._sums[next(iter(self._sums))]
        sizes, counts = self._sums.get(model, (0.0, 0.0))
        part = 0.5 if counts > MOST_SUMMED else 1.0
        self._sums[model] = part * sizes + size, part * counts + tokens
