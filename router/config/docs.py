"""The page docs/configuration.md, made from the JSON Schema; `python -m scripts.make_configuration_docs` writes it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from router.config.keys.section import Section
from router.config.problems import either

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router.config.schema import Schema

_INTRODUCTION = """\
# Configuration

[router.yaml](../router.yaml) holds all of it; the one that ships is commented, and works as it is. This page has every
key. It is made from the same types that check the file (`python -m scripts.make_configuration_docs`).

```sh
python -m router check --config router.yaml     # 0: it can be used; 1: not here; 2: not at all; and why, by its line
python -m router schema                         # the JSON Schema, which editors complete and check by
```

**Values.** A duration is `500ms`, `5s`, `10m`, `1h` or `1d`; it needs its unit, which may be a longer word (`5min`). A
size is `64MiB` (powers of 1024), `2GB` (powers of 1000; `2G` is the same) or a number of bytes. A count is `60`, `100k`
or `2M`. Only `true` and `false` are switches: `yes`, `on` and `017` are text. A key without a value counts as left out.
An unknown key is an error, and so is a key that occurs twice.

**From the environment.** `${NAME}` and `${NAME:-default}` may stand in any value; inside `[ ]` and `{ }` put them in
quotes. A name that the environment lacks is an error, `$${` is a literal `${`. Any single value can be set without
the file: `ROUTER_SERVER__PORT=9000` is `server.port`, `ROUTER_BACKENDS__0__URL` the first backend's `url`; these win
over the file.

**Secrets.** Keys, tokens, passwords and engines' environments are never shown: not in errors, not in logs, not by the
management API. The text that `${…}` became is in no error either, and it is hidden in engines' arguments, routes'
fields and paths of URLs. Below `auth`, `headers`, `env`, `api_key` and `admin_key`, a mistake is told without the words
of the file, keys that it shouldn't have included: they may be a secret in the wrong place. Nor is a secret told that an
engine prints: its key, what its `env` says, and what is named like a secret among its arguments and in the router's own
environment.

**In parts.** With `include: conf.d/*.yaml`, or a list of such patterns, more files are read: in the order of the
patterns, and by name within one. Patterns and paths are relative to router.yaml. The backends of a file follow those of
the files before, routes are merged, and any other section may be in one file only. An included file can't include
others. A pattern that matches nothing is no error; a plain name that is missing is one. All files together may have
4 MiB.
"""


def page(made: Schema) -> str:
    """The page, with every section in the order of the file."""
    return "\n".join([_INTRODUCTION, *_section(made, "", made)])


def _section(part: Schema, path: str, made: Schema) -> Iterator[str]:
    """A section's lines: its meaning, an example, its keys, and the sections below it."""
    if path:
        example = {each.__name__: each.example for each in Section.__subclasses__()}[part["title"]]
        yield f"## `{path}`\n\n{part['description']}\n"
        if example:
            yield f"```yaml\n{example}```\n"
    form = part if "properties" in part else part["anyOf"][-1]
    below: dict[str, Schema] = {}
    yield "| key | takes | default | meaning |\n|---|---|---|---|"
    for key, value in form["properties"].items():
        inner = f"{path}.{key}" if path else key
        name, steps = _reference(value)
        if name:
            inner += steps
            below[inner] = made["$defs"][name]
        takes = f"[{_plain(inner)}](#{re.sub(r'[^a-z_]', '', inner)})" if name else _takes(value)
        default = "*required*" if "Required" in value.get("description", "") else _default(value)
        yield f"| `{key}` | {takes} | {default} | {_meaning(value, made)} |"
    yield ""
    for inner, section in below.items():
        yield from _section(section, inner, made)


def _reference(value: Schema) -> tuple[str, str]:
    """The section that a value is or contains, and the step of a path that leads to it; empty for other values."""
    for form in (value, *value.get("anyOf", ())):
        if (name := form.get("$ref", "").removeprefix("#/$defs/")) and name != "Reference":
            return name, ""
        for inside, step in (("items", "[]"), ("additionalProperties", ".*")):
            if isinstance(form.get(inside), dict) and (name := _reference(form[inside])[0]):
                return name, step
    return "", ""


def _plain(path: str) -> str:
    last = path.removesuffix(".*").rpartition(".")[2]
    return {"[]": f"list of {last[:-2]}", ".*": f"mapping of names to {last}"}.get(path[-2:], last)


_KINDS = frozenset({
    "text", "name", "URL", "path", "duration", "size", "percentage", "count", "date", "hash", "hardware address",
})  # fmt: skip
"""Titles of forms that say it all."""


def _takes(form: Schema) -> str:
    """The values that a form allows, in words."""
    if "anyOf" in form:
        return ", or ".join(dict.fromkeys(filter(None, map(_takes, form["anyOf"]))))
    if form.get("title") in _KINDS:
        return str(form["title"])
    if "enum" in form or "const" in form:
        return either([f"`{word}`" for word in form.get("enum", [form.get("const")])])
    kinds = form.get("type", ())
    kind = next((each for each in ([kinds] if isinstance(kinds, str) else kinds) if each != "null"), "")
    if kind in {"array", "object"}:
        return f"list of {_takes(form['items'])}" if kind == "array" else _mapping(form)
    return "`true` or `false`" if kind == "boolean" else _number(form) if kind else ""


def _mapping(form: Schema) -> str:
    if "properties" in form:
        kinds = either(list(dict.fromkeys(map(_takes, form["properties"].values()))))
        return f"mapping of {either([f'`{key}`' for key in form['properties']])} to {kinds}"
    inside = form.get("additionalProperties")
    return f"mapping to {_takes(inside)}" if isinstance(inside, dict) else "mapping"


def _number(form: Schema) -> str:
    noun = "whole number" if "integer" in form["type"] else "number"
    if "minimum" in form and "maximum" in form:
        return f"{noun}, {form['minimum']} to {form['maximum']}"
    return f"{noun} above {form['exclusiveMinimum']}, at most {form['maximum']}" if "maximum" in form else noun


def _default(value: Schema) -> str:
    """The default as router.yaml would have it."""
    default = value.get("default", {})
    return {"null": "", "{}": "", "[]": ""}.get(text := json.dumps(default), f"`{text.strip(chr(34))}`")


def _meaning(value: Schema, made: Schema) -> str:
    """A key's meaning, without the default, which has its own column."""
    name = value.get("$ref", "").removeprefix("#/$defs/")
    said = (made["$defs"][name] if name else value)["description"]
    return re.sub(r" (Default: \S+|Default: \[.*\]|Required[^.]*)\.$", "", said)
