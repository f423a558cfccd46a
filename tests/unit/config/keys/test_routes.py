"""Routes in router.yaml: their forms, and what they may change of a request."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from router.config import RouteConfig
from router.config.problems import dotted
from router.config.scalars import FromEnvironment


def route(**keys: Any) -> RouteConfig:
    return RouteConfig.model_validate({"to": "m", **keys})


def errors(data: object) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        RouteConfig.model_validate(data)
    return [f"{dotted(error['loc'])}: {error['msg']}" for error in caught.value.errors()]


@pytest.mark.parametrize("short", ["m", ["m"], {"to": "m"}, {"to": ["m"], "set": None, "strip": None}])
def test_short_forms(short):
    """A model, a list of models and the whole mapping say the same."""
    assert RouteConfig.model_validate(short) == route()
    assert RouteConfig.model_validate(short).to == ("m",)


def test_a_route_says_what_it_changes():
    """Values are kept as JSON has them, and can't be changed any more."""
    made = route(
        set={"temperature": 0, "stop": ["a", "b"], "chat_template_kwargs": {"thinking": False}, "user": None},
        at_most={"max_tokens": 4096},
        strip="logit_bias",
        next_on=[500, 429],
        policy="random",
        hidden=True,
    )
    assert dict(made.set) == {
        "temperature": 0,
        "stop": ("a", "b"),
        "chat_template_kwargs": {"thinking": False},
        "user": None,
    }
    assert (made.strip, made.next_on, made.policy, made.hidden) == (("logit_bias",), (500, 429), "random", True)
    assert route(next_on=429).next_on == (429,)
    with pytest.raises(TypeError):
        made.set["temperature"] = 1  # type: ignore[index]


def test_the_environment_may_say_a_value():
    """An unquoted word is read as what it looks like, a quoted one is text."""
    made = route(
        set={"n": FromEnvironment("2"), "user": FromEnvironment("2", unquoted=False)},
        at_most={"max_tokens": FromEnvironment("10")},
    )
    assert (dict(made.set), dict(made.at_most)) == ({"n": 2, "user": "2"}, {"max_tokens": 10})


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"set": {"model": "x"}}, "set.model: model is the router's own to read and write"),
        ({"strip": ["a", "stream"]}, "strip[1]: stream is the router's own"),
        ({"set": {"a": {"b": [float("inf")]}}}, "set.a.b[0]: expected a finite number"),
        ({"set": {"a": 2**63}}, "set.a: is a larger number than engines read"),
        ({"set": {"a": "\ud800"}}, "set.a: a program can't be given this text"),
        ({"set": ["a"]}, "set: Value error, expected a mapping"),
        ({"at_most": {"a": "x"}}, "at_most.a: expected a number"),
        ({"at_most": {"a": True}}, "at_most.a: expected a number"),
        ({"next_on": [200]}, "next_on[0]: expected an error's status, 400 to 599"),
        ({"policy": "best"}, "policy: Value error, {got} is not a policy"),
        ({"hidden": "yes"}, "hidden: Value error, expected true or false"),
        ({"sett": {}}, "sett: Extra inputs"),
        ({"set": {"a": 1}, "default": {"a": 2}}, "set.a: stands in `default`, too, which has no effect then"),
        ({"strip": ["b", "a"], "at_most": {"a": 2}}, "strip[1]: stands in `at_most`, too"),
        ({"default": {"a": 3}, "at_most": {"a": 2}}, "default.a: is more than `at_most` allows: 2"),
    ],
)
def test_a_wrong_route(keys, error):
    """Each rule has its error, at its key."""
    assert errors({"to": "m", **keys})[0].startswith(error)


def test_a_value_is_nested_so_deep_at_most():
    """Deeper than any field of an API, but bounded."""
    value: Any = 1
    for _ in range(8):
        value = [value]
    assert route(set={"a": value})
    assert "is nested deeper than 8 levels" in errors({"to": "m", "set": {"a": [value]}})[0]
