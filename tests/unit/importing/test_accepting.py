"""Whatever was imported, what is written can be used: what can't be is a comment, with the reason."""

from pathlib import Path

import pytest

from router.config import ConfigError, load
from router.importing.accepting import accepted
from router.importing.imported import Entry, Imported, Names, Route, Value, duration, number, whole


def made(*entries: Entry, **routes: Route) -> Imported:
    return Imported("another program", "a.yaml", entries=[*entries], routes=dict(routes))


GOOD: dict[str, Value] = {"name": "good", "url": "http://127.0.0.1:1", "models": ["m"]}
BAD: dict[str, Value] = {"name": "bad", "url": "http://127.0.0.1:1", "models": ["a*"], "max_in_flight": 0}


def test_an_entry_that_can_not_be_used_is_a_comment():
    """All of it, with what is wrong; the others are as they were."""
    found = made(Entry({**GOOD}, "Good"), Entry({**BAD}, "Bad", line=7))
    text = accepted(found)
    assert [each.name for each in load(Path("r.yaml"), {}, text.encode()).config.backends] == ["good"]
    (left,) = found.left_out
    assert (left.what, left.line) == ("backend bad", 7)
    assert "max_in_flight" in left.why
    assert "  # - name: bad\n" in text
    assert "# Bad (line 7). Not used: " in text


def test_routes_lead_to_what_there_is():
    """Those that lead nowhere are left out; so is one that router.yaml can't have."""
    found = made(
        Entry({**GOOD}),
        Entry({**BAD, "models": ["gone"]}),
        fine=Route(["m"]),
        shorter=Route(["gone", "m"], line=3),
        gone=Route(["gone"], line=4),
        odd=Route(["m"], {"set": {"stream": True}}),
    )
    accepted(found)
    assert {name: route.to for name, route in found.routes.items()} == {"fine": ["m"], "shorter": ["m"]}
    assert [each.what for each in found.left_out] == ["backend bad", "route shorter", "route gone", "route odd"]


def test_a_backend_that_is_asked_for_its_models_may_have_any():
    found = made(Entry({"name": "a", "url": "http://127.0.0.1:1"}), fine=Route(["whatever"]))
    accepted(found)
    assert list(found.routes) == ["fine"]


def test_a_route_never_takes_a_models_name():
    """As an alias may have it in another program, where the model wins."""
    found = made(Entry({**GOOD}), m=Route(["m"], {"hidden": True}, line=5))
    accepted(found)
    assert not found.routes
    assert [(each.what, each.line) for each in found.left_out] == [("route m", 5)]


def test_a_section_that_can_not_be_used_is_left_out():
    found = made(Entry({**GOOD}))
    found.sections = {"limits": {"retries": 99}, "balance": {"policy": "random"}}
    accepted(found)
    assert list(found.sections) == ["balance"]
    assert "99" in found.left_out[0].why


def test_nothing_that_can_be_used():
    with pytest.raises(ConfigError):
        accepted(made(Entry({**BAD})))


@pytest.mark.parametrize(
    "odd", ["a\nb: c", 'quo"te', "back\\slash", "true", "007", "a #b", "- x", "{port}", "é", " x "]
)
def test_text_stays_what_it_is(odd):
    """Whatever it looks like in YAML."""
    found = made(Entry({"name": "a", "launch": {"cmd": ["x", odd, "{port}"], "env": {"V": odd}}}, f"About {odd}"))
    launch = load(Path("r.yaml"), {}, accepted(found).encode()).config.backends[0].launch
    assert launch is not None
    assert launch.cmd[1] == launch.env["V"] == odd


def test_names_are_each_their_own():
    """Letters' case doesn't count."""
    names = Names()
    wishes = ["qwen3:8b", "Qwen3-8B", "org/qwen3:8b", "日本", "…", "x" * 80, "x" * 80]
    made = [names.new(each) for each in wishes]
    assert made[:5] == ["qwen3-8b", "qwen3-8b-2", "org-qwen3-8b", "model", "model-2"]
    assert len({each.casefold() for each in made}) == len(made)
    assert max(map(len, made)) == 64


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("http://a:1/v1?api-version=2", "http://a:1/v1?api-version=2"),
        ("https://me:secret@a/v1", "${BOX_URL}"),
        ("https://a/v1?key=secret", "${BOX_URL}"),
    ],
)
def test_a_url_with_a_secret_is_a_variable(url, written):
    """Without which the router doesn't start."""
    found = made()
    assert found.url(url, "box", "where it is") == written
    assert all(each.needed and each.is_url for each in found.variables.values())


def test_numbers_and_times():
    """As others write them."""
    assert [whole(each) for each in (5, "5", 5.0, 5.5, "x", True, None)] == [5, 5, 5, None, None, None, None]
    assert [number(each) for each in (5, "0.5", 1e-6, "1e-06", "x", True)] == [5, 0.5, 1e-6, 1e-6, None, None]
    assert [duration(each) for each in (0.2, 90, 300, 7200, 1e12)] == ["1s", "90s", "5m", "2h", "8760h"]
