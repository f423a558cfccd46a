"""The types of router.yaml: defaults, bounds, forms, and the rules between entries."""

from __future__ import annotations

import json
import math
import re

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from router.config import BackendConfig, Config, LaunchConfig
from router.config.keys import rules
from router.config.keys.section import Section
from router.config.problems import did_you_mean, dotted, either, shortened
from router.config.scalars import FromEnvironment

REMOTE = {"url": "http://box:8000"}
LAUNCHED = {"name": "demo", "launch": {"model": "models/demo"}}


def errors(data: object) -> list[str]:
    """Each error of the data as `path: message`."""
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(data)
    return [f"{dotted(error['loc'])}: {error['msg']}" for error in caught.value.errors()]


def backend(**keys: object) -> BackendConfig:
    return Config.model_validate({"backends": [keys]}).backends[0]


def test_all_but_backends_has_a_default():
    """The defaults are those of the documentation, in seconds and bytes."""
    config = Config.model_validate({"backends": [LAUNCHED]})
    launch = config.backends[0].launch
    assert launch == LaunchConfig(model="models/demo")
    assert launch is not None
    assert (launch.engine, launch.replicas, launch.load, launch.start_timeout) == ("auto", 1, "startup", 600.0)
    assert launch.unload_after == math.inf
    assert (config.server.host, config.server.port, config.profile) == ("127.0.0.1", 8001, "auto")
    assert config.balance.policy == "least_latency"
    assert config.health.model_dump() == {
        "interval": 5.0,
        "timeout": 2.0,
        "unhealthy_after": 3,
        "healthy_after": 2,
        "stall_after": 60.0,
        "trial": 2,
        "ramp": 5.0,
        "error_rate": 0.5,
    }
    assert config.limits.model_dump() == {
        "max_body": 64 * 1024**2,
        "max_connections": 16384,
        "max_queue": 512,
        "queue_timeout": 60.0,
        "connect_timeout": 5.0,
        "first_byte_timeout": 600.0,
        "idle_timeout": 120.0,
        "retries": 2,
        "drain_timeout": 300.0,
    }
    assert (config.auth.keys, config.auth.admin_keys) == ((), ())
    assert (config.logging.level, str(config.logging.dir)) == ("info", "logs")


def test_equal_data_makes_equal_configs():
    """Configs compare by value, whatever form the value was written in, and can't be changed."""
    one = Config.model_validate({"backends": [{**REMOTE, "models": ["a"]}]})
    other = Config.model_validate({"backends": [{**REMOTE, "models": {"a": "a"}, "weight": 1}]})
    assert one == other
    assert one != Config.model_validate({"backends": [{**REMOTE, "models": ["b"]}]})
    with pytest.raises(ValidationError):
        one.profile = "cuda"  # type: ignore[misc]
    with pytest.raises(TypeError):
        one.backends[0].models["b"] = "b"  # type: ignore[index]


def test_every_key_is_described():
    """The schema gives each key's meaning, and the default of each that has one. It is plain JSON."""

    def check(section: type[BaseModel]) -> None:
        for name, field in section.model_fields.items():
            assert field.description, name
            said = re.search(r"Default: |Required", field.description) or field.default_factory
            assert said, name

    for section in Section.__subclasses__():
        check(section)
    assert json.loads(json.dumps(Config.model_json_schema(), allow_nan=False))["required"] == ["backends"]


def test_a_config_can_be_dumped():
    """What mappings are inside doesn't show outside, and secrets don't either."""
    config = Config.model_validate(
        {"backends": [{**LAUNCHED, "launch": {"model": {"mlx": "m"}, "args": {"a": [1]}}, "api_key": "s3cret"}]}
    )
    dumped = config.model_dump(mode="json")
    assert dumped["backends"][0]["models"] == {"demo": "demo"}
    assert dumped["backends"][0]["launch"]["model"] == {"mlx": "m"}
    assert "s3cret" not in str(dumped) + repr(config)


