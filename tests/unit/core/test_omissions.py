import json

import pytest

from router.core.catalog import Backend, Candidate
from router.core.omissions import LASTS, MOST, MOST_OF_ONE, NONE, Omission, Omissions, refused, without

THOUGHTS = "messages.reasoning_content"
MESSAGES = [
    {"role": "user", "content": "reasoning_content"},
    {"role": "assistant", "content": "Hello", "reasoning_content": "Hm."},
]
SENT = {
    "model": "m",
    "messages": MESSAGES,
    "max_tokens": 9,
    "temperature": 0.5,
    "top_k": 5,
    "reasoning_effort": "max",
    "chat_template_kwargs": {"enable_thinking": False},
    "stream_options": {"include_usage": True},
    "tools": [{"type": "function", "function": {"name": "f", "strict": True}}],
    "stop": ["x"],
}


def encoded(value):
    return json.dumps(value, separators=(",", ":")).encode()


def found(said, status=400, sent=SENT, before=NONE, *, is_openais=False):
    said = said if isinstance(said, bytes) else encoded(said)
    return refused(status, said, encoded(sent), before, is_openais=is_openais)


def error(message, **fields):
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}}


EXTRA = {"type": "extra_forbidden", "msg": "Extra inputs are not permitted"}


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        (error("Unrecognized request argument supplied: top_k"), {"top_k"}),
        (
            error("Unrecognized request arguments supplied: top_k, chat_template_kwargs"),
            {"top_k", "chat_template_kwargs"},
        ),
        (
            error("Unknown parameter: 'messages[1].reasoning_content'.", param="messages[1].reasoning_content"),
            {THOUGHTS},
        ),
        (error("", param="chat_template_kwargs.enable_thinking", code="unknown_parameter"), {"chat_template_kwargs"}),
        (
            error("Additional properties are not allowed ('reasoning_content' was unexpected) - 'messages.1'"),
            {THOUGHTS},
        ),
        (
            error("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."),
            {"max_tokens"},
        ),
        (
            {"detail": [{"loc": ["body", "stream_options"], **EXTRA, "input": {"include_usage": True}}]},
            {"stream_options"},
        ),
        (
            {"message": {"detail": [{**EXTRA, "loc": ["body", "messages", 1, "assistant", "reasoning_content"]}]}},
            {THOUGHTS},
        ),
        ({"message": json.dumps({"detail": [{"loc": ["body", "top_k"], **EXTRA}]})}, {"top_k"}),
        (
            {"detail": [{"loc": ["body", "top_k"], "msg": "extra fields not permitted", "type": "value_error.extra"}]},
            {"top_k"},
        ),
        (
            error("[{'type': 'extra_forbidden', 'loc': ('body', 'top_k'), 'msg': 'Extra inputs are not permitted'}]"),
            {"top_k"},
        ),
        (
            error("1 validation error for Request\nchat_template_kwargs\n  Extra inputs are not permitted"),
            {"chat_template_kwargs"},
        ),
        (error("messages.1.reasoning_content: Extra inputs are not permitted"), {THOUGHTS}),
        (error("Extra inputs are not permitted, field: 'top_k', value: 5"), {"top_k"}),
        (error("property 'top_k' is unsupported"), {"top_k"}),
        (
            error(
                "'messages.1' : for 'role:assistant' the following must be satisfied[('messages.1' : property"
                " 'reasoning_content' is unsupported, did you mean 'content'?)]"
            ),
            {THOUGHTS},
        ),
        (
            {
                "message": "messages.1.assistant.reasoning_content: property"
                " 'messages.1.assistant.reasoning_content' is unsupported",
                "code": "wrong_api_format",
            },
            {THOUGHTS},
        ),
        (error('Invalid JSON payload received. Unknown name "top_k": Cannot find field.'), {"top_k"}),
        (error("Model m does not support parameter reasoning_effort."), {"reasoning_effort"}),
        (error("`reasoning_effort` is not supported with this model"), {"reasoning_effort"}),
        (
            b"Failed to deserialize the JSON body: unknown field `top_k`, expected one of `model`, `temperature`",
            {"top_k"},
        ),
        (b'json: unknown field "top_k"', {"top_k"}),
        (error("Malformed input request: #: extraneous key [top_k] is not permitted"), {"top_k"}),
        (error("tools.0.function.strict: Extra inputs are not permitted"), {"tools.function.strict"}),
    ],
)
def test_the_fields_that_a_server_does_not_know(said, fields):
    """In the words of many servers; nothing else that these words name."""
    assert found(said) == {Omission(each) for each in fields}
    assert found(said, 422) == found(said)


