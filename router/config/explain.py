"""pydantic's errors in our own words, with their places; and broken rules, where pydantic did not get to them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from router.config.keys import rules
from router.config.keys.backends import BackendConfig
from router.config.keys.config import NO_BACKENDS, Config
from router.config.keys.routes import RouteConfig
from router.config.problems import MOST_PROBLEMS, Fault, KeyPath, Problem, did_you_mean, either

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

    from router.config.reading.document import Document

_BOUNDS = {
    "greater_than": "must be more than {gt}, got {{got}}",
    "greater_than_equal": "must be at least {ge}, got {{got}}",
    "less_than_equal": "must be at most {le}, got {{got}}",
}
_MISSING = {
    "backends": NO_BACKENDS,
    "to": "is missing: the model that the route leads to, or several in order",
    "key": "is missing: the bearer token that clients send",
}


def problems(error: ValidationError, document: Document) -> list[Problem]:
    """All problems of a document whose data pydantic refused."""
    details = (each for each in error.errors(include_url=False, include_input=False) if each["type"] != "rule")
    faults = [Fault(detail["loc"], _message(detail)) for detail in islice(details, MOST_PROBLEMS)]
    faults += islice(rules.faults(*_sketch(document)), MOST_PROBLEMS)
    return [document.problem(*fault) for fault in faults if document.as_written(fault.path) not in document.broken]


def _message(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden":
        return _unknown_key(error["loc"])
    if kind == "missing":
        return _MISSING[str(error["loc"][-1])]
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**context)
    # The message of a fault is ours already: see `groups.faulty`.
    return error["msg"]


def _unknown_key(path: KeyPath) -> str:
    *section, key = path
    fields = _section(section).model_fields
    known = list(fields)
    # Such as `port` at the top, or `model` beside `launch`.
    inner = {name: _models(field.annotation) for name, field in fields.items()}
    below = [name for name, models in inner.items() if any(key in each.model_fields for each in models)]
    if len(below) == 1:
        return f"unknown key here: it stands below `{below[0]}`"
    if near := did_you_mean(str(key), known):
        return f"unknown key; did you mean {near!r}?"
    return f"unknown key; known here: {either(known)}"


def _section(path: list[str | int]) -> type[BaseModel]:
    """The type of the section at a path. Indices and the names of routes are steps that lead to no other type."""
    section: type[BaseModel] = Config
    # Whether the next step is the name of a route, which may be the same word as a key.
    is_name = False
    for key in path:
        if not is_name and (field := section.model_fields.get(str(key))):
            section = _models(field.annotation)[0]
            is_name = get_origin(field.annotation) is Mapping
        else:
            is_name = False
    return section


def _models(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - annotations have no common type
    """The pydantic models in a type such as `tuple[Backend, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _sketch(document: Document) -> tuple[list[BackendConfig | None], dict[str, tuple[str, ...]]]:
    """The backends and routes, as far as the rules need them and data with mistakes gives them.

    Without this, a misspelt key would hide a route that leads nowhere until the next try.
    """
    entries, routes = document.data.get("backends"), document.data.get("routes")
    listing = entries if isinstance(entries, list) else []
    sketched = [_sketched(entry) for entry in listing]
    if not listing or ("backends",) in document.broken:
        # There may be backends that could not be read.
        sketched.append(None)
    return sketched, dict(_leading(routes)) if isinstance(routes, dict) else {}


def _sketched(entry: object) -> BackendConfig | None:
    """A backend made of those keys that the rules look at, as if the others were right; None if these are wrong."""
    if not isinstance(entry, dict):
        return None
    sketch = {key: entry[key] for key in ("name", "url", "models") if key in entry}
    if entry.get("launch") is not None:
        sketch["launch"] = {"model": "any"}
    try:
        return BackendConfig.model_validate(sketch)
    except ValidationError:
        return None


def _leading(routes: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, value in routes.items():
        with suppress(ValidationError):
            to = value.get("to") if isinstance(value, dict) else value
            yield name, RouteConfig.model_validate({"to": to}).to