@pytest.mark.parametrize(
    ("url", "kept", "name"),
    [
        ("http://box:8000", "http://box:8000", "box:8000"),
        ("HTTPS://Box.lan/", "https://box.lan", "box.lan:443"),
        ("http://box/Base/v2/", "http://box/Base/v2", "box:80"),
        ("http://[::1]:8000", "http://[::1]:8000", "[::1]:8000"),
        ("http://10.0.0.1:08000", "http://10.0.0.1:8000", "10.0.0.1:8000"),
    ],
)
def test_a_url_names_its_backend(url, kept, name):
    """A URL keeps its base path, and gives host:port as the name; its models are asked for."""
    made = backend(url=url)
    assert (made.url, made.name, dict(made.models)) == (kept, name, {})


@pytest.mark.parametrize(
    "url",
    ["box:8000", "ftp://box", "http://", "http://box:x", "http://b/?q=1", "http://b/#f", "http://u:p@b", "http://a b"],
)
def test_a_wrong_url(url):
    """Anything but http(s)://host[:port][/path] is refused."""
    assert errors({"backends": [{"url": url}]})[0].startswith("backends[0].url: Value error, expected http://host:port")


@pytest.mark.parametrize("port", [0, 65536, 99999])
def test_a_url_with_an_impossible_port(port):
    """A URL's port is one that can be connected to."""
    assert "port from 1 to 65535" in errors({"backends": [{"url": f"http://box:{port}"}]})[0]


@pytest.mark.parametrize(
    ("models", "kept"),
    [(["a", "b"], {"a": "a", "b": "b"}), ({"a": "x/A"}, {"a": "x/A"}), ([7], {"7": "7"}), (None, {}), ([], {})],
)
def test_models_are_a_list_or_a_mapping(models, kept):
    """Both forms become a mapping from the public to the known name."""
    assert list(backend(**REMOTE, models=models).models.items()) == list(kept.items())


def test_a_launched_backend_serves_its_own_name():
    """Without models, a launched backend serves one of its own name."""
    assert dict(backend(**LAUNCHED).models) == {"demo": "demo"}
    assert dict(backend(**LAUNCHED, models=["x"]).models) == {"x": "x"}


def test_routes_lead_to_models_in_order():
    """A name and a list of names become a tuple."""
    routes = {"a": "demo", "b": ["demo", "demo"], "gpt-*": "demo"}
    config = Config.model_validate({"backends": [LAUNCHED], "routes": routes})
    assert config.targets == {"a": ("demo",), "b": ("demo", "demo"), "gpt-*": ("demo",)}


def test_arguments_keep_their_types():
    """Arguments are text, numbers, bools, null or lists; words of the environment are read if unquoted."""
    args = {"a": "x", "b": 1, "c": 1.5, "d": True, "e": None, "f": [1, "y"]}
    args |= {"g": FromEnvironment("7"), "h": FromEnvironment("7", unquoted=False)}
    launch = backend(name="demo", launch={"model": "m", "args": args, "env": {"N": 0, "E": ""}}).launch
    assert launch is not None
    assert dict(launch.args) == {**args, "f": (1, "y"), "g": 7, "h": "7"}
    assert dict(launch.env) == {"N": "0", "E": ""}


