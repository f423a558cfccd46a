"""All mistakes of a configuration at once, those included that a check comes to only when others are mended.

Pydantic skips a rule between several keys while one of them is wrong. So what is wrong is replaced by a value that is
right, or left out, and the data is checked again: what is found now, at another place, is a mistake of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from router.config.keys.config import Config
from router.config.problems import MOST_PROBLEMS, KeyPath, did_you_mean
from router.core.keys import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

    from router.config.reading.document import Document

MOST_ROUNDS = 5

_TEXT = "stand-in"
_URL = "http://stand-in"
_STAND_INS: Mapping[str, Any] = MappingProxyType({
    "auth": {"open": True, "keys": [_TEXT]},
    "backends": [{"url": _URL}],
    "cmd": [_TEXT, "{port}"],
    "env": {"PORT": "{port}"},
    "key": _TEXT,
    "keys": [_TEXT],
    "launch": {"model": _TEXT},
    "model": _TEXT,
    "name": _TEXT,
    "open": True,
    "to": _TEXT,
    "url": _URL,
})  # fmt: skip
"""Values for keys that are required, or whose absence may be a mistake. All others are left out."""

_OF_COMMANDS = frozenset({"ready", "parallel", "paths"})
"""Keys that show that a launch without either means a `cmd`, not a `model`."""

_ITEMS: Mapping[str | int, Any] = MappingProxyType({"backends": {"url": _URL}, "cmd": "{port}", "cors": _URL})
"""Items of lists, where not any text will do."""


def all_errors(error: ValidationError, document: Document) -> list[ErrorDetails]:
    """Give pydantic's errors, and those that it would find next; none of a kind that `rules` finds by itself."""
    found: list[ErrorDetails] = []
    wrong: set[KeyPath] = set()
    data = _copied(document.data)
    for _ in range(MOST_ROUNDS):
        details = [(document.as_written(each["loc"]), each) for each in _details(error)]
        found += [each for path, each in details if _counts(each, path, wrong)]
        if len(found) >= MOST_PROBLEMS:
            break
        for path, each in details:
            if each["type"] != "rule":
                _mend(data, path, again=path in wrong, unknown=each["type"] == "extra_forbidden")
        wrong.update(path for path, _ in details)
        try:
            Config.model_validate(data)
            break
        except ValidationError as more:
            error = more
    return found[:MOST_PROBLEMS]


def _details(error: ValidationError) -> list[ErrorDetails]:
    return list(islice(error.errors(include_url=False, include_input=False), MOST_PROBLEMS))


def _counts(error: ErrorDetails, path: KeyPath, wrong: set[KeyPath]) -> bool:
    """Whether an error is new: at, or below, a place that was mended, what is wrong is known."""
    return error["type"] != "rule" and not any(path[:length] in wrong for length in range(1, len(path) + 1))


def _copied(value: Any) -> Any:  # noqa: ANN401 - whatever a file holds
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _mend(data: Any, path: KeyPath, *, again: bool, unknown: bool) -> None:  # noqa: ANN401
    """Replace what is wrong at a place, or leave it out; what was replaced before, and is still wrong, is left out."""
    *above, key = path
    here = data
    try:
        for step in above:
            here = here[step]
    except (LookupError, TypeError):
        # What it stood in has been replaced.
        return
    if isinstance(here, list):
        if again or key not in range(len(here)):
            _mend(data, tuple(above), again=True, unknown=False)
        else:
            here[int(key)] = _copied(_ITEMS.get(above[-1], _TEXT))
    elif isinstance(here, dict):
        _mend_key(here, str(key), above, again=again, unknown=unknown)
        if not here and above:
            # An empty one may be wrong, too.
            _mend(data, tuple(above), again=again, unknown=False)


def _mend_key(here: dict[str, Any], key: str, above: Sequence[str | int], *, again: bool, unknown: bool) -> None:
    was = here.pop(key, None)
    # What was meant by an unknown key may be required.
    meant = did_you_mean(key, section_at(above).model_fields) if unknown else key
    if key == "launch" and was is None:
        meant = "url"
    elif key == "cmd" and was is None:
        meant = "cmd" if _OF_COMMANDS & here.keys() else "model"
    elif key == "cmd" and again:
        # It can't stand beside a model: one of the two has to go.
        again = "args" in here or here.pop("model", None) is None
    if meant == "hash" and "key" not in here:
        # One of its own, as no two keys may have one; without it, the key would be missing.
        here[meant] = f"sha256:{digest(repr(above).encode()).hex()}"
    if meant is not None and meant in _STAND_INS and not again:
        here.setdefault(meant, _copied(_STAND_INS[meant]))


def section_at(path: Sequence[str | int]) -> type[BaseModel]:
    """The type of the section at a path. Indices and the names of routes are steps that lead to no other type."""
    section: type[BaseModel] = Config
    # Whether the next step is the name of a route, which may be the same word as a key.
    is_name = False
    for key in path:
        if not is_name and (field := section.model_fields.get(str(key))):
            section = sections_in(field.annotation)[0]
            is_name = get_origin(field.annotation) is Mapping
        else:
            is_name = False
    return section


def sections_in(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - annotations have no common type
    """The sections in a type such as `tuple[Backend, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for argument in get_args(annotation) for section in sections_in(argument)]