@pytest.mark.parametrize(
    ("said", "omission"),
    [
        (
            error(
                "Unsupported value: 'temperature' does not support 0.5 with this model.",
                param="temperature",
                code="unsupported_value",
            ),
            Omission("temperature", b"0.5"),
        ),
        (
            error("Unsupported value: 'temperature' does not support 0.5 with this model."),
            Omission("temperature", b"0.5"),
        ),
        (
            error(
                "Invalid value: 'max'. Supported values are: 'low', 'medium', and 'high'.",
                param="reasoning_effort",
                code="invalid_value",
            ),
            Omission("reasoning_effort", b'"max"'),
        ),
        (error("`reasoning_effort` must be one of `none` or `default`"), Omission("reasoning_effort", b'"max"')),
    ],
)
def test_a_value_that_a_server_does_not_know(said, omission):
    """Is left out alone: other values of the field are sent."""
    assert found(said) == {omission}
    sent = encoded(SENT)
    assert omission.field not in json.loads(without(sent, {omission}))
    other = encoded({omission.field: "low"})
    assert without(other, {omission}) is other


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (error("Unrecognized request argument supplied: stop"), 400),  # the answer would be another one
        (error("Unrecognized request argument supplied: min_p"), 400),  # it wasn't sent
        (error("Unrecognized request argument supplied: top_k"), 500),
        (error("max_tokens is too large: 9.", param="max_tokens", code="invalid_value"), 400),
        (error("'temperature' must be at most 2.", param="temperature", code="decimal_above_max_value"), 400),
        (error("This model's maximum context length is 8192 tokens.", code="context_length_exceeded"), 400),
        ({"detail": [{**EXTRA, "loc": ["body", "messages", 0, "user", "top_k"]}]}, 422),
        (b"", 400),
    ],
)
def test_other_errors_are_the_clients(said, status):
    """Nothing is left out for them."""
    assert found(said, status) == NONE


@pytest.mark.parametrize(
    "said",
    [
        b"a" * 65000,
        b"a," * 32000,
        b"a " * 32000,
        b"unknown field a" + b",a" * 32000,
        b"unknown field a," * 4000,
        b"unknown field" + b" " * 65000,
        b"does not support" + b" the" * 16000,
        b"\\" * 65000,
        b"'" * 65000,
        b"loc': [" * 9000,
        b"extra_forbidden" * 4000,
        b"a" + b" " * 65000,
        b"[" * 65000,
    ],
    ids=lambda said: said[:16].decode(),
)
def test_long_words_that_say_nothing(said):
    """Are read in no time: a search that goes back and forth would take minutes."""
    assert found(said) == NONE


def test_a_long_value_is_not_left_out():
    """It would be remembered."""
    said = error("", param="reasoning_effort", code="invalid_value")
    assert found(said, sent={**SENT, "reasoning_effort": "x" * 100}) == NONE


def test_wishes_in_openais_own_form():
    """Are what the client wrote."""
    said = error("Unsupported parameter: 'temperature' is not supported with this model.")
    assert found(said) == {Omission("temperature")}
    assert found(said, is_openais=True) == NONE