def test_values_from_the_environment_fit_their_keys():
    """Digits are a number or text as the key wants; nothing at all is as good as left out."""
    made = backend(
        url="http://box",
        api_key=FromEnvironment("123"),
        max_in_flight=FromEnvironment("4"),
        weight=FromEnvironment("2"),
    )
    assert (made.api_key, made.max_in_flight, made.weight) == (SecretStr("123"), 4, 2.0)
    empty = backend(url="http://box", api_key=FromEnvironment(""), max_in_flight=FromEnvironment(""))
    assert (empty.api_key, empty.max_in_flight) == (None, None)


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ({}, "backends[0].launch: Value error, a backend has either `url`"),
        ({**REMOTE, **LAUNCHED}, "backends[0].launch: Value error, a backend has either `url`"),
        ({"launch": {"model": "m"}}, "backends[0].name: Value error, a launched backend needs a name"),
        ({**LAUNCHED, "name": "a/b"}, "backends[0].name: Value error, expected a name of letters"),
        ({**LAUNCHED, "name": ["a"]}, "backends[0].name: Value error, expected text, got {got}"),
        ({**REMOTE, "api_key": {}}, "backends[0].api_key: Value error, expected text, got {got}"),
        ({**LAUNCHED, "name": ".."}, "backends[0].name: Value error, expected a name of letters"),
        ({**LAUNCHED, "models": []}, "backends[0].models: Value error, a launched backend serves at least one"),
        ({**REMOTE, "models": ["a", "a"]}, "backends[0].models[1]: {got} is listed twice"),
        ({**REMOTE, "models": ["a*"]}, "backends[0].models[0]: a model's name can't have a *"),
        ({**REMOTE, "models": {"a*": "a"}}, "backends[0].models['a*']: a model's name can't have a *"),
        ({**REMOTE, "models": {"a": []}}, "backends[0].models.a: expected text, got {got}"),
        ({**REMOTE, "models": {"": "a"}}, "backends[0].models: Value error, a key in here is empty"),
        ({**REMOTE, "models": "a"}, "backends[0].models: Value error, expected a mapping"),
        ({**REMOTE, "models": [" "]}, "backends[0].models[0]: expected text, got an empty one"),
        ({**REMOTE, "models": ["a\nb"]}, "backends[0].models[0]: expected one line of printable text"),
        ({**REMOTE, "models": [True]}, "backends[0].models[0]: expected text, got {got}; put it in quotes"),
        ({**REMOTE, "weight": 0}, "backends[0].weight: Input should be greater than 0"),
        ({**REMOTE, "weight": math.nan}, "backends[0].weight: Value error, expected a number"),
        ({**REMOTE, "weight": True}, "backends[0].weight: Value error, expected a number"),
        ({**REMOTE, "max_in_flight": 1.5}, "backends[0].max_in_flight: Value error, expected a whole number"),
    ],
)
def test_a_wrong_backend(entry, error):
    """Each rule of a backend has its error, at its key."""
    assert errors({"backends": [entry]})[0].startswith(error)


@pytest.mark.parametrize(
    ("launch", "error"),
    [
        ({"model": {"vlm": "x"}}, "model.vlm: is not an engine"),
        ({"model": {}}, "model: Value error, expected a path or a hub id"),
        ({"model": {"mlx": 1.5}}, "model.mlx: expected text"),
        ({"model": "m", "replicas": 65}, "replicas: Input should be less than"),
        ({"model": "m", "args": {"a": {"b": 1}}}, "args.a: expected text, a number"),
        ({"model": "m", "args": {"vllm": 1}}, "args.vllm: is an engine: below it stand options for it alone"),
        ({"model": "m", "args": {"vllm": {"a": {"b": 1}}}}, "args.vllm.a: expected text, a number"),
        ({"model": "m", "args": {"a": [1, [2]]}}, "args.a[1]: expected text, a number"),
        ({"model": "m", "args": {"a": [None]}}, "args.a[0]: expected text, a number, true or false"),
        ({"model": "m", "args": {"a": math.inf}}, "args.a: expected a finite number"),
        ({"model": "m", "args": {"a": "\0"}}, "args.a: a program can't be given this text"),
        ({"model": "m", "env": {"A": True}}, "env.A: expected text; put it in quotes"),
        ({"model": "m", "env": {"A": "\ud800"}}, "env.A: a program can't be given this text"),
        ({"model": "m", "engine": 5}, "engine: Value error, {got} is not an engine; expected auto"),
    ],
)
def test_a_wrong_launch(launch, error):
    """Each rule of a launch has its error, at its key."""
    assert errors({"backends": [{"name": "demo", "launch": launch}]})[0].startswith(f"backends[0].launch.{error}")


