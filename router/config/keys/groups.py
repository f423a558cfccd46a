"""Lists and mappings of values.

`each` reports all wrong items, at their own paths. The results are immutable: lists become tuples, mappings become
read-only and keep the file's order. Short forms (one model instead of a list) become the long ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import PlainSerializer, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from router.config.keys import rules
from router.config.problems import MOST_ITEMS, TOO_LONG, Fault
from router.config.redact import HIDDEN, shown
from router.config.scalars import FromEnvironment

T = TypeVar("T")

NOTHING: Mapping[str, Any] = MappingProxyType({})


def faulty(faults: Iterable[Fault], kind: str = "fault") -> ValidationError:
    """One error for several faults; their paths are relative to the value being validated."""
    return ValidationError.from_exception_data(
        "router.yaml",
        [
            InitErrorDetails(type=PydanticCustomError(kind, fault.message), loc=fault.path, input=None)
            for fault in faults
        ],
    )


def listed(value: object) -> tuple[object, ...]:
    """A list of bounded length; None counts as an empty one."""
    if value is None:
        return ()
    if isinstance(value, FromEnvironment):
        raise ValueError("expected a list: the environment gives its items one by one, as ROUTER_AUTH__KEYS__0 does")
    if not isinstance(value, list | tuple):
        raise ValueError("expected a list, such as `[a, b]` or lines that start with `- `, got {got}")
    if len(value) > MOST_ITEMS:
        raise ValueError(TOO_LONG)
    return tuple(value)


def mapping(value: object) -> Mapping[str, object]:
    """A mapping whose keys are printable text; None counts as an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError("expected a mapping, such as `name: value`, got {got}")
    return value


def each(items: Iterable[tuple[str | int, object]], check: Callable[[Any], T]) -> list[T]:
    """Check all items, and their keys. Raises one error for all wrong ones, each at its key or index."""
    faults, values = [], []
    for key, item in items:
        if not isinstance(key, int) and not rules.is_name(key):
            faults.append(Fault((key,), rules.NO_NAME))
            continue
        try:
            values.append(check(item))
        except ValueError as error:
            inner = error.errors() if isinstance(error, ValidationError) else []
            faults += [Fault((key, *fault["loc"]), fault["msg"]) for fault in inner] or [Fault((key,), str(error))]
    if faults:
        raise faulty(faults)
    return values


def each_item(value: object, check: Callable[[Any], T]) -> tuple[T, ...]:
    """A list with checked items."""
    return tuple(each(enumerate(listed(value)), check))


def each_value(value: object, check: Callable[[Any], T]) -> Mapping[str, T]:
    """A mapping with checked values."""
    given = mapping(value)
    if not given:
        return NOTHING
    return MappingProxyType(dict(zip(given, each(given.items(), check), strict=True)))


def item_or_items(value: object, check: Callable[[Any], T]) -> tuple[T, ...]:
    """A list with checked items; a single item counts as a list of one."""
    return each_item(value if isinstance(value, list | tuple) else [value], check)


as_it_is = PlainSerializer(lambda value: value, when_used="json")
"""For values of plain validators: pydantic's own serializer would validate them again."""

as_shown = PlainSerializer(shown, when_used="json")

all_hidden = PlainSerializer(lambda value: dict.fromkeys(value, HIDDEN), when_used="json")
