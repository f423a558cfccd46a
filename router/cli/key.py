"""`key`: make a key, and the entry of router.yaml that lets its owner in. It asks no router, and writes no file."""

import argparse
import json
import re
import secrets
import string
import sys
import time
from collections.abc import Iterator, Mapping
from math import inf
from typing import Final

from pydantic import ValidationError

from router.cli.exits import BAD_START, CommandError, printed
from router.config import AuthConfig, explain
from router.config.keys.auth import LimitedConfig
from router.config.scalars import FromEnvironment, Scalar, read
from router.core.keys import digest
from router.telemetry.terminal import say

PREFIX: Final = "sk-router-"
"""How keys begin: by it, people and programs that look for secrets know what they have found."""

_LETTERS: Final = string.ascii_letters + string.digits
_LENGTH: Final = 43
"""Letters of a key behind its prefix: 43 of 62 kinds are 256 bits."""

_OF_CLIENTS: Final = (*LimitedConfig.model_fields, "models", "paths", "expires", "weight", "priority")
_LISTS: Final = frozenset({"models", "paths", "scopes"})

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

_SAID = """\
The key; it is shown this once, and stored nowhere:

{key}

Its entry for router.yaml, which holds its hash alone:

auth:
  {section}:
{entry}"""


def run(options: argparse.Namespace) -> int:
    """Make one. Raises CommandError."""
    section = "admin_keys" if options.admin else "keys"
    given = {name: value for name in (*_OF_CLIENTS, "scopes") if (value := getattr(options, name)) is not None}
    foreign = [name for name in given if (name == "scopes") is not options.admin]
    if foreign:
        whose = "an admin key has scopes alone" if options.admin else "--scopes is for --admin"
        raise CommandError(f"{_option(foreign[0])}: {whose}", BAD_START)
    key = PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
    entry: dict[str, str | list[str]] = {"name": options.name, "hash": f"sha256:{digest(key.encode()).hex()}"}
    entry |= {name: value.split(",") if name in _LISTS else value for name, value in given.items()}
    if _check(section, entry) < time.time():
        say("--expires: this is over already: the key opens nothing.\n", sys.stderr)
    if options.json:
        return printed(json.dumps({"key": key, "entry": {name: _typed(name, value) for name, value in entry.items()}}))
    return printed(_SAID.format(key=key, section=section, entry="\n".join(_lines(entry))))


def _check(section: str, entry: Mapping[str, str | list[str]]) -> float:
    """Give when the key expires, a Unix time or inf. Raises CommandError where router.yaml couldn't have this entry."""
    # As from the environment: numbers are text here, too.
    typed = {name: FromEnvironment(value) if isinstance(value, str) else value for name, value in entry.items()}
    try:
        auth = AuthConfig.model_validate({section: [typed]})
    except ValidationError as error:
        said = []
        for each in error.errors():
            name = str(each["loc"][2])
            said.append(f"{_option(name)}: {explain.message(each).replace('{got}', repr(each['input']))}")
        raise CommandError("\n".join(said), BAD_START) from None
    return next((key.expires for key in auth.keys if key.expires is not None), inf)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _lines(entry: Mapping[str, str | list[str]]) -> Iterator[str]:
    """Write an entry as YAML."""
    mark = "-"
    for name, value in entry.items():
        if isinstance(value, list):
            said = f"[{', '.join(map(_text, value))}]"
        else:
            said = _text(value) if isinstance(_typed(name, value), str) else value
        yield f"    {mark} {name}: {said}"
        mark = " "


def _typed(name: str, value: str | list[str]) -> Scalar | list[str]:
    """Give a value as router.yaml would have it: a number, where it is one and is no name."""
    return value if isinstance(value, list) or name == "name" else read(value)


def _text(text: str) -> str:
    """Write a text; JSON's are YAML's. A plain word needs no quotes."""
    is_plain = _PLAIN.fullmatch(text) is not None and isinstance(read(text), str)
    return text if is_plain else json.dumps(text, ensure_ascii=False)
