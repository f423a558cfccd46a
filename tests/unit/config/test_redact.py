"""What of a configuration is shown, and what isn't, wherever it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from router.config import Config, load, redacted
from router.config.redact import _SECRET, HIDDEN, _is_nearly_secret, is_secret

SECRET = "s3cr3t-d0-n0t-sh0w"
SECRETIVE = f"""
backends:
  - {{name: a, url: "http://a", api_key: {SECRET}, weight: 2}}
  - {{name: b, url: "http://b:80/${{KEY}}/v1", api_key: "${{KEY}}"}}
  - name: c
    launch:
      model: m
      args:
        api-key: {SECRET}
        hf_token: [{SECRET}]
        proxy: http://user:{SECRET}@proxy
        from-environment: ${{KEY}}
        listed: [a, "${{KEY}}"]
        max_tokens: 512
        tokenizer: plain
      env: {{HF_TOKEN: {SECRET}, ODD: {SECRET}, OTHER: "x${{KEY}}"}}
  - name: d
    launch:
      cmd: [sh, -c, "A_KEY={SECRET} exec run --port {{port}}", "--api-key={SECRET}", --hf-token, {SECRET}, --port, "1"]
routes:
  r: {{to: c, set: {{user: "${{KEY}}", safety: {{password: {SECRET}}}, stop: [a]}}, default: {{api_key: {SECRET}}}}}
auth:
  keys: [{SECRET}1, {{key: "${{KEY}}", name: team, priority: 1}}]
  admin_keys: [{SECRET}3]
"""


@pytest.fixture
def secretive(tmp_path: Path) -> Config:
    path = tmp_path / "router.yaml"
    path.write_text(SECRETIVE)
    return load(path, {"KEY": SECRET}).config


def test_no_secret_is_shown(secretive):
    """Not in the data that is shown, nor in what a log would make of any part."""
    shown = [json.dumps(redacted(secretive)), repr(secretive), str(secretive), secretive.model_dump_json()]
    shown += [repr(part) for part in (*secretive.backends, secretive.backends[2].launch, *secretive.auth.keys)]
    shown += [repr(secretive.routes), f"{secretive.auth.admin_keys}"]
    assert not [text for text in shown if SECRET in text]


def test_all_else_is_shown(secretive):
    """In router.yaml's own words, with the defaults; names of what is hidden stay."""
    data = redacted(secretive)
    assert data["backends"][0] == {
        "name": "a",
        "url": "http://a",
        "api_key": HIDDEN,
        "models": {},
        "headers": {},
        "probe": "/health",
        "wake_timeout": "2m",
        "weight": 2,
        "prices": {},
    }
    assert data["backends"][1]["url"] == f"http://b:80/{HIDDEN}"
    launch = data["backends"][2]["launch"]
    assert launch["env"] == {"HF_TOKEN": HIDDEN, "ODD": HIDDEN, "OTHER": HIDDEN}
    assert launch["args"] == {
        "api-key": HIDDEN,
        "hf_token": [HIDDEN],
        "proxy": HIDDEN,
        "from-environment": HIDDEN,
        "listed": ["a", HIDDEN],
        "max_tokens": 512,
        "tokenizer": "plain",
    }
    assert (launch["start_timeout"], launch["unload_after"]) == ("10m", "never")
    assert data["routes"]["r"]["set"] == {"user": HIDDEN, "safety": {"password": HIDDEN}, "stop": ["a"]}
    assert data["auth"]["keys"][1] == {
        "key": HIDDEN,
        "name": "team",
        "weight": 1.0,
        "priority": 1,
        "models": ["*"],
        "paths": ["*"],
    }
    assert (data["limits"]["max_body"], data["health"]["interval"]) == ("64MiB", "5s")


def test_what_is_shown_can_be_loaded_again(tmp_path):
    """Where nothing is hidden, it is the same configuration."""
    path = tmp_path / "router.yaml"
    path.write_text("include: b.yaml\nbackends:\n  - url: http://a\nbalance: {hedge_after: 1.5s}\n")
    (tmp_path / "b.yaml").write_text(
        "backends: [{name: b, launch: {model: {mlx: m}, args: {a: [1, x]}}}]\nroutes: {r: [b]}"
    )
    config = load(path, {}).config
    path.write_text(yaml.safe_dump(redacted(config)))
    assert load(path, {}).config == config.model_copy(update={"include": ()})


@pytest.mark.parametrize(
    "key",
    ["api_key", "HF_TOKEN", "headers", "Authorization", "password", "client-secret", "auth", "credentials", "PASSWD"],
)
def test_names_of_secrets(key):
    """What is named like a secret is one."""
    assert is_secret(key, "x")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tokenizer", "x"),
        ("max_tokens", 5),
        ("max_output_tokens", "x"),
        ("name", "x"),
        ("author", "x"),
        ("url", "http://a/b"),
        ("n_ctx", 1),
    ],
)
def test_names_of_no_secrets(key, value):
    """What is not, isn't."""
    assert not is_secret(key, value)


@pytest.mark.parametrize("url", ["http://u:p@h", "https://h/?key=x", "postgres://u:p@h/db"])
def test_a_url_may_hold_one(url):
    """A URL with a user or a query is hidden wherever it stands."""
    assert is_secret("anything", url)


@pytest.mark.parametrize("key", ["apikee", "api-kee", "header", "hf-tokn", "pasword", "secrt", "Authorisation"])
def test_a_misspelt_secret_is_one(key):
    """Whoever mistypes its name must not have it shown."""
    assert is_secret(key, "x")


def test_no_key_of_router_yaml_is_taken_for_a_secret():
    """But for those that are."""
    schema = json.loads((Path(__file__).parents[3] / "docs/router.schema.json").read_text())

    def names(of):
        if isinstance(of, dict):
            yield from of.get("properties", {})
            for value in of.values():
                yield from names(value)
        elif isinstance(of, list):
            for value in of:
                yield from names(value)

    found = set(names(schema))
    assert "server" in found
    assert {name for name in found if _is_nearly_secret(name) and not _SECRET.search(name)} == set()
