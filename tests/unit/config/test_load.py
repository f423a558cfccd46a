"""router.yaml and the environment to a config, or to all that is wrong with them."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from router.config import BackendConfig, Config, ConfigError, LaunchConfig, Loaded, RouteConfig, load
from router.config.problems import MOST_PROBLEMS
from router.config.reading import places
from tests.shipped import SHIPPED, WHOLE, uncommented

REMOTE = "backends: [{url: 'http://box:8000'}]\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Load a text as ./router.yaml, so that problems have short names."""
    monkeypatch.chdir(tmp_path)

    def loaded(text: str, **environ: str) -> Loaded:
        path = Path("router.yaml")
        path.write_text(text, encoding="utf-8")
        return load(path, environ)

    return loaded


@pytest.fixture
def refused(write):
    """The lines of the error that a text makes."""

    def lines(text: str, **environ: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            write(text, **environ)
        assert len(caught.value.problems) == len(str(caught.value).splitlines())
        return str(caught.value).splitlines()

    return lines


def test_the_shipped_file_works_untouched():
    """The default config loads."""
    loaded = load(SHIPPED, {})
    assert loaded.path == SHIPPED
    config = loaded.config
    assert (config.server.host, config.server.port, config.profile) == ("127.0.0.1", 8001, "auto")
    (demo,) = config.backends
    assert demo.launch is not None
    assert (demo.name, dict(demo.models), demo.launch.model) == ("demo", {"demo": "demo"}, "models/demo")
    assert config.targets == {"gpt-4o-mini": ("demo",), "gpt-*": ("demo",)}


def test_the_shipped_file_shows_the_defaults():
    """What stands in its comments as a default is the default: uncommented, nothing changes."""
    made = uncommented({"server", "balance", "health", "limits", "memory", "auth", "logging", "state", "ray"})
    data = places.parse(made, "uncommented").data
    defaults = Config.model_validate({"backends": data["backends"], "routes": data["routes"]})
    assert Config.model_validate(data) == defaults
    for section in ("server", "balance", "health", "limits", "memory", "auth", "logging", "state", "ray"):
        assert set(data[section]) == set(type(getattr(defaults, section)).model_fields)


def test_the_shipped_file_shows_every_key(tmp_path):
    """All that stands in its comments can be used, and no key is missing."""
    path = tmp_path / "router.yaml"
    path.write_bytes(WHOLE)
    config = load(path, {"MAC_KEY": "k"}).config
    demo, qwen, whisper, _, mac, tower = config.backends
    assert demo.launch == LaunchConfig(
        model="models/demo", args={name: {"embedding": True} for name in ("llama_cpp", "llama_server")}
    )
    assert qwen.launch is not None
    assert set(Config.model_fields) == set(places.parse(WHOLE, "f").data)
    assert {*mac.model_fields_set, *tower.model_fields_set, "launch"} == set(BackendConfig.model_fields)
    assert whisper.launch is not None
    of_commands = {"cmd", "ready", "parallel", "paths"}
    assert demo.launch.model_fields_set == set(LaunchConfig.model_fields) - of_commands
    assert whisper.launch.model_fields_set == of_commands
    assert config.routes["careful"].model_fields_set == set(RouteConfig.model_fields)


def test_all_problems_at_once_each_at_its_place(refused):
    """Unknown keys, wrong types, missing variables, broken rules: one answer names them all, in order."""
    text = """\
servr: {}
server: {port: abc, host: 127.0.0.1}
backends:
  - name: a
    url: gpu:8000
    wieght: 2
  - name: b
    launch:
      engine: vlm
      replicas: 99
  - {name: b, launch: {model: x, start_timeout: 5}}
  - 7
routes: {x: b, y: x, "b": b}
limits: {max_body: 5X, retries: 11, retries: 2}
profile: ${NOPE}
"""
    assert refused(text, ROUTER_SERVER__PROT="1") == [
        "ROUTER_SERVER__PROT server.prot: unknown key; did you mean 'port'?",
        "router.yaml:1:1 servr: unknown key; did you mean 'server'?",
        "router.yaml:2:10 server.port: expected a whole number, got 'abc'",
        "router.yaml:5:5 backends[0].url: expected http://host:port, with a path if there must be one, got 'gpu:8000'",
        "router.yaml:6:5 backends[0].wieght: unknown key; did you mean 'weight'?",
        (
            "router.yaml:8:5 backends[1].launch.cmd: neither `model` nor `cmd` says what to run,"
            " as `model: models/demo` does"
        ),
        "router.yaml:9:7 backends[1].launch.engine: 'vlm' is not an engine; did you mean 'vllm'?",
        "router.yaml:10:7 backends[1].launch.replicas: must be at most 64, got 99",
        (
            "router.yaml:11:6 backends[2].name: backends[1] (router.yaml:7:5) has this name already:"
            " give each a `name` of its own"
        ),
        (
            "router.yaml:11:34 backends[2].launch.start_timeout: a duration needs a unit, got 5;"
            " write 5s for five seconds, or 500ms, 10m, 1h"
        ),
        "router.yaml:12:5 backends[3]: expected keys with values, such as `url: …`, got 7",
        "router.yaml:13:16 routes.y: 'x' is a route itself: name the models it leads to",
        "router.yaml:13:22 routes.b: is a backend's model, too: a name can mean one thing only",
        "router.yaml:14:10 limits.max_body: expected a size such as 64MiB, 2GB or a whole number of bytes, got '5X'",
        "router.yaml:14:24 limits.retries: must be at most 10, got 11",
        "router.yaml:14:37 limits.retries: stands here a second time (first: line 14)",
        "router.yaml:15:1 profile: the environment has no NOPE: set it, or give a default: ${NOPE:-…}",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "",
            'router.yaml:1:1 backends: there is none; the least that works is `backends: [{url: "http://127.0.0.1:8000"}]`',
        ),
        (
            REMOTE + "x: 1",
            "router.yaml:2:1 x: unknown key; known here: include, server, profile, backends, routes, balance,",
        ),
        (REMOTE + "server: {port: 70000}", "router.yaml:2:10 server.port: must be at most 65535, got 70000"),
        (REMOTE + "server: {port: true}", "router.yaml:2:10 server.port: expected a whole number, got true"),
        (REMOTE + "server: {port: }", "router.yaml:2:10 server.port: expected a whole number, got nothing"),
        (REMOTE + "server: {host: {}}", "router.yaml:2:10 server.host: expected text, got a mapping"),
        (REMOTE + "health: {interval: [5s]}", "router.yaml:2:10 health.interval: expected a duration such as"),
        (
            REMOTE + "balance: {policy: fast}",
            "router.yaml:2:11 balance.policy: 'fast' is not a policy; expected least_",
        ),
        (REMOTE + "routes: 5", "router.yaml:2:1 routes: expected a mapping, such as `name: value`, got 5"),
        ("backends: {a: b}", "router.yaml:1:1 backends: expected a list, such as `[a, b]` or lines"),
        ("backends: [5]\nroutes: {x: []}", "router.yaml:1:12 backends[0]: expected keys with values"),
        ("backends: [{url: 'http://a', weight: 0}]", "router.yaml:1:30 backends[0].weight: must be more than 0, got 0"),
        ("backends: [{url: 'http://a', max_in_flight: 0}]", "backends[0].max_in_flight: must be at least 1, got 0"),
    ],
)
def test_a_problem_says_what_would_be_right(refused, text, problem):
    """Each kind of mistake has its sentence, at its place."""
    assert problem in refused(text)[0]


