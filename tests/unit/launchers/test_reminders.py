import json

import pytest

from launchers.engines import bodies
from launchers.engines.llama_server import LlamaServer
from launchers.engines.messages import COUNT, MESSAGES
from launchers.engines.reminders import put_reminders_right

USER, ASSISTANT = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}
SYSTEM = {"role": "system", "content": "Be brief."}
REMINDER = {"type": "text", "text": "<system-reminder>\nBe brief.\n</system-reminder>"}
HELLO, BRIEF = {"type": "text", "text": "Hello"}, {"type": "text", "text": "Be brief."}


def put_right(**body: object) -> dict[str, object]:
    """Put a body right; give what it is then."""
    found = {name: bodies.raw(value) for name, value in body.items()}
    put_reminders_right(found)
    return {name: bodies.value(value) for name, value in found.items()}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([USER, SYSTEM], [{"role": "user", "content": [HELLO, REMINDER]}]),
        ([USER, SYSTEM, ASSISTANT], [{"role": "user", "content": [HELLO, REMINDER]}, ASSISTANT]),
        ([USER, ASSISTANT, SYSTEM], [USER, ASSISTANT, {"role": "user", "content": [REMINDER]}]),
        (
            [
                {"role": "user", "content": [HELLO]},
                {"role": "system", "content": [BRIEF]},
            ],
            [{"role": "user", "content": [HELLO, REMINDER]}],
        ),
        ([USER, {"role": "user", "content": 'I say "system"'}], [USER, {"role": "user", "content": 'I say "system"'}]),
        (["odd", SYSTEM], ["odd", {"role": "user", "content": [REMINDER]}]),
    ],
)
def test_a_later_system_message_is_text_of_the_users_turn(messages, expected):
    """Behind what the user says there; other messages stay as they are."""
    assert put_right(messages=messages) == {"messages": expected}


@pytest.mark.parametrize("system", ["Be kind.", [{"type": "text", "text": "Be kind."}]])
def test_a_first_system_message_joins_the_system_prompt(system):
    """As in the translated form."""
    kind, brief = ({"type": "text", "text": text} for text in ("Be kind.", "Be brief."))
    assert put_right(system=system, messages=[SYSTEM, USER]) == {"system": [kind, brief], "messages": [USER]}


@pytest.mark.parametrize("path", [MESSAGES, COUNT])
def test_llama_server_gets_it_so(path):
    """And a count is of the same prompt."""
    body = json.dumps({"model": "m", "max_tokens": 5, "messages": [USER, SYSTEM]}).encode()
    right = json.loads(LlamaServer().put_right(path, body))
    assert right["messages"] == [{"role": "user", "content": [HELLO, REMINDER]}]
