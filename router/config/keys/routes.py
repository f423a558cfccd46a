"""`routes`: names that lead to models, and changes to requests on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, TypeVar

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from router.config.keys.balance import PolicyName
from router.config.keys.groups import (
    as_it_is,
    as_shown,
    each,
    each_item,
    each_value,
    faulty,
    item_or_items,
    mapping,
)
from router.config.keys.section import Section, setting
from router.config.keys.values import TEXT, Switch, model_name, number, plain, text, whole
from router.config.problems import Fault, KeyPath

T = TypeVar("T")

MOST_LEVELS = 8

_ROUTED_BY = ("model", "stream")


def _targets(value: object) -> tuple[str, ...]:
    """A model's name, or a list of names in order."""
    if value in ([], ()):
        raise ValueError("a route needs a model to lead to: name one, or several in order")
    return item_or_items(value, model_name)


def _json(value: object, levels: int = MOST_LEVELS) -> object:
    """Any JSON value, nested `levels` deep at most."""
    if isinstance(value, list | tuple | Mapping) and not levels:
        raise ValueError(f"is nested deeper than {MOST_LEVELS} levels")
    if isinstance(value, list | tuple):
        return each_item(value, lambda item: _json(item, levels - 1))
    if isinstance(value, Mapping):
        return each_value(value, lambda item: _json(item, levels - 1))
    single = plain(value)
    if isinstance(single, int) and not -(2**63) <= single < 2**63:
        raise ValueError("is a larger number than engines read: 64 bits at most")
    return single


def _field(name: object) -> str:
    if (field := text(name)) in _ROUTED_BY:
        raise ValueError(f"{field} is the router's own to read and write: a route changes other fields")
    return field


def _fields(value: object, check: Callable[[object], T]) -> Mapping[str, T]:
    each(((name, name) for name in mapping(value)), _field)
    return each_value(value, check)


def _status(value: object) -> int:
    if 400 <= (status := whole(value)) <= 599:
        return status
    raise ValueError("expected an error's status, 400 to 599, got {got}")


_LIST_OF_NAMES = {"type": "array", "items": TEXT, "minItems": 1}
_STATUS_SCHEMA = {"type": "integer", "minimum": 400, "maximum": 599}

Targets = Annotated[
    tuple[str, ...], PlainValidator(_targets), as_it_is, WithJsonSchema({"anyOf": [TEXT, _LIST_OF_NAMES]})
]
JsonFields = Annotated[
    Mapping[str, object],
    PlainValidator(lambda value: _fields(value, _json)),
    as_shown,
    WithJsonSchema({"type": ["object", "null"]}),
]
NumberBounds = Annotated[
    Mapping[str, float],
    PlainValidator(lambda value: _fields(value, number)),
    PlainSerializer(dict, when_used="json"),
    WithJsonSchema({"type": ["object", "null"], "additionalProperties": {"type": "number"}}),
]
FieldNames = Annotated[
    tuple[str, ...],
    PlainValidator(lambda value: item_or_items(value, _field) if value is not None else ()),
    as_it_is,
    WithJsonSchema({"anyOf": [TEXT, {"type": ["array", "null"], "items": TEXT}]}),
]
Statuses = Annotated[
    tuple[int, ...] | None,
    PlainValidator(lambda value: item_or_items(value, _status) if value is not None else None),
    as_it_is,
    WithJsonSchema({"anyOf": [_STATUS_SCHEMA, {"type": "array", "items": _STATUS_SCHEMA}, {"type": "null"}]}),
]


class RouteConfig(Section):
    """Where a name leads, and what changes in a request on the way. A model, or a list of models, is short for `to`.

    A name may be a pattern: each * in it stands for any text, or none, at any place. It leads to the models of `to`,
    whatever the text was, and /v1/models doesn't list it. A model's own name goes before a route's, an exact name
    before a pattern, a long pattern before a short one; `"*"` is for all others, and for requests without a model.
    """

    example: ClassVar[str] = """\
routes:
  gpt-4o-mini: demo                       # an alias
  best: [llama-70b, qwen2.5-7b]           # in order
  "gpt-*": demo                           # any name that begins so; "*-mini" is any that ends so
  careful:
    to: qwen2.5-7b
    set: {temperature: 0}
    default: {max_tokens: 512}
    at_most: {max_tokens: 4096}
    strip: [logit_bias, user]
    hidden: true
"""

    short_for: ClassVar[str | None] = "to"

    to: Targets = Field(
        description="The model, or several in order: each is for when those before it can't be served. Required."
    )
    set: JsonFields = setting({}, "Fields of the request's body that replace what the client sent.")
    default: JsonFields = setting({}, "Fields of the body that are added if the client left them out, or sent null.")
    at_most: NumberBounds = setting(
        {},
        "Largest values of the body's numbers; a larger one is lowered to it."
        " `max_tokens` means `max_completion_tokens`, too.",
    )
    strip: FieldNames = setting((), "Fields of the body that are dropped; with `tools`, the choice among them, too.")
    next_on: Statuses = setting(
        None,
        "Statuses of an answer after which the next model is tried. It is tried anyhow after an error that is retried, "
        "a 404, and a 401, 402, 403 or 407 that refuses the backend's `api_key`.",
    )
    policy: PolicyName | None = setting(None, "How to choose among backends; if left out, by balance.policy.")
    keep_billing_line: Switch = setting(
        default=False,
        meaning="Whether the line `x-anthropic-billing-header` stays in prompts. Claude Code begins each with one, and "
        "it differs each time, so that no engine would find the prompt in its cache.",
    )
    hidden: Switch = setting(default=False, meaning="Whether the name is served, but not listed by /v1/models.")

    @model_validator(mode="after")
    def _says_one_thing_of_each_field(self) -> RouteConfig:
        written: list[tuple[KeyPath, str]] = [(("set", name), name) for name in self.set]
        written += [(("strip", index), name) for index, name in enumerate(self.strip)]
        faults = [
            Fault(path, f"stands in `{other}`, too, which has no effect then")
            for path, name in written
            for other in ("set", "default", "at_most")
            if other != path[0] and name in getattr(self, other)
        ]
        faults += [
            Fault(("default", name), f"is more than `at_most` allows: {most}")
            for name, most in self.at_most.items()
            if isinstance(value := self.default.get(name), int | float) and value > most
        ]
        if faults:
            raise faulty(faults)
        return self
