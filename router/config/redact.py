"""Which values of a configuration may be shown: in messages, in logs, and by the management API.

Secret are the values of keys that are named like secrets; all variables of engines; and text that comes from the
environment, wherever the key alone doesn't say what it means (an engine's arguments, a route's fields, the path of a
URL). Dumps in pydantic's JSON mode show none of these: the types have serializers that hide them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from router.config.scalars import FromEnvironment

if TYPE_CHECKING:
    from pydantic import BaseModel

    from router.config.problems import KeyPath

HIDDEN = "(hidden)"

NOT_SHOWN = "…"
"""Stands in messages for a part that is not shown."""

LIMITS = frozenset(
    {f"{what}_per_{time}" for what in ("requests", "tokens", "cost") for time in ("minute", "day", "month")}
) - {"cost_per_minute"} | {"max_in_flight"}
"""The names of a key's limits, and of a team's."""

KNOWN = LIMITS | {
    "keys", "teams", "admin_keys", "open", "key", "hash", "name", "models", "paths", "expires", "weight", "priority",
    "scopes",
}  # fmt: skip
"""The keys that a section may have below one that is named like a secret: those of `auth`. A test holds them to it."""

_SECRET = re.compile(
    r"key|token(?!iz)|secret|passw|credential|\bauth\b|authorization|\bheaders\b|\benv\b", re.IGNORECASE
)

_SETS = re.compile(r"(?<![\w-])([\w-]{1,100})=\S")
"""Matches the name in `--name=value` and `NAME=value`, anywhere in a word of a command."""

_SECRETS = ("apikey", "headers", "token", "hftoken", "password", "secret", "adminkeys", "authorization", "credentials")
_LONGEST = 40
"""Letters of a key that are compared with these."""

_FREE = frozenset({"set", "default", "at_most", "args"})
"""Keys below which any name may stand, and so a secret in the place of its value."""

_NAME = re.compile(r"-{0,2}[a-z][a-z0-9_.-]{0,39}")
_MADE_UP = re.compile(r"(?:sk-|hf_|gh[pous]_).*|(?=.*\d)[a-z0-9]{16,}")
"""Matches what is written as a name is, and is none: a key of a service, or random letters and digits."""

_COUNT = re.compile(r"(?:max|min|n|num)_(?:[a-z]+_)?tokens", re.IGNORECASE)


def redacted(config: BaseModel) -> dict[str, Any]:
    """The configuration as plain data in router.yaml's own words, with every default, and without its secrets.

    It can be loaded again if nothing in it was secret. Included files are part of it; the key `include` is not.
    """
    return config.model_dump(mode="json", exclude={"include"}, exclude_none=True)


def shown(value: Any, key: str = "") -> Any:  # noqa: ANN401 - whatever JSON can say
    """The value of a key as plain lists and dicts, with secrets hidden."""
    if isinstance(value, Mapping):
        return {name: shown(item, name) for name, item in value.items()}
    if isinstance(value, tuple):
        return [HIDDEN if is_of_a_flag(value, index) else shown(item, key) for index, item in enumerate(value)]
    return HIDDEN if isinstance(value, FromEnvironment) or is_secret(key, value) else value


def is_secret(key: object, value: object) -> bool:
    """Whether a value is secret by its key, which may be misspelt, or by its form: a URL with a password or a query."""
    if isinstance(value, str) and "://" in value and ("@" in value or "?" in value):
        return True
    if _COUNT.fullmatch(str(key)) or (isinstance(value, int | float) and str(key).lower().endswith("tokens")):
        # It counts tokens.
        return False
    return _SECRET.search(str(key)) is not None or _is_nearly_secret(str(key))


@lru_cache(maxsize=4096)
def _is_nearly_secret(key: str) -> bool:
    """Whether a key is a misspelt name of a secret: `apikee`, `header`. No key that router.yaml has is one: a test."""
    word = key[:_LONGEST].lower().replace("_", "").replace("-", "")
    return bool(get_close_matches(word, _SECRETS, n=1, cutoff=0.8))


def is_hidden_key(key: object) -> bool:
    """Whether a key must not be shown that stands below a secret one: it may be the secret, written in its place."""
    return isinstance(key, str) and key not in KNOWN


def public(path: KeyPath) -> KeyPath:
    """A path that may be shown.

    Below a key that is named like a secret, only names that are known are; where any name may stand, only what looks
    like the name of a field or an option.
    """
    above = next((at for at, key in enumerate(path) if is_secret(key, "")), len(path))
    free = next((at for at, key in enumerate(path) if key in _FREE), len(path))
    return tuple(
        NOT_SHOWN if (at > above and is_hidden_key(key)) or (at > free and _is_no_name(key)) else key
        for at, key in enumerate(path)
    )


def _is_no_name(key: object) -> bool:
    return isinstance(key, str) and key != "" and (_NAME.fullmatch(key) is None or _MADE_UP.fullmatch(key) is not None)


def is_of_a_flag(command: Sequence[Any], index: int) -> bool:
    """Whether an item of a command belongs to a flag that is named like a secret: `--api-key X`, `--api-key=X`.

    Or sets a variable that is: `API_KEY=X`, which may stand within a line for a shell.
    """
    flag = command[index - 1] if index else ""
    if isinstance(flag, str) and flag.startswith("-") and is_secret(flag, ""):
        return True
    return any(is_secret(name, "") for name in _SETS.findall(str(command[index])))
