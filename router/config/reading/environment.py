"""What the environment adds to a document: `${NAME}` inside values, and `ROUTER_…` variables instead of values.

**References.** `${NAME}` and `${NAME:-default}` may occur anywhere in a value, but not in a key or in a default. The
default is used if the variable is missing or empty. `$${` is a literal `${`. References are expanded after parsing, so
a variable can't add keys or lines; an expanded value is not expanded again. The key decides whether the value is text
or a number: see `scalars.FromEnvironment`. No message ever shows it.

**Overrides.** `ROUTER_SERVER__PORT=9000` sets `server.port`, and wins over the file. Two underscores separate the
levels, upper and lower case are the same, and list items have numbers (`ROUTER_BACKENDS__0__URL`; the number after the
last adds an item). An unknown key is an error, with the variable's name instead of a file's.

Other variables are ignored, also those that start with `ROUTER_` but have no two underscores, except `ROUTER_PROFILE`:
Kubernetes, for one, sets ROUTER_PORT for a service named `router`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from router.config.problems import KeyPath, Problem, SourcePosition, dotted
from router.config.redact import public
from router.config.scalars import BROKEN, FromEnvironment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from router.config.reading.document import Document

_PREFIX = "ROUTER_"
_TOP_LEVEL_SCALARS = {"PROFILE"}
_MAX_LEVELS = 8

_REFERENCE = re.compile(
    r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<or>:-(?P<default>(?:[^$}]|\$(?!\{))*+))?\}|\$\{"
)
_INDEX = re.compile(r"[0-9]{1,6}")


def literal(text: str) -> str:
    """Write text so that `expand` gives just this."""
    return text.replace("${", "$${")


def override(document: Document, environ: Mapping[str, str]) -> None:
    """Set the values of `ROUTER_…` variables in the document."""
    for variable in sorted(environ):
        name = variable.removeprefix(_PREFIX)
        if name == variable or ("__" not in name and name.upper() not in _TOP_LEVEL_SCALARS):
            continue
        levels = name.split("__")
        if "" in levels or len(levels) > _MAX_LEVELS:
            message = f"two underscores go between the names of levels, {_MAX_LEVELS} at most"
            document.report(Problem(variable, None, None, "", message))
        elif levels[0].lower() == "include":
            message = "can't be set from here: write ${NAME} into it"
            document.report(Problem(variable, None, None, "include", message))
        elif problem := _set(document, variable, levels, environ[variable]):
            document.report(problem)


def _set(document: Document, variable: str, levels: list[str], text: str) -> Problem | None:
    """Walk down to the key, create missing levels on the way, and set the value."""
    path: KeyPath = ()
    here: Any = document.data
    for level, below in zip(levels, [*levels[1:], None], strict=True):
        key = _key(here, level, path)
        if key is None:
            held = f"its next item is {len(here)}" if isinstance(here, list) else "it holds a single value"
            return Problem(variable, None, None, dotted(public(path)), f"has no {level!r}: {held}")
        path = (*path, key)
        if isinstance(here, list) and key == len(here):
            here.append(None)
        if below is None:
            here[key] = FromEnvironment(text)
            document.places[path] = SourcePosition(variable)
        elif _missing(here, key):
            here[key] = [] if _INDEX.fullmatch(below) else {}
            document.places[path] = SourcePosition(variable)
        here = here[key]
    return None


def _key(here: object, level: str, path: KeyPath) -> str | int | None:
    """The key or index that a level of a variable's name means; None if there is none."""
    if isinstance(here, list):
        return int(level) if _INDEX.fullmatch(level) and int(level) <= len(here) else None
    if not isinstance(here, dict):
        return None
    # The names of an engine's variables keep their case.
    new = level if path[-1:] == ("env",) else level.lower()
    return next((key for key in here if key.lower() == level.lower()), new)


def _missing(here: Any, key: str | int) -> bool:  # noqa: ANN401 - a list or a mapping, with its key
    return (key not in here if isinstance(here, dict) else False) or here[key] is None


def expand(document: Document, environ: Mapping[str, str], section: str | None = None) -> None:
    """Expand the references in all values, or in one section. A bad one is reported, and its value becomes BROKEN."""
    expansion = _Expansion(document, environ)
    if section is None:
        expansion.of(document.data, ())
    elif section in document.data:
        document.data[section] = expansion.of(document.data[section], (section,))


class _Expansion:
    """One walk over a document's data."""

    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self._document = document
        self._environ = environ

    def of(self, value: Any, path: KeyPath) -> Any:  # noqa: ANN401 - whatever the file holds
        """The value with all references expanded; containers are changed in place."""
        if isinstance(value, dict | list):
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                if isinstance(key, str) and "${" in key:
                    self._document.report(self._document.problem((*path, key), "${…} stands in values, not in keys"))
                value[key] = self.of(item, (*path, key))
        elif isinstance(value, str) and "${" in value and not isinstance(value, FromEnvironment):
            return self._text(value, path)
        return value

    def _text(self, text: str, path: KeyPath) -> object:
        wrong = dict.fromkeys(self._wrong(text))
        if wrong:
            self._document.broken.add(path)
            self._document.report(*(self._document.problem(path, message) for message in wrong))
            return BROKEN
        expanded = _REFERENCE.sub(self._value, text)
        self._document.hidden[path] = expanded
        return FromEnvironment(expanded, unquoted=path in self._document.unquoted)

    def _value(self, reference: re.Match[str]) -> str:
        if reference[0] == "$${":
            return "${"
        return self._environ.get(reference["name"]) or reference["default"] or ""

    def _wrong(self, text: str) -> Iterator[str]:
        for reference in _REFERENCE.finditer(text):
            name = reference["name"]
            if reference[0] == "${":
                yield "write ${NAME} or ${NAME:-default}, with letters, digits and _; $${ is a literal ${"
            elif name and reference["or"] is None and name not in self._environ:
                yield f"the environment has no {name}: set it, or give a default: ${{{name}:-…}}"
