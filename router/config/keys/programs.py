"""What a launch runs: a model by an engine, or any program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, Field, PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema, field_validator

from router.config.keys.elsewhere import what_it_is
from router.config.keys.groups import as_it_is, as_shown, each_item, each_value, faulty, mapping
from router.config.keys.section import setting
from router.config.keys.values import ENGINES, TEXT, Whole, choice, path, program_text, text, words
from router.config.problems import Fault, either

_OWN = ("/v1/", "/api/", "/admin", "/upstream")
_OWN_PATHS = frozenset({"/", "/v1", "/health", "/ready", "/metrics"})


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


def _command(value: object) -> tuple[str, ...]:
    """A program and its arguments."""
    return each_item(value, lambda it: text(it) if isinstance(it, int) else program_text(it, "text; put it in quotes"))


def _beside(value: object) -> str:
    """A path that the router doesn't have itself."""
    said = path(value)
    if said.startswith(_OWN) or said in _OWN_PATHS or "?" in said:
        raise ValueError("{got} is the router's own, or has a query: what is under /v1 needn't stand here")
    return said


_MODEL: dict[str, list[object]] = {
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
MaybeModel = Annotated[
    str | Mapping[str, str] | None,
    PlainValidator(lambda value: None if value is None else _model(value)),
    PlainSerializer(lambda value: dict(value) if isinstance(value, Mapping) else value, when_used="json"),
    WithJsonSchema({"anyOf": [*_MODEL["anyOf"], {"type": "null"}]}),
]
words_of_list = WithJsonSchema({"type": ["array", "null"], "items": {**TEXT, "minLength": 0}})
PATH = {"title": "path", "type": "string", "pattern": "^/"}
PATHS = WithJsonSchema({"type": ["array", "null"], "items": PATH})


class ProgramConfig(BaseModel):
    """The part of a launch that says what runs."""

    model: MaybeModel = setting(
        None, "What to run: a path or a hub id, or one for each engine. A launch has either `model` or `cmd`."
    )
    engine: Annotated[str, choice("an engine", "auto", *ENGINES, other=what_it_is), words("auto", *ENGINES)] = setting(
        "auto",
        "Which engine runs the model; auto is the profile's. Of a `cmd`: what its program is, so that it "
        "gets no field and no path that is private to that engine (`allow`).",
    )
    cmd: Annotated[tuple[str, ...], PlainValidator(_command), as_shown, words_of_list] = setting(
        (),
        "Any program that serves HTTP, with its arguments; `{port}` in them, or in `env`, is the port that the router "
        "chose. What is a path stands alone, and counts from this file's folder.",
    )
    ready: Annotated[str, PlainValidator(path), as_it_is, WithJsonSchema(PATH)] = setting(
        "/health", "Of a `cmd`: the path that is answered with 200 once it can be sent requests."
    )
    parallel: Annotated[Whole, Field(ge=1, le=100_000)] = setting(
        1, "Of a `cmd`: how many requests it works on at once; further ones wait in the router."
    )
    paths: Annotated[tuple[str, ...], PlainValidator(lambda value: each_item(value, _beside)), as_shown, PATHS] = (
        setting((), "Of a `cmd`: paths beside /v1 whose POST is for its model, such as /inference.")
    )

    @field_validator("cmd")
    @classmethod
    def _model_or_command(cls, cmd: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "model" in info.data and not cmd and info.data["model"] is None:
            raise ValueError("neither `model` nor `cmd` says what to run, as `model: models/demo` does")
        if cmd and info.data.get("model") is not None:
            raise ValueError("a launch has either `model` (an engine runs it) or `cmd` (a program of any kind)")
        return cmd

    @field_validator("ready", "parallel", "paths")
    @classmethod
    def _only_of_a_command(cls, value: object, info: ValidationInfo) -> object:
        if "cmd" in info.data and not info.data["cmd"] and value not in ("/health", 1, ()):
            raise ValueError("this is for a `cmd`: the router knows it of its engines")
        return value
