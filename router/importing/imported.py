"""What comes of another program's configuration: entries of router.yaml, and a list of what is left out. Pure.

Text in here is router.yaml's: `${NAME}` is a variable of the environment, `$${` a literal `${`. What comes from
elsewhere passes `literal`, or becomes a variable by `refer`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from router.config.keys.units import duration_in_words
from router.config.reading.environment import literal
from router.core.keys import digest

Value = str | int | float | bool | Sequence["Value"] | Mapping[str, "Value"] | None
"""A value of router.yaml, as it is to be written there."""

PLAIN: Final = "-as-is"
"""The end of a backend's name for a model, where the name that clients use is a route's, which changes requests."""

FIXED: Final = frozenset({"model", "stream"})
"""Fields of requests that no route changes."""

MOST_HOURS: Final = 8760
_NOT_IN_FILES = re.compile(r"[^A-Za-z0-9._-]+")
_NOT_IN_VARIABLES = re.compile(r"[^A-Z0-9]+")
_SECRET_URL = re.compile(r"//[^/?#]*@|[?&](?:[\w-]*(?:key|token|secret|password)|sig)=", re.IGNORECASE)
_MOST_LETTERS = 64


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A setting that router.yaml doesn't get, with the reason. `line`: of its file; 0 where it has none.

    `is_lost`: something is done otherwise now. Else the router needs no such setting.
    """

    what: str
    why: str
    line: int = 0
    is_lost: bool = True


@dataclass(slots=True)
class Entry:
    """An entry below `backends`. `about` describes it, and says where it comes from.

    `reason`: why it can't be used; it is a comment then.
    """

    keys: dict[str, Value]
    about: str = ""
    line: int = 0
    reason: str = ""

    @property
    def name(self) -> str:
        """Its name; each entry here has one."""
        return str(self.keys["name"])


@dataclass(slots=True)
class Route:
    """A route: the models that it leads to, and its other keys."""

    to: list[str]
    keys: dict[str, Value] = field(default_factory=dict)
    line: int = 0

    def like(self, *, hidden: bool, line: int = 0) -> Route:
        """Give a route that does the same; `hidden`: /v1/models doesn't list it."""
        keys = {name: value for name, value in self.keys.items() if name != "hidden"}
        return Route([*self.to], {**keys, **({"hidden": True} if hidden else {})}, line or self.line)


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the environment that router.yaml names. `needed`: the router doesn't start without it."""

    about: str
    needed: bool = False
    is_url: bool = False


@dataclass(slots=True)
class Imported:
    """What comes of a configuration of the program `whose`. `port` is that program's usual one.

    `variables` are those of the environment that the entries name. `advice` is for whoever moves in.
    """

    whose: str
    file: str
    port: int = 0
    entries: list[Entry] = field(default_factory=list)
    routes: dict[str, Route] = field(default_factory=dict)
    sections: dict[str, dict[str, Value]] = field(default_factory=dict)
    noted: dict[LeftOut, None] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    advice: list[str] = field(default_factory=list)

    def leave(self, what: str, why: str, line: int = 0, *, is_lost: bool = True) -> None:
        """Note a setting that isn't carried over; once."""
        self.noted[LeftOut(what, why, line, is_lost)] = None

    @property
    def left_out(self) -> list[LeftOut]:
        """Give all that isn't carried over."""
        return list(self.noted)

    def advise(self, sentence: str) -> None:
        """Say something to whoever moves in; once."""
        if sentence not in self.advice:
            self.advice.append(sentence)

    def refer(self, name: str, about: str, *, needed: bool = False, is_url: bool = False) -> str:
        """Give the reference to a variable, and note it. Unless it is `needed`, it may be missing: it is empty then."""
        known = self.variables.get(name, Variable(about))
        self.variables[name] = Variable(known.about, known.needed or needed, known.is_url or is_url)
        return f"${{{name}}}" if needed else f"${{{name}:-}}"

    def secret(self, wish: str, about: str) -> str:
        """Give the reference to a new variable for a secret that stands in the other program's file."""
        return self.refer(unused(variable_name(wish), self.variables, "_"), about)

    def url(self, url: str, wish: str, about: str) -> str:
        """Write a URL; one with a password or a key in it is a variable."""
        if _SECRET_URL.search(url) is None:
            return literal(url)
        name = unused(variable_name(f"{wish}_URL"), self.variables, "_")
        return self.refer(name, about, needed=True, is_url=True)


class Names:
    """Names of backends. Each is its own, and letters' case doesn't count: logs are named so."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def new(self, wish: str) -> str:
        """Give a name like this one that can be a file's."""
        name = _NOT_IN_FILES.sub("-", wish).strip("._-")[:_MOST_LETTERS].rstrip("._-") or "model"
        name = unused(name.casefold(), self._used, "-") if name.casefold() in self._used else name
        self._used.add(name.casefold())
        return name


def variable_name(wish: str) -> str:
    """Give a name like this one that a variable of the environment can have."""
    name = _NOT_IN_VARIABLES.sub("_", wish.upper()).strip("_")
    return f"KEY_{name}" if not name or name[0].isdigit() else name


def unused(wish: str, used: Mapping[str, object] | set[str], between: str) -> str:
    """Give the name, with a number behind it where it is used already."""
    number, name = 1, wish
    while name in used:
        number += 1
        name = f"{wish[: _MOST_LETTERS - 4]}{between}{number}"
    return name


def literals(value: Value) -> Value:
    """Write a value so that router.yaml means just the texts that are in it."""
    if isinstance(value, str):
        return literal(value)
    if isinstance(value, Mapping):
        return {name: literals(each) for name, each in value.items()}
    if isinstance(value, Sequence):
        return [literals(each) for each in value]
    return value


def hashed(secret: str) -> str:
    """Give what router.yaml knows a client's key by, so that the key itself isn't in it."""
    return f"sha256:{digest(secret.encode()).hex()}"


def duration(seconds: float) -> str:
    """Write a time: `5m`, `90s`, `1h`."""
    return duration_in_words(min(max(round(seconds), 1), MOST_HOURS * 3600))


def whole(value: object) -> int | None:
    """Read a whole number, which may stand in quotes, or have a fraction of nothing; None if it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,15}\s*", value):
        return int(value)
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def number(value: object) -> float | None:
    """Read a number, which may stand in quotes; None if it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,15}(\.[0-9]{0,15})?([eE]-?[0-9]{1,2})?\s*", value):
        return float(value)
    return float(value) if isinstance(value, int | float) else None


def is_true(value: object) -> bool:
    """Whether a switch is on, as YAML 1.1 and 1.2 write it."""
    return value is True or (isinstance(value, str) and value.lower() in {"true", "yes", "on", "1"}) or value == 1


def texts(value: object) -> list[str]:
    """Give the texts of a list, or the one text; nothing of what is neither."""
    items = value if isinstance(value, list | tuple) else [value]
    return [str(each) for each in items if isinstance(each, str | int | float) and not isinstance(each, bool)]


def listed(value: object) -> list[object]:
    """Give the items of a list; of anything else, that alone, and of nothing, none."""
    return value if isinstance(value, list) else [] if value is None else [value]


def mapping(value: object) -> Mapping[str, Value]:
    """Give a mapping; an empty one for what is none."""
    return value if isinstance(value, Mapping) else {}
