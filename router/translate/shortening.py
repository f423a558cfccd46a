"""Shortens what is too long to be embedded, as Ollama's /api/embed does unless it is told `truncate: false`.

Only the engine knows how many tokens a text has. So it is asked first. Where it refuses, its error mostly says how many
there were and how many it takes. The texts are cut to that share of the longest one, at their ends. Then it is asked
again.
"""

import re

import msgspec

from router.core import errors

MARGIN = 0.97
"""Share of what should fit that is left: tokens aren't equally long."""

_SPEAKS_OF_LENGTH = re.compile(r"\btokens?\b|\bcontext\b|\btoo (?:large|long)\b", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.])\d{1,9}(?![\w.]*\w)")

_FALSE = msgspec.Raw(b"false")

_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_input_of = msgspec.json.Decoder(str | list[str]).decode
_encode = msgspec.json.Encoder().encode


def shortened(body: bytes, said: bytes) -> bytes | None:
    """Give a request of /api/embed with shorter texts, by what its engine said of it; None: that isn't what was wrong.

    `body` is one that has been translated, so its fields are as they should be.
    """
    words = errors.of_engine(400, said).message
    fields = _fields_of(body)
    if fields.get("truncate") == _FALSE or _SPEAKS_OF_LENGTH.search(words) is None:
        return None
    given = _input_of(fields["input"])
    texts = [given] if isinstance(given, str) else given
    most = int(max(map(len, texts)) * _share(words))
    if most < 1:
        return None
    cut = [text[:most] for text in texts]
    fields["input"] = msgspec.Raw(_encode(cut[0] if isinstance(given, str) else cut))
    return _encode(fields)


def _share(words: str) -> float:
    """Tell which share of the longest text is left: of the two largest numbers, one is its tokens, one their limit."""
    numbers = sorted({int(each) for each in _NUMBER.findall(words)})[-2:]
    return numbers[0] / numbers[1] * MARGIN if len(numbers) == 2 and numbers[0] else 0.5
