"""Takes secrets out of text that a person may give to others: those that are known, and what looks like one. Pure."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import BaseModel, SecretStr

from router.config.redact import HIDDEN, is_secret

SHORTEST: Final = 4
"""Letters of a secret from which on it is looked for: what is shorter stands in any text."""

LONG_ENOUGH: Final = 6
"""Letters of a variable's value that may be a secret from which on it is looked for: 8001, true and lan aren't."""

_PATTERNS: Final = (
    # The user of an address, and what stands behind its ?.
    (re.compile(r"(?<=://)[^\s/@\"'<>]+@"), f"{HIDDEN}@"),
    (re.compile(r"(://[^\s?\"'<>]*\?)[^\s\"'<>]+"), rf"\1{HIDDEN}"),
    (re.compile(r"\b(?:sk-|hf_|gh[pousr]_|github_pat_|xox[abp]-|AKIA)[\w-]{8,}"), HIDDEN),
    (re.compile(r"(?i)\b((?:Bearer|Basic)\s+)[\w.~+/=-]{4,}"), rf"\1{HIDDEN}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), HIDDEN),
    (re.compile(r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----"), HIDDEN),
)
_VALUE: Final = r"(?P<value>\\+\"[^\"\n]+\"|\"[^\"\n]+\"|'[^'\n]+'|\$\{\w+\}|[^\s,;\"'(){}\[\]]+)"
_NAMED: Final = (
    re.compile(r"(?P<name>[\w-]{2,60})(?P<is>\\*[\"']?[ \t]*[:=][ \t]*)" + _VALUE),
    re.compile(r"(?P<name>--[\w-]{2,60})(?P<is>[ \t]+)" + _VALUE),
)
"""A value behind its name, and one behind an option: `api_key: X`, `--api-key X`."""

_PROMPT: Final = re.compile(r"(?:system[_-]?)?prompt|instructions|(?:chat[_-])?template[_-]kwargs", re.IGNORECASE)
"""Matches names of what is said to a model: it is nobody else's affair, either."""

_QUOTED: Final = re.compile(r"(?<!\w)(?P<quote>['\"]).*?(?P=quote)(?!\w)")
"""Matches a value in a sentence of router.yaml's problems; no apostrophe is a quote."""

_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?(?:[kKMGT]i?)?B?%?")


class Cleaner:
    """Knows secrets, and the home of the user, whose name may be nobody's business."""

    def __init__(self, secrets: Iterable[str], home: str) -> None:
        every = {form for secret in secrets for part in parts(secret) for form in forms(part)}
        longest_first = sorted((each for each in every if len(each) >= SHORTEST), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        # Of others' files, the name of their owner stays hidden, too.
        name = re.escape(home.rstrip("/").rpartition("/")[2])
        self._homes = re.compile(rf"{re.escape(home.rstrip('/'))}(?![\w.-])|/(?:home|Users)/{name}(?![\w.-])")
        self._has_home = len(home.strip("/")) > 0

    def clean(self, text: str, *, is_problem: bool = False) -> str:
        """Give a text without secrets, in which home is ~.

        One that `is_problem`, of router.yaml, has others' words in quotes alone: `headers: unknown key` is no secret.
        """
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        text = _QUOTED.sub(lambda quoted: _unnamed(quoted[0]), text) if is_problem else _unnamed(text)
        return self._homes.sub("~", text) if self._has_home else text


def _unnamed(text: str) -> str:
    for pattern in _NAMED:
        text = "".join(_without_named(pattern, text))
    return text


def _without_named(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    """Give the parts of a text without the values that a name says to be secret.

    Other values are looked into: that of `"event": "it said HF_TOKEN=X"` has a secret in itself.
    """
    at = 0
    while found := pattern.search(text, at):
        yield text[at : found.start("value")]
        at = found.start("value")
        if _is_hidden(found["name"], found["value"]):
            yield HIDDEN
            at = found.end()
    yield text[at:]


def _is_hidden(name: str, value: str) -> bool:
    """Whether a name means that its value is secret, or a prompt; no number is: `max_tokens: 100`, `keys: 3`."""
    if _NUMBER.fullmatch(value.strip("\\\"'")) or value.startswith(("${", HIDDEN)):
        return False
    return is_secret(name, "") or _PROMPT.fullmatch(name.strip("-")) is not None


def parts(secret: str) -> Iterator[str]:
    """Give a secret, and what of it is one by itself: a line, the value behind `--key=`, the password of an address."""
    yield secret
    for line in secret.splitlines():
        yield line.strip()
        yield line.partition("=")[2].strip()
        yield re.sub(r"(?i)^(?:bearer|basic)\s+", "", line.strip())
    if "://" in secret:
        try:
            address = urlsplit(secret)
            # Beside a password, it is a name, such as `user`, which may stand anywhere.
            user = address.username if address.password is None else None
            yield from filter(None, (user, address.password, address.query))
            yield from (value for _, value in parse_qsl(address.query))
        except ValueError:
            return


def forms(secret: str) -> Iterator[str]:
    """Give the forms in which a text may have a secret: as it is, in JSON, in an address, escaped for a terminal."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield quote(secret, safe="")
    yield unquote(secret)
    yield ascii(secret)[1:-1]


def secrets_of(config: BaseModel) -> Iterator[str]:
    """Give all values of a configuration that its JSON hides, those that came from the environment among them."""
    yield from _hidden(config.model_dump(mode="python", warnings=False), config.model_dump(mode="json"))


def _hidden(value: Any, told: Any) -> Iterator[str]:  # noqa: ANN401  (whatever JSON can say)
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _hidden(each, told.get(key, HIDDEN) if isinstance(told, Mapping) else told)
    elif isinstance(value, list | tuple | set | frozenset):
        alike = isinstance(told, list) and len(told) == len(value)
        for each, its in zip(value, told if alike else [told] * len(value), strict=True):
            yield from _hidden(each, its)
    elif told == HIDDEN and value is not None:
        yield str(value)


def secrets_of_environment(environ: Mapping[str, str], text: str) -> Iterator[str]:
    """Give the values of variables that are named like secrets, and of those that this text of router.yaml takes."""
    taken = set(re.findall(r"\$\{(\w+)", text))
    for name, value in environ.items():
        if is_secret(name, value) or (name in taken and len(value) >= LONG_ENOUGH):
            yield value