def test_a_key_that_stands_twice_is_refused_even_if_all_else_is_right(refused):
    """What YAML itself lets pass is reported although the types find nothing wrong."""
    assert refused(REMOTE + "profile: auto\nprofile: cuda\n") == [
        "router.yaml:3:1 profile: stands here a second time (first: line 2)"
    ]


def test_a_mistake_does_not_hide_another(refused):
    """A route to nothing is found although a backend has a misspelt key."""
    found = refused("backends: [{name: a, launch: {modle: m}}]\nroutes: {x: aa, y: ['a', 'ab']}\n")
    assert "router.yaml:2:10 routes.x: 'aa' is no backend's model; did you mean 'a'?" in found
    assert any(line.startswith("router.yaml:2:26 routes.y[1]: 'ab' is no") for line in found)


def test_a_mistake_makes_no_others(refused):
    """What can't be known because of one mistake is no second one."""
    text = "backends: [{name: a, url: '${X}', models: ['${Y}']}]\nroutes: {x: b}\n"
    assert [line.split(" ", 1)[0] for line in refused(text)] == ["router.yaml:1:22", "router.yaml:1:44"]


SECRET = "sk-d0nt-sh0w"


@pytest.mark.parametrize(
    "text",
    [
        f"auth: {{keys: {SECRET}}}",
        f"auth: {SECRET}",
        f"auth: {{keys: [{{a: {SECRET}}}]}}",
        f"auth: {{admin_keys: {SECRET}}}",
        f"auth: {{apikeys: {SECRET}}}",
        f"auth: {{keys: ['{SECRET}\\n']}}\nserver: {{port: x}}",
        f'auth: {{keys: ["{SECRET}\\n"]}}',
        f"auth: {{keys: [!{SECRET}]}}",
        f"auth: {{keys: [*{SECRET}]}}",
        f"backends: [{{url: 'http://a', api_key: [{SECRET}]}}]",
        f"backends: [{{url: 'http://user:{SECRET}@a'}}]",
        f"backends: [{{url: 'ftp://a?key={SECRET}'}}]",
        f"backends: [{{name: a, launch: {{model: m, env: {SECRET}}}}}]",
        f"backends: [{{name: a, launch: {{model: m, env: {{A: [{SECRET}]}}}}}}]",
        "server: {port: '${S}'}",
        "profile: ${S}/",
        "health: {interval: '${S}'}",
        "balance: {policy: '${S}'}",
        "limits: {max_body: 'a${S}b'}",
        "backends: [{url: '${S}'}]",
        "backends: [{url: 'http://a', models: ['${S}', '${S}']}]",
        "backends: [{url: 'http://a', models: ['${S}']}]\nroutes: {x: sk-dont-show}",
        "backends: [{url: 'http://a', models: ['${S}']}]\nroutes: {x: y}",
        "backends: [{url: 'http://a', models: [a]}]\nroutes: {x: '${S}'}",
    ],
)
def test_secrets_are_never_shown(refused, text):
    """Neither the value of a secret key, nor what ${…} became, is in any message."""
    assert SECRET not in "\n".join(refused(text, S=SECRET))


