"""pydantic's errors in our own words, with their places; and broken rules, where pydantic did not get to them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from router.config.keys import rules
from router.config.keys.backends import BackendConfig
from router.config.keys.config import NO_BACKENDS
from router.config.keys.routes import RouteConfig
from router.config.problems import MOST_ITEMS, MOST_PROBLEMS, Fault, KeyPath, Problem, bound, did_you_mean, either
from router.config.rounds import all_errors, section_at, sections_in

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from router.config.reading.document import Document

_MISSING = {
    "backends": NO_BACKENDS,
    "to": "is missing: the model that the route leads to, or several in order",
    "cert": "is missing: the file with the certificate that the router shows",
    "key": "is missing: the file with the private key of the certificate",
}


def problems(error: ValidationError, document: Document) -> list[Problem]:
    """All problems of a document whose data pydantic refused."""
    faults = [Fault(detail["loc"], message(detail)) for detail in all_errors(error, document)]
    faults += islice(rules.faults(*_sketch(document)), MOST_PROBLEMS)
    return [document.problem(*fault) for fault in faults if document.as_written(fault.path) not in document.broken]


def message(error: ErrorDetails) -> str:
    """What is wrong with a value, in one sentence; `{got}` stands in it for the value."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden":
        return _unknown_key(error["loc"])
    if kind == "missing":
        return _MISSING[str(error["loc"][-1])]
    if must_be := bound(kind, context):
        return f"{must_be}, got {{got}}"
    # The message of a fault is ours already: see `groups.faulty`.
    return error["msg"]


def _unknown_key(path: KeyPath) -> str:
    *section, key = path
    fields = section_at(section).model_fields
    known = list(fields)
    # Such as `port` at the top, or `model` beside `launch`.
    inner = {name: sections_in(field.annotation) for name, field in fields.items()}
    below = [name for name, models in inner.items() if any(key in each.model_fields for each in models)]
    if len(below) == 1:
        return f"unknown key here: it stands below `{below[0]}`"
    if near := did_you_mean(str(key), known):
        return f"unknown key; did you mean {near!r}?"
    return f"unknown key; known here: {either(known)}"


class _Sketch(NamedTuple):
    """What the rules look at of a backend; empty where it can't be known for its mistakes."""

    name: str = ""
    models: tuple[str, ...] = ()


_UNKNOWN = _Sketch()


def _sketch(document: Document) -> tuple[list[_Sketch], dict[str, tuple[str, ...]]]:
    """The backends and routes, as far as the rules need them and data with mistakes gives them.

    Without this, a misspelt key would hide a route that leads nowhere until the next try.
    """
    entries, routes = document.data.get("backends"), document.data.get("routes")
    # One that is too long is told as such: looking at each entry would take seconds.
    listing = entries if isinstance(entries, list) and len(entries) <= MOST_ITEMS else []
    sketched = [_sketched(entry) for entry in listing]
    if not listing or ("backends",) in document.broken:
        # There may be backends that could not be read.
        sketched.append(_UNKNOWN)
    return sketched, {name: _targets(value) for name, value in routes.items()} if isinstance(routes, dict) else {}


def _sketched(entry: object) -> _Sketch:
    """A backend made of those keys that the rules look at, as if the others were right, and none misspelt."""
    if not isinstance(entry, dict):
        return _UNKNOWN
    known = BackendConfig.model_fields
    said = {key if key in known else did_you_mean(key, known): value for key, value in entry.items()}
    key = "router" if said.get("router") is not None else "url"
    place = {"launch": {"model": "any"}} if said.get("launch") is not None else {key: said.get(key)}
    named = {"name": said["name"]} if said.get("name") is not None else {}
    models = {"models": said["models"]} if "models" in said else {}
    if found := _made(place | named | models):
        return _Sketch(found.name, tuple(found.models))
    # Its name may be known all the same.
    found = _made(place | named) or (_made({"url": "http://any"} | named) if named else None)
    return _Sketch(found.name) if found else _UNKNOWN


def _made(sketch: dict[str, Any]) -> BackendConfig | None:
    try:
        return BackendConfig.model_validate(sketch)
    except ValidationError:
        return None


def _targets(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - whatever the file holds
    try:
        return RouteConfig.model_validate({"to": value.get("to") if isinstance(value, dict) else value}).to
    except ValidationError:
        return ()
