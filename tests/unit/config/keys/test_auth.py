import json

import pytest

from router.config import Config, ConfigError, load
from router.config.keys.auth import AuthConfig
from router.core.keys import digest
from tests.configured import REMOTE, errors

HASH = "sha256:" + digest(b"a").hex()


def auth(**keys: object) -> AuthConfig:
    return Config.model_validate({"backends": [REMOTE], "auth": keys}).auth


def faults(**keys: object) -> list[str]:
    return errors({"backends": [REMOTE], "auth": keys})


def test_keys_and_their_names_differ():
    """A key says which client it is, so no two have one, in whichever form."""
    keys = ["a", {"key": "b", "name": "n"}, {"key": "a", "name": "n"}, {"key": "c"}, "d"]
    assert faults(keys=keys) == [
        "auth.keys[2].key: stands at keys[0], too: each is one client's",
        "auth.keys[2].name: stands at keys[1], too: each is one client's",
    ]


def test_a_key_and_its_hash_are_the_same():
    """For clients and for admins."""
    for owner, keys in (("client", "keys"), ("admin", "admin_keys")):
        told = f"stands at {keys}[0], too: each is one {owner}'s"
        assert faults(**{keys: ["a", {"hash": HASH}]}) == [f"auth.{keys}[1].hash: {told}"]
        assert faults(**{keys: [{"hash": HASH.upper()}, "a"]}) == [f"auth.{keys}[1].key: {told}"]


@pytest.mark.parametrize("key", ["a", {"hash": HASH}])
def test_a_key_is_known_by_its_hash(key):
    """Whichever of the two is given."""
    assert auth(keys=[key]).keys[0].digest == auth(admin_keys=[key]).admin_keys[0].digest == digest(b"a")


@pytest.mark.parametrize("key", ["a", {"hash": HASH}])
def test_an_admins_key_is_no_clients(key):
    """Whoever may only ask models would manage the router with it."""
    part = "key" if key == "a" else "hash"
    assert faults(keys=["b", "a"], admin_keys=["c", key]) == [
        f"auth.admin_keys[1].{part}: stands at keys[1], too: an admin's key is no client's"
    ]


NO_HASH = "Value error, expected sha256: and 64 hexadecimal digits, as `python -m router key new` prints them"
OF_NOTHING = "Value error, this is the hash of no text at all: whatever should have been the key was empty"


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ({"name": "x"}, "key: is missing: give the key, or its `hash`"),
        ({"key": "a", "hash": HASH}, "hash: stands beside `key`: give one of the two"),
        (HASH, "key: is a hash, which opens nothing: write it as `hash`"),
        ("schlüssel", "key: Value error, expected ASCII text: it is sent in a header of HTTP"),
        ({"hash": HASH[:-1]}, f"hash: {NO_HASH}"),
        ({"hash": HASH[7:]}, f"hash: {NO_HASH}"),
        ({"hash": "sha256:" + digest(b"").hex()}, f"hash: {OF_NOTHING}"),
    ],
)
def test_what_is_no_key(key, fault):
    assert faults(keys=[key]) == [f"auth.keys[0].{fault}"]
    assert faults(admin_keys=[key]) == [f"auth.admin_keys[0].{fault}"]


def test_blanks_around_a_key_are_none_of_it():
    """No header can bring them: a key with blanks from a file of the environment would open nothing."""
    assert auth(keys=[" a\u0020"]).keys[0].digest == digest(b"a")


def test_what_a_key_may_use():
    """Paths are known in one form, in which the router sees what clients send."""
    (key,) = auth(keys=[{"key": "a", "models": ["q*"], "paths": ["/chat/completions", "/api/*", "/v1/x/", "*"]}]).keys
    assert key.models == ("q*",)
    assert key.paths == ("/v1/chat/completions", "/api/*", "/v1/x", "*")


@pytest.mark.parametrize("path", ["v1/chat", "", "/v1/a b", "/v1/x?y=z", "http://host/v1"])
def test_what_is_no_path(path):
    (fault,) = faults(keys=[{"key": "a", "paths": [path]}])
    assert fault.startswith("auth.keys[0].paths[0]: Value error, expected ")


@pytest.mark.parametrize("field", ["models", "paths"])
def test_a_key_that_may_nothing_is_a_mistake(field):
    """It must not mean that it may do all."""
    (fault,) = faults(keys=[{"key": "a", field: []}])
    assert fault.startswith(f"auth.keys[0].{field}: ")


def test_teams_name_keys():
    """Each key in one team; a name that no key has is a mistake."""
    keys = [{"key": "a", "name": "alice"}, {"key": "b", "name": "bob"}, "c"]
    family = {"keys": ["alice", "bob", "alice"], "tokens_per_day": "5M"}
    assert auth(keys=keys, teams={"family": family}).teams["family"].tokens_per_day == 5_000_000
    assert faults(keys=keys, teams={"family": family, "work": {"keys": ["bob", "carol"]}, "": {}}) == [
        "auth.teams.work.keys[0]: is in another team, too: each key is in one at most",
        "auth.teams.work.keys[1]: is the name of no key in auth.keys",
        "auth.teams['']: a name here must be printable text, and not empty",
    ]


@pytest.mark.parametrize("section", ["keys", "admin_keys"])
def test_a_wrong_hash_is_one_mistake(tmp_path, section):
    """Nothing else is said of its key, and no other mistake is hidden."""
    entries = [{"hash": HASH}, {"hash": HASH}, {"hash": HASH[7:]}, {"hash": 5}, {"hahs": HASH}, {"name": "x"}]
    entries.append({"key": "b", "hash": HASH})
    path = tmp_path / "router.yaml"
    path.write_text(json.dumps({"backends": [REMOTE], "auth": {section: entries}}), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert sorted({each.key.removeprefix(f"auth.{section}") for each in caught.value.problems}) == [
        "[1].hash", "[2].hash", "[3].hash", "[4].…", "[5].key", "[6].hash",
    ]  # fmt: skip
    assert len(caught.value.problems) == 6
