"""The building blocks of router.yaml's types that hold several values: lists and mappings.

`each` reports all items that are wrong, at their own paths. What comes out can't be changed: lists are tuples, and
mappings are read-only and keep the file's order. Short forms (one model for a list of them) become the long ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import PlainSerializer, PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

from router.config.fields import ENGINES, TEXT, model_name, text
from router.config.problems import Fault, either, repeated
from router.config.redact import HIDDEN, shown
from router.config.scalars import FromEnvironment, read

T = TypeVar("T")

MOST_ITEMS = 10_000
NOTHING: Mapping[str, Any] = MappingProxyType({})

Item = str | int | float | bool
Argument = Item | None | tuple[Item, ...]


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


# ---------------------------------------------------------------- of models


def _names(value: object) -> Mapping[str, str]:
    """Public name → the name that the backend knows. A list is of names that are both."""
    if not isinstance(value, list | tuple):
        names = each_value(value, text)
        each(((name, name) for name in names), model_name)
        return names
    listing = each_item(value, model_name)
    if again := [Fault((index,), "{got} is listed twice") for index, _ in repeated(listing)]:
        raise faulty(again)
    return MappingProxyType(dict(zip(listing, listing, strict=True)))


def _model(value: object) -> str | Mapping[str, str]:
    """A path or hub id, or one for each engine."""
    if not isinstance(value, Mapping):
        return text(value)
    unknown = [
        Fault((name,), f"is not an engine: the keys here are {either(ENGINES)}")
        for name in mapping(value)
        if name not in ENGINES
    ]
    if unknown:
        raise faulty(unknown)
    if not value:
        raise ValueError("expected a path or a hub id, or one for each engine, got nothing")
    return each_value(value, text)


# -------------------------------------------------- of an engine's process


def _arguments(value: object) -> Mapping[str, Argument | Mapping[str, Argument]]:
    """Options for whichever engine it is; below an engine's name, options for it alone."""
    given = mapping(value)
    faults = [
        Fault((name,), "is an engine: below it stand options for it alone, such as `n_ctx: 4096`")
        for name, it in given.items()
        if name in ENGINES and not isinstance(it, Mapping)
    ]
    if faults:
        raise faulty(faults)
    for_all = each_value({name: it for name, it in given.items() if name not in ENGINES}, _argument)
    for_one = each_value(
        {name: it for name, it in given.items() if name in ENGINES}, lambda it: each_value(it, _argument)
    )
    return MappingProxyType({**for_all, **for_one})


def _argument(value: object) -> Argument:
    return each_item(value, _item) if isinstance(value, list | tuple) else plain(value)


def _item(value: object) -> Item:
    if (item := plain(value)) is not None:
        return item
    raise ValueError("expected text, a number, true or false; nothing can't stand in a list")


def plain(value: object) -> Item | None:
    """Text, a finite number, true, false or nothing; words of the environment are read if they had no quotes.

    Text of the environment stays marked as such: it is not to be shown.
    """
    if isinstance(value, FromEnvironment) and value.unquoted:
        value = read(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected a finite number")
    if value is None or isinstance(value, bool | int | float):
        return value
    return _without_null(value, "text, a number, true, false, null, or a list of these")


def _variable(value: object) -> str:
    """An environment variable's value. A whole number will do: see `scalars`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _without_null(value, "text; put it in quotes")


def _without_null(value: object, expected: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected {expected}")  # noqa: TRY004
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError("a program can't be given this text: it has a character that is none")
    return value


# -------------------------------------------------------------------- types

as_it_is = PlainSerializer(lambda value: value, when_used="json")  # a plain validator's own would check it again
as_shown = PlainSerializer(shown, when_used="json")
_all_hidden = PlainSerializer(lambda value: dict.fromkeys(value, HIDDEN), when_used="json")
_WORDS = {"type": ["object", "null"], "additionalProperties": TEXT}

Names = Annotated[
    Mapping[str, str],
    PlainValidator(_names),
    PlainSerializer(dict, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "array", "items": TEXT}, _WORDS]}),
]
ModelSource = Annotated[
    str | Mapping[str, str],
    PlainValidator(_model),
    PlainSerializer(lambda value: value if isinstance(value, str) else dict(value), when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                TEXT,
                {
                    "type": "object",
                    "properties": dict.fromkeys(ENGINES, TEXT),
                    "additionalProperties": False,
                    "minProperties": 1,
                },
            ],
        }
    ),
]
Arguments = Annotated[
    Mapping[str, Argument | Mapping[str, Argument]],
    PlainValidator(_arguments),
    as_shown,
    WithJsonSchema({"type": ["object", "null"]}),
]
Variables = Annotated[
    Mapping[str, str],
    PlainValidator(lambda value: each_value(value, _variable)),
    _all_hidden,
    WithJsonSchema({"type": ["object", "null"], "additionalProperties": {**TEXT, "minLength": 0}}),
]
