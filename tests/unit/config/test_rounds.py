"""All mistakes are told at once: none waits until another one is mended."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from router.config import Config, ConfigError, explain, load
from router.config.problems import MOST_ITEMS
from router.config.reading.document import Document

MANY = """\
server: {port: 99999, hots: 1}
backends:
  - name: a
    url: ftp://x
    launch: {model: x}
  - name: a
    url: http://b:1
    weight: -1
    modles: [x]
  - {}
routes:
  x: {to: nosuch, set: 5, at_most: {max_tokens: abc}, next_on: 200}
limits: {max_body: 5 parsecs, idle_timeout: 5}
health: {interval: yes, error_rate: 2}
"""

SECOND = """\
server: {cors: ["*"], port: 21801}
backends:
  - name: a
    url: http://x:1
    models: [m]
  - name: a
    url: http://b:1
    models: [n]
    wieght: 1
routes:
  x: {to: nosuch}
  "": m
  "*": nosuch
  z: []
"""


@pytest.fixture
def keys(tmp_path, monkeypatch):
    """Give the keys of all problems of a text."""
    monkeypatch.chdir(tmp_path)

    def told(text: str) -> list[str]:
        Path("router.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            load(Path("router.yaml"), {})
        assert all(each.line for each in caught.value.problems)
        return [each.key for each in caught.value.problems]

    return told


def test_mistakes_of_types_and_between_keys(keys):
    """Names that stand twice, a url beside a launch, an entry of nothing: beside all that is of a wrong type."""
    assert keys(MANY) == [
        "server.port", "server.hots",
        "backends[0].url", "backends[0].launch",
        "backends[1].name", "backends[1].weight", "backends[1].modles",
        "backends[2].launch",
        "routes.x", "routes.x.set", "routes.x.at_most.max_tokens", "routes.x.next_on",
        "limits.max_body", "limits.idle_timeout", "health.interval", "health.error_rate",
    ]  # fmt: skip


def test_routes_doors_and_names(keys):
    """Routes to what isn't there, one without a name, one to nothing; pages that need keys."""
    assert keys(SECOND) == [
        "server.cors[0]",
        "backends[1].name", "backends[1].wieght",
        "routes.x.to", "routes['']", "routes['*']", "routes.z",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The rule behind a value that is wrong.
        ("routes: {x: {to: a, set: {user: 1}, strip: [user], hidden: 5}}", ["routes.x.strip[0]", "routes.x.hidden"]),
        ("auth: {keys: [k, k, {key: l, weight: 0}]}", ["auth.keys[1]", "auth.keys[2].weight"]),
        ("server: {host: 0.0.0.0, port: x}", ["server.host", "server.port"]),
        ("server: {cors: ['http://*', '*']}", ["server.cors[0]", "server.cors[1]"]),
        ("routes: {x: [a, 5.5], y: {tp: a}, z: {to: a, at_most: {n: x}, default: {n: 5, '': 1}}}",
         ["routes.x[1]", "routes.y.to", "routes.y.tp", "routes.z.at_most.n", "routes.z.default['']"]),
        # What is missing, or of a wrong type, lets nobody in, and makes no name.
        ("server: {host: 0.0.0.0}\nauth: {keys: {a: b}}", ["auth.keys"]),
        ("server: {host: 0.0.0.0}\nauth: {kyes: [a]}", ["auth.…"]),
        ("server: {host: 0.0.0.0}\nauth: {open: perhaps}", ["auth.open"]),
        ("server: {host: 0.0.0.0}\nauth: 5", ["auth"]),
        ("server: {host: 0.0.0.0}\nauth: {keys: [{name: x}]}", ["auth.keys[0].key"]),
        ("server: {kay: 1}", ["server.kay"]),
    ],
)  # fmt: skip
def test_no_mistake_waits_for_another(keys, text, expected):
    """And none is made up."""
    assert keys(f"backends: [{{url: 'http://a'}}]\n{text}\n") == expected


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{launch: {cmd: [x, {port}], args: {a: 1}}}", ["launch.cmd[1]", "launch.args", "name"]),
        ("{name: a, launch: {model: {'': x}, ready: /x}}", ["launch.model['']", "launch.ready"]),
        ("{name: a, launch: {model: x, cmd: [y, '{port}'], paths: [/x], pinned: 5}}", ["launch.cmd", "launch.pinned"]),
        ("{name: a, launch: {model: x}, models: {'': x, ' ': []}}", ["models['']", "models[' ']"]),
        ("{name: a, launch: {modl: x, args: {a: 1}, pinned: 5}}", ["launch.cmd", "launch.modl", "launch.pinned"]),
        ("{name: a, launch: {modl: x, pinned: yes please, unload_after: 1m}}",
         ["launch.cmd", "launch.modl", "launch.pinned"]),
        ("{name: a, launch: {model: [x], cmd: [y, '{port}']}}", ["launch.model", "launch.cmd"]),
        ("{name: a, launch: {model: x, env: {A: [], B: {}}, args: {vllm: 5, x: []}}}",
         ["launch.args.vllm", "launch.env.…"]),
        ("{name: a, launch: {cnd: x, paths: [/x], pinned: 5}}", ["launch.cmd", "launch.cnd", "launch.pinned"]),
        ("{name: a, launch: {model: x, cmd: [y, '{port}'], args: {a: 1}, pinned: 5}}", ["launch.cmd", "launch.pinned"]),
        ("{name: a, launch: 5}", ["launch"]),
        ("{name: a}", ["launch"]),
        ("{url: 'http://x', models: {'': a, b: []}, name: [c]}", ["name", "models['']", "models.b"]),
        ("5", [""]),
    ],
)  # fmt: skip
def test_an_entry(keys, entry, expected):
    """Of a backend."""
    told = {key.removeprefix("backends[0]").removeprefix(".") for key in keys(f"backends: [{entry}]\n")}
    assert told == set(expected)


def test_what_counts_tokens_is_shown(tmp_path):
    """In the sentence and in the line alike: only its name looks like a secret's."""
    path = tmp_path / "router.yaml"
    path.write_text("backends: [{url: 'http://a'}]\nroutes: {x: {to: m, at_most: {max_tokens: 4k}}}\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    (told,) = caught.value.problems
    assert (told.message, "max_tokens: 4k" in told.excerpt) == ("expected a number, got '4k'", True)


def test_of_a_list_that_is_too_long_no_item_is_looked_at():
    """Several files may make one: that is the mistake, and not what its items are."""
    data = {"backends": [{"name": "a", "url": "http://a"}] * (MOST_ITEMS + 1)}
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(data)
    found = explain.problems(caught.value, Document("f.yaml", data))
    assert [str(each) for each in found] == ["f.yaml backends: a list may have 10000 items at most"]