def test_the_environment_sets_values(write):
    """References and overrides give numbers where numbers are wanted, and text where text is."""
    text = "server: {port: 1}\nbackends: [{url: 'http://${H}:${P}', api_key: '${P}'}]\nlimits:\n  retries: ${R:-3}\n"
    config = write(text, H="box", P="9000", ROUTER_SERVER__PORT="9001", ROUTER_PROFILE="cuda").config
    assert (config.server.port, config.profile, config.limits.retries) == (9001, "cuda", 3)
    assert config.backends[0].url == "http://box:9000"
    assert config.backends[0].api_key is not None
    assert config.backends[0].api_key.get_secret_value() == "9000"


def test_no_file_content_is_needed(write):
    """A container can say everything in its environment."""
    config = write("", ROUTER_BACKENDS__0__URL="http://box:8000", ROUTER_AUTH__KEYS__0="1234").config
    assert config.backends[0].name == "box:8000"
    assert config.auth.keys[0].key.get_secret_value() == "1234"


def test_an_override_with_a_wrong_value(refused):
    """A variable's mistake is reported under its name, with its value."""
    assert refused(REMOTE, ROUTER_SERVER__PORT="high") == [
        "ROUTER_SERVER__PORT server.port: expected a whole number, got 'high'"
    ]


def test_a_list_is_not_one_variable(refused):
    """Its items go by number, and the message says so."""
    (found,) = refused(REMOTE, ROUTER_AUTH__KEYS="a,b")
    assert found.startswith("ROUTER_AUTH__KEYS auth.keys: expected a list: the environment gives its items one by one")


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(write, refused, enabled):
    """It waits while a file is read, which may fail."""
    if not enabled:
        gc.disable()
    try:
        write(REMOTE)
        refused("x")
        assert gc.isenabled() is enabled
    finally:
        gc.enable()


def test_a_flood_of_problems_is_bounded(refused):
    """A file of nothing but mistakes is answered in good time."""
    assert len(refused("".join(f"x{n}: 1\n" for n in range(5000)))) == MOST_PROBLEMS


@pytest.mark.parametrize("name", ["set", "to", "hidden", "routes", "backends"])
def test_a_route_may_be_called_as_a_key_is(write, name):
    """What is wrong below it is a route's, and told as such."""
    assert write(f"backends: [{{url: 'http://a', models: [m]}}]\nroutes: {{{name}: m}}\n").config.routes[name].to == (
        "m",
    )
    with pytest.raises(ConfigError, match=rf"routes\.{name}\.hiden: unknown key; did you mean 'hidden'\?"):
        write(f"backends: [{{url: 'http://a', models: [m]}}]\nroutes: {{{name}: {{to: m, hiden: true}}}}\n")
