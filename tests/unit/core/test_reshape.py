import json
from contextlib import suppress
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.errors import BadRequestError
from router.core.reshape import Reshape, limited, reshaped, with_one_model

names = st.sampled_from(["model", "temperature", "max_tokens", "messages", "user", "ü"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=5,
)
bodies = st.dictionaries(names, values)


def shaped(body: str, model: str | None = None, **rules) -> str:
    return reshaped(body.encode(), Reshape(**rules), model).decode()


@pytest.mark.parametrize(
    ("rules", "body", "expected"),
    [
        ({"set": {"t": 0}}, '{"m": 1}', '{"m":1,"t":0}'),
        ({"set": {"t": 0}}, '{"t": 1.5, "m": 1}', '{"t":0,"m":1}'),
        ({"set": {"t": None}}, '{"t": 1}', '{"t":null}'),
        ({"set": {"t": {"a": [1, "ü"]}}}, "{}", '{"t":{"a":[1,"ü"]}}'),
        ({"set": {"t": MappingProxyType({"a": (1, MappingProxyType({}))})}}, "{}", '{"t":{"a":[1,{}]}}'),
        ({"default": {"t": 0}}, "{}", '{"t":0}'),
        ({"default": {"t": 0}}, '{"t": null}', '{"t":0}'),
        ({"default": {"t": 0}}, '{"t": 1}', '{"t":1}'),
        ({"default": {"t": 0}}, '{"t": false}', '{"t":false}'),
        ({"at_most": {"t": 9}}, '{"t": 10}', '{"t":9}'),
        ({"at_most": {"t": 9}}, '{"t": 9}', '{"t":9}'),
        ({"at_most": {"t": 9}}, '{"t": 9.0}', '{"t":9.0}'),
        ({"at_most": {"t": 9}}, '{"t": -10}', '{"t":-10}'),
        ({"at_most": {"t": 9}}, '{"t": "10"}', '{"t":9}'),
        ({"at_most": {"t": 9}}, '{"t": "8"}', '{"t":"8"}'),
        ({"at_most": {"t": 9}}, '{"t": "1 0"}', '{"t":"1 0"}'),
        ({"at_most": {"max_tokens": 9}}, '{"max_tokens": -1}', '{"max_tokens":9}'),
        ({"at_most": {"max_tokens": 9}}, '{"max_completion_tokens": "-1"}', '{"max_completion_tokens":9}'),
        ({"at_most": {"max_tokens": 9}}, '{"n_predict": 40}', '{"n_predict":9}'),
        ({"at_most": {"t": 0.5}}, '{"t": 5.1e-1}', '{"t":0.5}'),
        ({"at_most": {"t": 0.5}}, '{"t": 1E999}', '{"t":0.5}'),
        ({"at_most": {"t": 9}}, '{"t": 123456789012345678901234567890}', '{"t":9}'),
        ({"at_most": {"t": -1}}, '{"t": 0}', '{"t":-1}'),
        *[
            ({"at_most": {"t": 9}}, f'{{"t":{odd}}}', f'{{"t":{odd}}}')
            for odd in ('"ten"', "true", "null", "[10]", "{}")
        ],
        ({"at_most": {"t": 9}}, "{}", "{}"),
        ({"strip": ("t", "u")}, '{"t": 1, "m": 2}', '{"m":2}'),
        ({"default": {"t": 7}, "at_most": {"t": 9}}, '{"t": 10}', '{"t":9}'),
    ],
)
def test_each_rule(rules, body, expected):
    """What is set is written over, a default fills in, a bound lowers numbers alone, what is stripped is gone."""
    assert shaped(body, **rules) == expected


def test_all_at_once_with_the_models_name():
    """One pass does it all; what no rule names stands as it stood."""
    body = (
        '{"model": "best", "messages": [ {"x":1} ], "n": 0.10000000000000000000001, '
        '"logit_bias": {}, "max_tokens": 5000}'
    )
    rules = {"set": {"temperature": 0}, "at_most": {"max_tokens": 1024}, "strip": ["logit_bias"]}
    assert shaped(body, "llama", **rules) == (
        '{"model":"llama","messages":[ {"x":1} ],"n":0.10000000000000000000001,"max_tokens":1024,"temperature":0}'
    )


@pytest.mark.parametrize(
    ("rules", "body", "expected"),
    [
        ({"at_most": {"max_tokens": 9}}, '{"max_completion_tokens":10}', '{"max_completion_tokens":9}'),
        ({"at_most": {"max_completion_tokens": 9}}, '{"max_tokens":10}', '{"max_tokens":9}'),
        (
            {"at_most": {"max_tokens": 9, "max_completion_tokens": 5}},
            '{"max_tokens":10,"max_completion_tokens":10}',
            '{"max_tokens":9,"max_completion_tokens":5}',
        ),
        ({"default": {"max_tokens": 9}}, '{"max_completion_tokens":10}', '{"max_completion_tokens":10}'),
        (
            {"default": {"max_tokens": 9}},
            '{"max_completion_tokens":null}',
            '{"max_completion_tokens":null,"max_tokens":9}',
        ),
        ({"set": {"max_tokens": 9}}, '{"max_completion_tokens":10}', '{"max_tokens":9}'),
        (
            {"set": {"max_tokens": 9, "max_completion_tokens": 5}},
            '{"max_completion_tokens":10}',
            '{"max_completion_tokens":5,"max_tokens":9}',
        ),
        ({"strip": ["max_tokens"]}, '{"max_completion_tokens":10,"max_tokens":5}', '{"max_completion_tokens":10}'),
    ],
)
def test_a_limit_has_two_names_and_neither_gets_past_its_rule(rules, body, expected):
    """Most clients say max_completion_tokens now; what router.yaml says of max_tokens is meant for it, too."""
    assert json.loads(shaped(body, **rules)) == json.loads(expected)


@pytest.mark.parametrize(
    ("rules", "body", "expected"),
    [
        ({"at_most": {"max_tokens": 9}}, {"limit": 10}, {"limit": 9}),
        ({"at_most": {"max_completion_tokens": 9}}, {"limit": 10}, {"limit": 9}),
        ({"default": {"max_tokens": 9, "t": 1}}, {"limit": 10}, {"limit": 10, "t": 1}),
        ({"default": {"max_completion_tokens": 9}}, {}, {"limit": 9}),
        ({"set": {"max_tokens": 9}}, {"limit": 10}, {"limit": 9}),
        ({"set": {"max_completion_tokens": 9}}, {}, {"limit": 9}),
        ({"strip": ["max_tokens", "t"]}, {"limit": 10, "t": 1}, {}),
    ],
)
def test_an_api_with_another_name_of_the_limit(rules, body, expected):
    """What router.yaml says of max_tokens is meant for it."""
    rule = Reshape(**rules).with_limit("limit")
    assert json.loads(reshaped(json.dumps(body).encode(), rule, None)) == expected


@pytest.mark.parametrize(
    ("strip", "left"),
    [
        (["tools"], {"functions": [], "function_call": "auto", "logprobs": True, "top_logprobs": 2}),
        (["functions", "logprobs"], {"tools": [], "tool_choice": "required", "parallel_tool_calls": False}),
    ],
)
def test_what_means_nothing_without_a_field_goes_with_it(strip, left):
    """Engines refuse a choice among no tools."""
    every = {
        "tools": [], "tool_choice": "required", "parallel_tool_calls": False, "functions": [], "function_call": "auto",
        "logprobs": True, "top_logprobs": 2,
    }  # fmt: skip
    assert json.loads(shaped(json.dumps(every), strip=strip)) == left


def test_of_a_field_given_twice_the_last_counts():
    """As it does for the engines."""
    assert shaped('{"t": 1, "t": 20}', at_most={"t": 9}) == '{"t":9}'


@given(bodies)
def test_without_rules_nothing_changes_but_the_name(fields):
    """No rules and no model leave a body's meaning; a model changes that alone."""
    body = json.dumps(fields).encode()
    assert json.loads(reshaped(body, None, None)) == fields
    assert json.loads(reshaped(body, Reshape(), "m")) == {**fields, "model": "m"}


def number_in(value: object) -> float | None:
    """Give a number, or the one that stands in a text."""
    if isinstance(value, str) and value[:1] in set("-0123456789"):
        with suppress(ValueError):
            return float(json.dumps(value).strip('"').encode())
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


@given(bodies, bodies, bodies, st.dictionaries(names, st.integers(-9, 9)), st.lists(names))
def test_it_does_what_the_rules_say(fields, always, default, at_most, strip):
    """Against the same rules in plain Python, on what was decoded."""
    expected = {name: value for name, value in fields.items() if name not in strip}
    expected |= {name: value for name, value in default.items() if expected.get(name) is None}
    expected |= always
    for name, most in at_most.items():
        value = number_in(expected.get(name))
        if value is not None and (value > most or (name == "max_tokens" and value < 0)):
            expected[name] = most
    reshape = Reshape(always, default, at_most, strip)
    assert json.loads(reshaped(json.dumps(fields).encode(), reshape, None)) == expected


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"\xff": 1}', b'{"\xed\xa0\x80": 1}', b"{1: 2}", b'{"a":1}x'])
def test_what_is_no_object_is_the_clients_mistake(body):
    """It is refused as it would be for a name alone."""
    with pytest.raises(BadRequestError, match="not valid JSON"):
        reshaped(body, Reshape(strip=["t"]), None)


