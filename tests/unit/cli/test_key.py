"""`key new`: what is printed is an entry that router.yaml takes, and that lets in whoever shows the key."""

import json
import re

import pytest

from router import settings
from router.cli.main import main
from router.config import Config
from router.config.reading import places
from router.core.keys import digest
from router.core.scopes import Scope

ALL = [
    *("--models", "qwen*,llama", "--paths", "/v1/*,/api/chat", "--expires", "2027-01-31", "--weight", "0.5"),
    *("--priority", "-1", "--requests-per-minute", "60", "--tokens-per-minute", "100k", "--max-in-flight", "4"),
    *("--requests-per-day", "1k", "--tokens-per-day", "2M", "--requests-per-month", "10k"),
    *("--tokens-per-month", "50M", "--cost-per-day", "0.5", "--cost-per-month", "10"),
]


def made(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, Config]:
    """Give the key, and a configuration with its entry, as it was printed."""
    assert main(["key", "new", *arguments]) == 0
    said = capsys.readouterr().out
    (key,) = re.findall(r"^sk-router-\w{43}$", said, re.MULTILINE)
    auth = said[said.index("auth:") :]
    assert key not in auth
    return key, Config.model_validate(places.parse(f"backends: [{{url: 'http://a'}}]\n{auth}".encode(), "f").data)


def test_a_key_lets_in_whoever_shows_it(capsys):
    key, config = made(capsys, "--name", "alice")
    found = settings.keys(config).find(key.encode())
    assert found is not None
    assert found.name == "alice"


def test_a_key_has_what_was_asked_for(capsys):
    """Each option is a key of router.yaml, and says the same."""
    _, config = made(capsys, "--name", "alice", *ALL)
    (entry,) = config.auth.keys
    assert (entry.models, entry.paths, entry.expires) == (("qwen*", "llama"), ("/v1/*", "/api/chat"), 1801440000.0)
    assert (entry.weight, entry.priority, entry.requests_per_minute) == (0.5, -1, 60)
    assert (entry.tokens_per_minute, entry.max_in_flight, entry.requests_per_day) == (100_000, 4, 1000)
    assert (entry.tokens_per_day, entry.requests_per_month) == (2_000_000, 10_000)
    assert (entry.tokens_per_month, entry.cost_per_day, entry.cost_per_month) == (50_000_000, 0.5, 10)


def test_an_admins_key(capsys):
    key, config = made(capsys, "--name", "ops", "--admin", "--scopes", "read,configure")
    (admin,) = settings.admins(config).values()
    assert admin.name == "ops"
    assert admin.scopes == {Scope.READ, Scope.CONFIGURE}
    assert digest(key.encode()) in settings.admins(config)


@pytest.mark.parametrize("name", ["alice", "Alice B. #1", "7", "0.5", "true", "null", "x: y", "büro", '"'])
def test_a_name_is_what_was_said(capsys, name):
    """Whatever YAML would make of it."""
    _, config = made(capsys, "--name", name)
    assert config.auth.keys[0].name == name


def test_two_keys_differ(capsys):
    assert made(capsys, "--name", "a")[0] != made(capsys, "--name", "a")[0]


def test_for_programs(capsys):
    assert main(["key", "new", "--name", "7", "--json", "--weight", "0.5", "--tokens-per-day", "2M"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["entry"] == {
        "name": "7", "hash": f"sha256:{digest(told['key'].encode()).hex()}", "weight": 0.5, "tokens_per_day": "2M",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scopes", "read"], "--scopes: --scopes is for --admin"),
        (["--admin", "--tokens-per-day", "1"], "--tokens-per-day: an admin key has scopes alone"),
        (["--tokens-per-day", "lots"], "--tokens-per-day: expected a whole number above 0, such as 60, 100k or 2M"),
        (["--expires", "soon"], "--expires: expected a date, such as 2027-01-31"),
        (["--paths", "v1/*"], "--paths: expected a path, such as /v1/*"),
        (["--admin", "--scopes", "all"], "--scopes: 'all' is not a scope"),
        (["--weight", "0"], "--weight: must be more than 0, got '0'"),
        (["--name", ""], "--name: expected text"),
    ],
)
def test_what_router_yaml_would_not_take(capsys, arguments, said):
    """No key is made for it."""
    assert main(["key", "new", "--name", "a", *arguments]) == 2
    told = capsys.readouterr()
    assert told.err.startswith(said)
    assert told.out == ""


@pytest.mark.parametrize(("date", "is_over"), [("2020-01-01", True), ("9998-01-01", False)])
def test_a_date_that_is_over_is_said(capsys, date, is_over):
    """The key is made all the same."""
    assert main(["key", "new", "--name", "a", "--expires", date]) == 0
    told = capsys.readouterr()
    assert ("over already" in told.err) is is_over
    assert "sha256:" in told.out
