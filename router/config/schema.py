"""router.yaml as a JSON Schema, for editors: each key's meaning, its values and its default.

It describes the file as it is written, so `${NAME}` is allowed wherever a single value is. It accepts every file that
`load` accepts; but rules between entries, which `load` checks, can't be expressed in it.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from router.config.keys.config import Config
from router.config.keys.section import Section
from router.config.keys.units import BOUNDS

Schema = dict[str, Any]

_REFERENCE = {
    "title": "reference",
    "description": "From the environment: ${NAME}, or ${NAME:-default}.",
    "type": "string",
    "pattern": r"\$\{",
}
_REFERRED = {"$ref": "#/$defs/Reference"}
_WORDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum"}  # pydantic's → JSON Schema's
_SINGLE = ("integer", "number", "boolean")


class _Generator(GenerateJsonSchema):
    def field_title_should_be_set(self, _schema: Any) -> bool:  # noqa: ANN401 - one of forty kinds
        # The title would only repeat the key.
        return False


def schema() -> Schema:
    """The JSON Schema, of draft 2020-12."""
    made = Config.model_json_schema(schema_generator=_Generator)
    sections = {section.__name__: section for section in Section.__subclasses__()}
    parts = {name: _section(part, sections[name].short_for) for name, part in made.pop("$defs").items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        # Nothing is required: all backends may be in included files.
        **_without(_section(made, None), "required"),
        "title": "router.yaml",
        "$defs": dict(sorted(parts.items())) | {"Reference": _REFERENCE},
    }


def _section(part: Schema, short_for: str | None) -> Schema:
    """A section: with keys, empty, or in its short form, which gives the value of one of its keys."""
    about: Schema = {key: part.pop(key) for key in ("title", "description") if key in part}
    part["properties"] = {key: _value(value) for key, value in part["properties"].items()}
    if short_for is None:
        return {**about, **part, "type": ["object", "null"]}
    short = part["properties"][short_for]
    return {**about, "anyOf": [*short.get("anyOf", [_without(short, "description")]), part]}


def _value(value: Schema) -> Schema:
    """The value of a key or a list's item: each of its forms, and a reference if one of them is a single value."""
    about: Schema = {key: value[key] for key in ("description", "default") if key in value}
    forms = value["anyOf"] if "anyOf" in value else [_without(value, *about)]
    if bounds := next((each[BOUNDS] for each in (value, *forms) if BOUNDS in each), None):
        about["description"] = about["description"].replace(" Default:", f" {bounds} Default:")
    # A list or a mapping may be empty.
    if forms[0].get("type") in ("array", "object") and len(forms) == 1:
        forms = [{**forms[0], "type": [forms[0]["type"], "null"]}]
    single = any(_is_single(form) for form in forms)
    forms = [_form(form) for form in forms] + [_REFERRED] * single
    return {**about, "anyOf": forms} if len(forms) > 1 else {**about, **forms[0]}


def _form(form: Schema) -> Schema:
    """One form of a value, with its items."""
    form = {_WORDS.get(key, key): value for key, value in form.items() if key != BOUNDS}
    for inside in ("items", "additionalProperties"):
        if isinstance(form.get(inside), dict):
            form[inside] = _value(form[inside])
    return form


def _is_single(form: Schema) -> bool:
    """Whether a form is a single value that would not match a reference."""
    closed = form.keys() & {"enum", "const", "pattern"} or form.get("type") in _SINGLE
    return bool(closed)


def _without(schema: Schema, *keys: str) -> Schema:
    return {key: value for key, value in schema.items() if key not in keys}
