import pytest

from router.config import ConfigError
from router.config.masking import masked, restored

TEXT = """\
# Our router. The old one had api_key: sk-old-123
server: {port: 8001}   # é 😀 stays
auth:
  keys:
    - sk-client            # that of the team
    - {key: "${BATCH}", name: nightly}
  admin_keys: [{key: ops-secret, name: ops, scopes: [read]}]
backends:
  - name: far
    url: https://user:pw@far.test/v1
    api_key: |
      sk-block
    headers:
      X-Team: 'blue'
  - name: near
    url: http://near.test
    api_key: &k "sk-near"
    models: {a: b}
  - name: other
    url: http://other.test
    api_key: *k
  - name: mine
    launch: {cmd: [prog, --api-key, sk-flag, "{port}"], env: {A: b}}
routes:
  r: {to: a, set: {max_tokens: 5}}
"""

SECRETS = ("sk-client", "ops-secret", "sk-old-123", "pw@", "sk-block", "blue", "sk-near", "sk-flag", "{A: b}")


def test_no_secret_is_shown():
    """Whatever form it is written in; all else stays, comments too."""
    said = masked(TEXT, "router.yaml")
    assert not [each for each in SECRETS if each in said]
    assert (
        said
        == """\
# Our router. The old one had api_key: (hidden)
server: {port: 8001}   # é 😀 stays
auth:
  keys:
    - (hidden)            # that of the team
    - {key: "${BATCH}", name: nightly}
  admin_keys: [{key: (hidden), name: ops, scopes: [read]}]
backends:
  - name: far
    url: (hidden)
    api_key: (hidden)
    headers:
      X-Team: (hidden)
  - name: near
    url: http://near.test
    api_key: &k (hidden)
    models: {a: b}
  - name: other
    url: http://other.test
    api_key: *k
  - name: mine
    launch: {cmd: [prog, --api-key, (hidden), "{port}"], env: {A: (hidden)}}
routes:
  r: {to: a, set: {max_tokens: 5}}
"""
    )


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("\n", "\r\n"), "", "backends:\n"], ids=["lf", "crlf", "", "none"])
def test_what_comes_back_as_it_was_shown_is_the_file(text):
    """Letter by letter."""
    assert restored(masked(text, "f"), text, "f").replace("\r\n", "\n") == text.replace("\r\n", "\n")


def test_comments_show_no_secret_of_the_file():
    """Whatever it looks like."""
    text = "backends:\n- {name: a, url: 'http://a', api_key: plain}   # not plain, but (plain)\n"
    assert "plain" not in masked(text, "f")
    assert restored(masked(text, "f"), text, "f") == text


def test_secrets_follow_their_entries():
    """A named entry may move, and others may come."""
    old = "backends:\n- {name: a, url: 'http://a', api_key: one}\n- {name: b, url: 'http://b', api_key: two}\n"
    new = (
        "backends:\n- {name: c, url: 'http://c'}\n- {name: b, url: 'http://b', api_key: '(hidden)'}\n"
        "- {name: a, url: 'http://a', api_key: (hidden)}\n"
    )
    assert restored(new, old, "f") == new.replace("'(hidden)'", "two").replace("(hidden)", "one")


def test_hidden_values_that_stand_for_nothing_are_refused():
    """With their place."""
    old = "backends:\n- {name: a, url: 'http://a', api_key: one}\n"
    new = "backends:\n- {name: b, url: 'http://b', api_key: (hidden)}\n"
    with pytest.raises(ConfigError) as refused:
        restored(new, old, "f")
    assert str(refused.value).startswith("f:2:39: (hidden) stands for no secret")


@pytest.mark.parametrize("more", ["models: [*k]", "max_in_flight: *k", "headers: {x: *k}"])
def test_an_alias_does_not_carry_a_secret_elsewhere(more):
    """Names of models, for one, are told to everybody."""
    old = "backends:\n- {name: a, url: 'http://a', api_key: &k one}\n"
    new = masked(old, "f").replace("}", f", {more}}}")
    with pytest.raises(ConfigError):
        restored(new, old, "f")


def test_aliases_that_the_file_has_stay():
    """They are secrets, too, where their own keys say so."""
    old = "backends:\n- {name: a, url: 'http://a', x: &k one}\n- {name: b, url: 'http://b', api_key: *k}\n"
    said = masked(old, "f")
    assert "one" not in said
    assert restored(said, old, "f") == old


@pytest.mark.parametrize("text", ["a: &x 1\nb: &x 2\n", "a: 1\na: 2\n", "<<: {a: b}\n"])
def test_what_is_no_clean_yaml_is_refused(text):
    with pytest.raises(ConfigError):
        masked(text, "f")


def test_what_is_no_yaml_is_refused():
    with pytest.raises(ConfigError):
        masked("a: [", "f")


@pytest.mark.parametrize(
    "comment",
    [
        "# password = hunter2",
        '#   api_key: "abcd"',
        "# Bearer abc",
        "# sk-1",
        "# 0123456789abcdefABCD",
        "# http://a:b@c",
    ],
)
def test_comments_show_no_secret(comment):
    text = f"{comment}\nbackends: []\n"
    said = masked(text, "f")
    assert "(hidden)" in said
    assert restored(said, text, "f") == text


@pytest.mark.parametrize("comment", ["# a note: see below", "# api_key: ${KEY}", "# models/qwen2.5-7b-q4_k_m.gguf"])
def test_other_comments_stay(comment):
    assert masked(f"{comment}\nbackends: []\n", "f") == f"{comment}\nbackends: []\n"


TEAMS = """\
auth:
  keys:
    - {name: alice, hash: "sha256:%s", models: ["qwen*"], paths: [/v1/*], expires: 2027-01-31, weight: 2}
    - {name: bob, key: sk-bobs}
  teams:
    family: {keys: [alice, bob], max_in_flight: 4}
    odd: {keys: [sk-bobs, aB3dE6gH9jK2mN5pQ8], tokens_per_day: 1}
""" % ("ab" * 32)


def test_teams_are_shown_but_for_keys_in_the_place_of_names():
    """What a key may use is no secret; its hash is one, as a short key could be found by it."""
    said = masked(TEAMS, "router.yaml")
    assert said.splitlines()[2:] == [
        '    - {name: alice, hash: (hidden), models: ["qwen*"], paths: [/v1/*], expires: 2027-01-31, weight: 2}',
        "    - {name: bob, key: (hidden)}",
        "  teams:",
        "    family: {keys: [alice, bob], max_in_flight: 4}",
        "    odd: {keys: [(hidden), (hidden)], tokens_per_day: 1}",
    ]
    assert restored(said, TEAMS, "router.yaml") == TEAMS
    assert "sk-carols" not in masked(TEAMS + "    sk-carols: {keys: []}\n", "router.yaml")
