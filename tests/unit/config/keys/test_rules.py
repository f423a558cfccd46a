from types import SimpleNamespace

import pytest

from router.config import Config, ConfigError, load
from router.config.keys import rules
from tests.configured import LAUNCHED, REMOTE, errors


@pytest.mark.parametrize(
    ("routes", "error"),
    [
        ({"x": "dmo"}, "routes.x.to[0]: {got} is no backend's model; did you mean 'demo'?"),
        ({"x": ["demo", "zzz"]}, "routes.x.to[1]: {got} is no backend's model; there is 'demo'"),
        ({"x": "y", "y": "demo"}, "routes.x.to[0]: {got} is a route itself: name the models it leads to"),
        ({"demo": "demo"}, "routes.demo: is a backend's model, too: a name can mean one thing only"),
        ({"x": []}, "routes.x.to: Value error, a route needs a model to lead to"),
        ({"": "demo"}, "routes['']: a name here must be printable text, and not empty"),
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


@pytest.mark.parametrize("name", ["demo", "DEMO"])
def test_names_are_unique(name):
    """No two backends have the same name, whatever the letters' case."""
    message = "backends[1].name: {other} has this name already: give each a `name` of its own"
    assert errors({"backends": [LAUNCHED, {**REMOTE, "name": name}]}) == [message]


def test_a_backend_that_is_wrong_itself_is_passed_over():
    """Of a backend with mistakes the name or the models may be unknown."""
    unknown = SimpleNamespace(name="", models=())
    assert list(rules.faults([unknown, unknown], {"x": ("y",)})) == []


def test_a_hint_lists_some_models_and_counts_the_others():
    """Nobody reads more."""
    assert rules._hint("zzz", [f"m{n}" for n in range(30)]).endswith("'m18' or 'm19', and 10 more")


# What lets in clients without a key


def problems(tmp_path, words: str, environ: dict[str, str] | None = None) -> list[str]:
    path = tmp_path / "router.yaml"
    path.write_text("backends: [{url: 'http://box:8000'}]\n" + words)
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    return [str(each).removeprefix(f"{path}:") for each in caught.value.problems]


@pytest.mark.parametrize("host", ["0.0.0.0", "'::'", "192.168.1.5", "'[::]'", "'::ffff:10.0.0.1'"])
def test_other_machines_need_somebody_to_say_that_they_may(tmp_path, host):
    """The mistake has its place, and both ways out; either is enough."""
    wide = f"server: {{host: {host}}}\n"
    (told,) = problems(tmp_path, wide)
    assert told.startswith("2:10 server.host: ")
    assert "set auth.keys, or auth.open: true" in told
    path = tmp_path / "router.yaml"
    for auth in ("{open: true}", "{keys: [k]}"):
        path.write_text("backends: [{url: 'http://box:8000'}]\n" + wide + f"auth: {auth}\n")
        load(path, {})


def test_the_environment_may_not_let_other_machines_in_either(tmp_path):
    """It is told by the variable's name."""
    (told,) = problems(tmp_path, "", {"ROUTER_SERVER__HOST": "0.0.0.0"})
    assert "ROUTER_SERVER__HOST" in told or "environment" in told
    assert "auth.open" in told


@pytest.mark.parametrize("origin", ["*", "null"])
def test_every_page_needs_a_key(tmp_path, origin):
    """Without keys any page that is looked at could use the models."""
    (told,) = problems(tmp_path, f"server: {{cors: [app://x, '{origin}']}}\nauth: {{open: true}}\n")
    assert told.startswith("2:26 server.cors[1]: ")
    assert "set auth.keys, or name its origin" in told


def test_what_lets_too_many_in_is_told_beside_other_mistakes_between_entries(tmp_path):
    """All that is wrong is told at once."""
    told = problems(tmp_path, "server: {host: 0.0.0.0}\nroutes: {a: b}\nauth: {open: false}\n")
    assert any("server.host" in each for each in told)
