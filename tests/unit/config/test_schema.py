"""The JSON Schema: it takes what `load` takes, and refuses the mistakes that an editor should point at."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from router.config import Config, ConfigError, load
from router.config.keys.section import Section
from router.config.reading import places
from router.config.schema import schema

SHIPPED = Path(__file__).parents[3] / "router.yaml"
REMOTE = "backends: [{url: 'http://box:8000'}]\n"
SECTIONS = {section.__name__: section for section in Section.__subclasses__()}
REQUIRED: dict[str, dict[str, Any]] = {
    "LaunchConfig": {"model": "m"},
    "BackendConfig": {"url": "http://a"},
    "RouteConfig": {"to": "m"},
    "KeyConfig": {"key": "k"},
    "AdminKeyConfig": {"key": "k"},
}

MADE = schema()
validator = Draft202012Validator(MADE)


def properties(name: str) -> dict[str, Any]:
    part = MADE["$defs"][name] if name != "Config" else MADE
    found: dict[str, Any] = (part if "properties" in part else part["anyOf"][-1])["properties"]
    return found


KEYS = [(name, key) for name in SECTIONS for key in properties(name)]
DEFAULTS = [(name, key) for name, key in KEYS if "default" in properties(name)[key]]


def test_it_is_a_json_schema():
    """Of the draft that it names."""
    Draft202012Validator.check_schema(MADE)


def test_each_key_of_the_types_is_in_it():
    """With its meaning, and with its default or the word that it is required."""
    assert {name: set(properties(name)) for name in SECTIONS} == {
        name: set(section.model_fields) for name, section in SECTIONS.items()
    }
    for name, key in KEYS:
        said = properties(name)[key]
        assert "$ref" in said or re.search(r"(Default: .+|Required\b.*)\.$", said["description"]), (name, key)


@pytest.mark.parametrize(("name", "key"), DEFAULTS)
def test_the_documented_default_is_the_real_one(name, key):
    """Writing the default changes nothing, and the description says the same."""
    section, documented = SECTIONS[name], properties(name)[key]
    least = {"backends": [REQUIRED["BackendConfig"]]} if name == "Config" else REQUIRED.get(name, {})
    if key == "model":
        least = {"cmd": ["serve", "{port}"]}
    if key == "key" and name != "BackendTlsConfig":
        least = {"hash": "sha256:" + "ab" * 32}
    if key == "url":
        least = {"name": "a", "launch": REQUIRED["LaunchConfig"]}
    assert section.model_validate({**least, key: documented["default"]}) == section.model_validate(least)
    (said,) = re.findall(r"Default: (.+)\.$", documented["description"])
    if said not in {"none", "empty"}:
        written = places.parse(f"{key}: {said}".encode(), "f").data
        assert section.model_validate({**least, **written}) == section.model_validate(least)
    else:
        assert documented["default"] in (None, [], {})


def test_the_defaults_are_all_there():
    """Each key has one, but for those that are required and for sections, whose keys have theirs."""
    without = {f"{name}.{key}" for name, key in KEYS} - {f"{name}.{key}" for name, key in DEFAULTS}
    required = {"Config.backends", "RouteConfig.to", "ServerTlsConfig.cert", "ServerTlsConfig.key"}
    sections = ("server", "balance", "health", "limits", "memory", "auth", "logging", "telemetry", "state", "ray")
    assert without == required | {f"Config.{key}" for key in sections} | {
        "MemoryConfig.limit",
        "TelemetryConfig.capture",
        "TelemetryConfig.traces",
    }


GOOD = [
    SHIPPED.read_text(encoding="utf-8"),
    *(section.example + (REMOTE if "backends:" not in section.example else "") for section in SECTIONS.values()),
    REMOTE + "server: {port: '${PORT:-1}'}\nhealth: {interval: '${X:-5s}', unhealthy_after: '${X:-3}'}\n",
    REMOTE + "limits: {max_body: 4096, queue_timeout: 0, idle_timeout: 1.5m}\nhealth:\nroutes:\nprofile: auto\n",
    REMOTE + "auth: {keys: [a, 7, {key: b}], admin_keys: []}\nbalance: {hedge_after: p95, affinity: false}\n",
    "backends: [{name: a, models: {x: y}, launch: {model: {mlx: m}, args: {a: [1, x], b: null}, env: {A: 1}}}]\n",
    REMOTE + "routes: {a: b, c: [d], e: {to: f, next_on: 500, strip: x}, g: {to: [h], set: {i: {j: []}}}}\n",
    REMOTE + "include: [none-*.yaml]\n",
    "include: part.yaml\nbackends:\n",
    REMOTE + "include:\nhealth: {stall_after: never}\nauth: {keys: , admin_keys: }\n",
]


@pytest.mark.parametrize("text", GOOD)
def test_it_takes_what_can_be_loaded(tmp_path, text):
    """An editor finds nothing to say about a file that works; all of the documentation's examples do."""
    path = tmp_path / "router.yaml"
    path.write_text(text, encoding="utf-8")
    (tmp_path / "part.yaml").write_text(REMOTE)
    load(path, {})
    assert [error.message for error in validator.iter_errors(places.parse(text.encode(), "f").data)] == []


BAD = [
    "backends: 5",
    REMOTE + "servr: {}",
    REMOTE + "server: {prot: 1}",
    REMOTE + "server: {port: 70000}",
    REMOTE + "server: {port: high}",
    REMOTE + "health: {interval: 5}",
    REMOTE + "health: {interval: soon}",
    REMOTE + "health: {interval: never}",
    REMOTE + "limits: {max_body: 5X}",
    REMOTE + "limits: {max_body: -1}",
    REMOTE + "balance: {policy: fast}",
    REMOTE + "balance: {affinity: 'yes'}",
    REMOTE + "balance: {retry_share: 2}",
    REMOTE + "routes: {a: {set: {}}}",
    REMOTE + "routes: {a: {to: b, next_on: 200}}",
    REMOTE + "auth: {keys: [{name: a}]}",
    "backends: [{url: box}]",
    "backends: [{url: 'http://a', weight: 0}]",
    "backends: [{url: 'http://a', wieght: 1}]",
    "backends: [{name: a, launch: {}}]",
    "backends: [{name: a, launch: {model: {vlm: m}}}]",
    "backends: [{name: a, launch: {model: m, engine: vlm}}]",
]


@pytest.mark.parametrize("text", BAD)
def test_it_refuses_what_an_editor_should_point_at(tmp_path, text):
    """Unknown keys, wrong types, bounds and words: as `load` does."""
    path = tmp_path / "router.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        load(path, {})
    assert not validator.is_valid(yaml.safe_load(text))


def test_the_shipped_file_names_it():
    """The first line is what editors look for, and leads to the file."""
    first = SHIPPED.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=docs/router.schema.json"
    assert (SHIPPED.parent / "docs/router.schema.json").exists()
    assert set(MADE["properties"]) == set(Config.model_fields)
