"""The building blocks of router.yaml's types that hold several values: lists and mappings.

`each` reports all items that are wrong, at their own paths. What comes out can't be changed: lists are tuples, and
mappings are read-only and keep the file's order. Short forms (one model for a list of them) become the long ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import PlainSerializer, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from router.config.problems import Fault
from router.config.redact import shown
from router.config.scalars import FromEnvironment

T = TypeVar("T")

MOST_ITEMS = 10_000
NOTHING: Mapping[str, Any] = MappingProxyType({})


def faulty(faults: Iterable[Fault], kind: str = "fault") -> ValidationError:
    """An error at several places at once, each relative to where it is raised."""
    return ValidationError.from_exception_data(
        "router.yaml",
        [
            InitErrorDetails(type=PydanticCustomError(kind, fault.message), loc=fault.path, input=None)
            for fault in faults
        ],
    )


def listed(value: object) -> tuple[object, ...]:
    """A list, of bounded length. Nothing is an empty one."""
    if value is None:
        return ()
    if isinstance(value, FromEnvironment):
        raise ValueError("expected a list: the environment gives its items one by one, as ROUTER_AUTH__KEYS__0 does")  # noqa: TRY004
    if not isinstance(value, list | tuple):
        raise ValueError("expected a list, such as `[a, b]` or lines that start with `- `, got {got}")  # noqa: TRY004
    if len(value) > MOST_ITEMS:
        raise ValueError(f"a list may have {MOST_ITEMS} items at most")
    return tuple(value)


def mapping(value: object) -> Mapping[str, object]:
    """A mapping whose keys are printable text. Nothing is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError("expected a mapping, such as `name: value`, got {got}")  # noqa: TRY004
    if any(not isinstance(key, str) or not key.strip() or not key.isprintable() for key in value):
        raise ValueError("a key in here is empty, or not printable text")
    return value


def each(items: Iterable[tuple[str | int, object]], check: Callable[[Any], T]) -> list[T]:
    """All items checked. Raises for all that are wrong, each at its key or index."""
    faults, values = [], []
    for key, item in items:
        try:
            values.append(check(item))
        except ValueError as error:
            inner = error.errors() if isinstance(error, ValidationError) else []
            faults += [Fault((key, *fault["loc"]), fault["msg"]) for fault in inner] or [Fault((key,), str(error))]
    if faults:
        raise faulty(faults)
    return values


def each_item(value: object, check: Callable[[Any], T]) -> tuple[T, ...]:
    """A list, with all its items checked."""
    return tuple(each(enumerate(listed(value)), check))


def each_value(value: object, check: Callable[[Any], T]) -> Mapping[str, T]:
    """A mapping, with all its values checked."""
    given = mapping(value)
    if not given:
        return NOTHING
    return MappingProxyType(dict(zip(given, each(given.items(), check), strict=True)))


def item_or_items(value: object, check: Callable[[Any], T]) -> tuple[T, ...]:
    """A list, or the only item of one, with all checked."""
    return each_item(value if isinstance(value, list | tuple) else [value], check)


as_it_is = PlainSerializer(lambda value: value, when_used="json")
"""For what a plain validator has checked: pydantic's own serializer would check it again."""

as_shown = PlainSerializer(shown, when_used="json")