@pytest.mark.parametrize(
    ("routes", "error"),
    [
        ({"x": "dmo"}, "routes.x.to[0]: {got} is no backend's model; did you mean 'demo'?"),
        ({"x": ["demo", "zzz"]}, "routes.x.to[1]: {got} is no backend's model; there is 'demo'"),
        ({"x": "y", "y": "demo"}, "routes.x.to[0]: {got} is a route itself: name the models it leads to"),
        ({"demo": "demo"}, "routes.demo: is a backend's model, too: a name can mean one thing only"),
        ({"x": []}, "routes.x.to: Value error, a route needs a model to lead to"),
        ({"x": "dem*"}, "routes.x.to[0]: a model's name can't have a *"),
    ],
)
def test_a_wrong_route(routes, error):
    """A route leads to models that exist, and no name means two things."""
    assert errors({"backends": [LAUNCHED], "routes": routes})[0].startswith(error)


def test_a_model_may_be_found_later():
    """Where a backend doesn't list its models, a route to an unknown one may lead somewhere."""
    config = Config.model_validate({"backends": [REMOTE, LAUNCHED], "routes": {"x": "unheard"}})
    assert config.routes["x"].to == ("unheard",)


def test_keys_and_their_names_differ():
    """A key says which client it is, so no two have one, in whichever form."""
    keys = ["a", {"key": "b", "name": "n"}, {"key": "a", "name": "n"}, {"key": "c"}, "d"]
    assert errors({"backends": [REMOTE], "auth": {"keys": keys}}) == [
        "auth.keys[2].key: stands at keys[0], too: each is one client's",
        "auth.keys[2].name: stands at keys[1], too: each is one client's",
    ]


@pytest.mark.parametrize("name", ["demo", "DEMO"])
def test_names_are_unique(name):
    """No two backends have the same name, whatever the letters' case."""
    message = "backends[1].name: {other} has this name already: give each a `name` of its own"
    assert errors({"backends": [LAUNCHED, {**REMOTE, "name": name}]}) == [message]


def test_a_backend_that_is_wrong_itself_is_passed_over():
    """The rules take None for a backend of which nothing is known."""
    assert list(rules.faults([None], {"x": ("y",)})) == []


def test_there_is_at_least_one_backend():
    """An empty list is answered with the least that works."""
    assert "the least that works is `backends: [{url:" in errors({"backends": None})[0]


def test_lists_are_bounded():
    """No list is longer than anybody would write."""
    assert "10000 items at most" in errors({"backends": [{}] * 10_001})[0]


@pytest.mark.parametrize("data", [5, {"server": 5}, {"server": []}])
def test_a_section_is_a_mapping(data):
    """A value where keys belong is said to be one."""
    assert any("expected keys with values, such as" in error for error in errors(data))


def test_an_empty_section_is_its_defaults():
    """A section whose keys are all comments is as good as left out."""
    assert backend(name="demo", launch={"model": "models/demo", "args": None}) == backend(**LAUNCHED)
    assert Config.model_validate({"backends": [REMOTE], "auth": None}) == Config.model_validate({"backends": [REMOTE]})


def test_words_of_messages():
    """Paths, choices, near words and long values read as people would write them."""
    assert dotted(("a", 0, "b-c", "d.e")) == "a[0].b-c['d.e']"
    assert (either(["a"]), either(["a", "b", "c"])) == ("a", "a, b or c")
    assert (did_you_mean("PROT", ["port"]), did_you_mean("x", ["port"])) == ("port", None)
    assert len(shortened("x" * 100)) == 60
    assert rules._hint("zzz", [f"m{n}" for n in range(30)]).endswith("'m18' or 'm19', and 10 more")