def test_fields_can_be_left_out_though_a_route_sets_nothing():
    """What the router alone understands; all others stay as they came."""
    body = b'{"keep_alive":"5m","model":"m","x":1.50,"ttl":7}'
    assert reshaped(body, None, "n", ("keep_alive", "ttl", "absent")) == b'{"model":"n","x":1.50}'


def test_rules_are_parted_by_their_fields():
    """Those of one API's own fields come before a translation, the others after it."""
    rules = Reshape(
        {"system": "S", "top_p": 1},
        {"think": True, "stop": "x"},
        {"num_predict": 3, "max_tokens": 5},
        ["options", "seed"],
    )
    own = frozenset({"system", "think", "num_predict", "options"})
    body = b'{"options": 1, "seed": 1, "num_predict": 9, "max_tokens": 9}'
    before = json.loads(reshaped(body, rules.only(own, inside=True), None))
    after = json.loads(reshaped(body, rules.only(own, inside=False), None))
    assert before == {"seed": 1, "num_predict": 3, "max_tokens": 9, "system": "S", "think": True}
    assert after == {"options": 1, "num_predict": 9, "max_tokens": 5, "top_p": 1, "stop": "x"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"max_tokens":-1,"x":1}', b'{"x":1}'),
        (b'{"max_tokens":-10}', b'{"max_tokens":-10}'),
        (b'{"max_tokens":9,"x":{"max_tokens":-1}}', b'{"max_tokens":9,"x":{"max_tokens":-1}}'),
        (b'{"max_tokens": -1}', b'{"max_tokens": -1}'),  # not as it is written here
    ],
)
def test_a_limit_that_is_none_is_left_out(body, expected):
    """Where a route has let it be."""
    assert limited(body) == expected


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b'{"model": "m", "n": 1.50}', b'{"model": "m", "n": 1.50}'),
        (b'{"model": "x", "model": "m"}', b'{"model":"m"}'),
        (b'{"model": "m", "Model": "x", "MODEL": "y", "models": 1.50}', b'{"model":"m","models":1.50}'),
        (b'{"model": "m", "\\u004dodel": "x"}', b'{"model":"m"}'),
        (b'{"\\u006dodel": "m", "a": "\\u00e4"}', b'{"model":"m","a":"\\u00e4"}'),
        (b'{"model": "m", "a": {"Model": 1}}', b'{"model":"m","a":{"Model": 1}}'),
        (b'{"model": "m", "a": "say \\"model\\""}', b'{"model": "m", "a": "say \\"model\\""}'),
    ],
)
def test_a_body_with_one_model(body, sent):
    """However servers read it; one that has a single one passes as it is."""
    assert with_one_model(body, "m") == sent


def test_a_body_with_one_model_and_a_name_that_is_no_text():
    with pytest.raises(BadRequestError):
        with_one_model(b'{"model": "m", "Model": 1, "\xff": 1}', "m")
