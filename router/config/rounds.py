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

_ITEMS: Mapping[str | int, Any] = MappingProxyType({"backends": {"url": _URL}, "cors": _URL})
"""Items of lists that are no text."""


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
    for step in above:
        here = here.get(step) if isinstance(here, dict) else here[int(step)] if isinstance(here, list) else None
    if isinstance(here, list):
        if again:
            _mend(data, tuple(above), again=True, unknown=False)
        else:
            here[int(key)] = _copied(_ITEMS.get(above[-1], _TEXT))
    elif isinstance(here, dict):
        was = here.pop(str(key), None)
        if unknown:
            # What was meant may be required.
            meant = did_you_mean(str(key), section_at(above).model_fields)
            if meant is not None and meant in _STAND_INS:
                here.setdefault(meant, _copied(_STAND_INS[meant]))
        elif key == "launch" and was is None:
            here["url"] = _URL
        elif key in _STAND_INS and not again:
            here[str(key)] = _copied(_STAND_INS[str(key)])


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
