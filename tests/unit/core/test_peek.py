import json
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.errors import BadRequestError
from router.core.peek import MAX_NAME, STAYS, Stay, peek
from router.core.reshape import reshaped

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model": "m"}', ("m", False, None)),
        (b'{"model": "m", "stream": null}', ("m", False, None)),
        (b'{"stream": true, "x": {"model": "no", "priority": 1}, "model": "m"}', ("m", True, None)),
        (b'{"model": "a", "model": "m"}', ("m", False, None)),  # the last counts, as for the engines
        ('{"model": "möd/el:7b"}'.encode(), ("möd/el:7b", False, None)),
        (b'{"priority": -3, "model": "m", "stream": true}', ("m", True, -3)),
        (b'{"model": "m", "priority" :\n 0 , "priority":12 }', ("m", False, 12)),
    ],
)
def test_peek(body, expected):
    """The model, the wish for a stream and the priority are found wherever they stand."""
    assert peek(body) == (*expected, None)


@pytest.mark.parametrize(
    "said", ["null", "true", "1.0", "1e2", '"5"', '"high"', "[]", "[5]", '{"of": 5}', "-0.5", "9" * 5000]
)
def test_a_priority_that_is_no_whole_number(said):
    """Is nobody's mistake: another API may use the word in its own way."""
    assert peek(b'{"model": "m", "priority": %s}' % said.encode()) == ("m", False, None, None)


@pytest.mark.parametrize(
    ("body", "said", "param"),
    [
        (b"", "not valid JSON", None),
        (b"model=m", "not valid JSON", None),
        (b'{"model": "m"', "not valid JSON", None),
        (b'{"model": "m"} {}', "not valid JSON", None),
        (b'{"model": "\xff"}', "not valid JSON", None),
        (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not valid JSON", None),
        (b"[]", "object", None),
        (b'"m"', "object", None),
        (b"{}", "names no model", "model"),
        (b'{"model": null}', "names no model", "model"),
        (b'{"model": ""}', "names no model", "model"),
        (b'{"model": 7}', "str", "model"),
        (b'{"model": "m", "stream": "yes"}', "bool", "stream"),
    ],
)
def test_peek_refuses(body, said, param):
    """What can't be routed is refused in one sentence, with the field at fault."""
    with pytest.raises(BadRequestError, match=said) as caught:
        peek(body)
    assert caught.value.param == param


@pytest.mark.parametrize("text", [r"cut \ud83d", r"\uDE00 cut", r"\ud83d\ud83d\ude00", r"\\\ud83d"])
def test_half_a_pair_of_surrogates_is_told_as_what_it_is(text):
    body = rb'{"model":"m","messages":[{"content":"%s"}]}' % text.encode()
    with pytest.raises(BadRequestError, match="half of a surrogate pair"):
        peek(body)


@pytest.mark.parametrize("text", [r"\ud83d\ude00", r"\\ud83d", r"\ufffd"])
def test_whole_pairs_are_none_of_that(text):
    assert peek(rb'{"model":"m","messages":[{"content":"%s"}]}' % text.encode())[0] == "m"
    with pytest.raises(BadRequestError) as caught:
        peek(rb'{"model":"m","messages":[{"content":"%s"}' % text.encode())
    assert "surrogate" not in caught.value.message


def test_a_models_name_is_bounded():
    """It goes into errors and logs; in characters, not bytes."""
    assert peek(b'{"model": "%s"}' % ("ü" * MAX_NAME).encode())[0] == "ü" * MAX_NAME
    with pytest.raises(BadRequestError, match=f"more than {MAX_NAME} characters") as caught:
        peek(b'{"model": "%s"}' % ("ü" * (MAX_NAME + 1)).encode())
    assert caught.value.param == "model"
    assert len(caught.value.message) < 100


@given(st.dictionaries(st.text(), values), st.text(min_size=1), st.text(min_size=1))
def test_renamed_changes_the_model_alone(fields, before, after):
    """All else means what it meant."""
    fields["model"] = before
    for ascii_only in (True, False):
        body = json.dumps(fields, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        if "\\ud" not in json.dumps(fields).lower():
            assert json.loads(reshaped(body, None, after)) == {**fields, "model": after}


def test_renamed_copies_numbers_as_they_stood():
    """No number is rounded on the way."""
    assert b"0.10000000000000000000001" in reshaped(b'{"model":"a","x":0.10000000000000000000001}', None, "b")


@pytest.mark.parametrize(
    "body", [b'{"model": "m", "\xff": 1}', b'{"model": "m", "\xed\xa0\x80": 1}', b'{"model": "m", 1: 2}']
)
def test_renamed_refuses_field_names_that_are_no_text(body):
    """What peek passes over is the client's mistake all the same."""
    with pytest.raises(BadRequestError, match="not valid JSON"):
        reshaped(body, None, "b")


# For how long a model stays loaded


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ('"keep_alive": 300', 300.0),
        ('"keep_alive": 1.5', 1.5),
        ('"keep_alive": 0', 0.0),
        ('"keep_alive": -1', inf),
        ('"keep_alive": "5m"', 300.0),
        ('"keep_alive": "1h30m"', 5400.0),
        ('"keep_alive": "1.5h10s250ms"', 5410.25),
        ('"keep_alive": "+2us"', 2e-6),
        ('"keep_alive": "0"', 0.0),
        ('"keep_alive": "300"', 300.0),
        ('"keep_alive": "-1"', inf),
        ('"keep_alive": "-0"', 0.0),
        ('"keep_alive": 1e300', inf),
        ('"keep_alive": "87600h"', 315360000.0),
        ('"keep_alive": "999999999999999h"', inf),
        ('"ttl": 1e300', inf),
        ('"keep_alive": "-5m"', inf),
        ('"ttl": 60', 60.0),
        ('"ttl": 0', 0.0),
        ('"ttl": 60, "keep_alive": 5', 5.0),
        ('"ttl": 60, "keep_alive": null', 60.0),
        ('"keep_alive": null', None),
        ('"ttl": null', None),
    ],
)
def test_how_long_a_model_stays_loaded(fields, seconds):
    """As Ollama's clients say it, and LM Studio's. Null is said, and says nothing."""
    stay = peek(f'{{"model": "m", {fields}}}'.encode())[3]
    assert isinstance(stay, Stay)
    assert stay.seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("keep_alive", value)
            for value in ('"soon"', '""', '"5 m"', '"5m5"', "true", "[]", '{"s": 5}', '"5m-"', "1e999")
        ),
        *(("ttl", value) for value in ('"5m"', "-1", "true", "[60]")),
    ],
)
def test_a_stay_that_nobody_understands_is_refused(name, value):
    """With what is expected, and the field at fault."""
    with pytest.raises(BadRequestError, match=f"Give {name} as for ") as caught:
        peek(f'{{"model": "m", "{name}": {value}}}'.encode())
    assert caught.value.param == name
    assert name in STAYS


@pytest.mark.parametrize(
    ("said", "streams"),
    [(b"", True), (b', "stream": null', True), (b', "stream": false', False), (b', "stream": true', True)],
)
def test_an_api_that_streams_unless_asked_otherwise(said, streams):
    """Ollama's does."""
    assert peek(b'{"model": "m"%s}' % said, streams=True)[1] is streams