def test_a_limit_is_never_left_out():
    """It is renamed; where one attempt had both names refused, the error stays."""
    said = error("Unknown parameter: 'max_completion_tokens'.")
    known = frozenset({Omission("max_tokens")})
    renamed = without(encoded({"max_tokens": 9}), known)
    assert renamed == encoded({"max_completion_tokens": 9})
    assert refused(400, encoded(said), renamed, known, is_openais=False) == NONE
    both = encoded({"max_tokens": 9, "max_completion_tokens": 5})
    assert without(both, known) == encoded({"max_completion_tokens": 5})


def test_a_limit_gets_its_first_name_again():
    """If a later request's other name is refused: the server was changed meanwhile."""
    far, omissions = Candidate(Backend("b"), "m"), Omissions()
    omissions.learn(far, frozenset({Omission("max_tokens"), Omission("top_k")}), 0.0)
    sent = without(encoded({"max_tokens": 9}), omissions.of(far, 1.0))
    said = encoded(error("Unknown parameter: 'max_completion_tokens'."))
    again = refused(400, said, sent, NONE, is_openais=False)
    omissions.learn(far, again, 1.0)
    assert omissions.of(far, 1.0) == {Omission("max_completion_tokens"), Omission("top_k")}
    assert without(encoded({"max_tokens": 9}), omissions.of(far, 1.0)) == encoded({"max_tokens": 9})


def test_fields_inside_of_others():
    """Leave the rest as it is; a message that was nothing else goes with them, one that was empty before stays."""
    alone = {"role": "assistant", "content": "", "reasoning_content": "Hm."}
    empty = {"role": "assistant", "content": ""}
    sent = {"messages": [*MESSAGES, alone, empty], "tools": SENT["tools"], "response_format": {"type": "text"}}
    omissions = {Omission(THOUGHTS), Omission("tools.function.strict"), Omission("response_format.json_schema.strict")}
    assert json.loads(without(encoded(sent), omissions)) == {
        "messages": [MESSAGES[0], {"role": "assistant", "content": "Hello"}, empty],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "response_format": {"type": "text"},
    }


@pytest.mark.parametrize("tools", ["strict", ["strict"], {"strict": 1}, {"x": "strict"}])
def test_what_is_no_object_stays(tools):
    """Nothing is known of its fields."""
    sent = {"tools": tools}
    assert json.loads(without(encoded(sent), {Omission("tools.function.strict")})) == sent


def test_what_is_remembered():
    """For one model of one backend, and for a time that a later refusal doesn't lengthen."""
    near, far = Candidate(Backend("a"), "m"), Candidate(Backend("b"), "m")
    first, second = frozenset({Omission("top_k")}), frozenset({Omission("user")})
    omissions = Omissions()
    omissions.learn(far, first, 10.0)
    omissions.learn(far, second, 20.0)
    assert omissions.of(far, 9.0 + LASTS) == first | second
    assert omissions.of(near, 20.0) == omissions.of(far._replace(model="n"), 20.0) == NONE
    assert omissions.of(far, 10.0 + LASTS) == NONE
    omissions.learn(far, second, 11.0 + LASTS)
    assert omissions.of(far, 12.0 + LASTS) == second


def test_what_is_forgotten():
    """With a backend, what it has refused; beyond the most, the oldest, and values before fields."""
    omissions, backend = Omissions(), Backend("a")
    candidates = [Candidate(backend, str(number)) for number in range(MOST + 1)]
    for each in candidates:
        omissions.learn(each, frozenset({Omission("user")}), 0.0)
    assert omissions.of(candidates[0], 0.0) == NONE
    last = candidates[-1]
    for number in range(MOST_OF_ONE):
        omissions.learn(last, frozenset({Omission("temperature", b"%d" % number)}), 0.0)
    assert omissions.of(last, 0.0) == {Omission("user"), Omission("temperature", b"%d" % (MOST_OF_ONE - 1))}
    omissions.learn(other := Candidate(Backend("b"), "m"), frozenset({Omission("user")}), 0.0)
    omissions.forget(backend)
    assert omissions.of(last, 0.0) == NONE
    assert omissions.of(other, 0.0)
