import json

import pytest

from scripts.stress.prompts import ChatTurn, read

TALK = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}, {"from": "human", "value": "Bye"}]
TURNS = (ChatTurn("Hi", "Hello"), ChatTurn("Bye"))


@pytest.mark.parametrize(
    ("text", "conversations"),
    [
        ("One\n\n  Two \n", ((ChatTurn("One"),), (ChatTurn("Two"),))),
        ('{"prompt": "One"}\n{"text": "Two"}\n"Three"', ((ChatTurn("One"),), (ChatTurn("Two"),), (ChatTurn("Three"),))),
        (json.dumps({"messages": [{"role": "system", "content": "Be"}, {"role": "user", "content": "Hi"}]}),
         ((ChatTurn("Hi"),),)),
        (json.dumps([{"id": "x", "conversations": TALK}]), (TURNS,)),
        (json.dumps([{"conversations": []}, 3, {"conversations": TALK}]), (TURNS,)),
        (json.dumps([{"conversations": [{"from": "gpt", "value": "Answer of nothing"}, *TALK]}]), (TURNS,)),
        (json.dumps([{"conversations": [{"from": "human", "value": None}, *TALK]}]), (TURNS,)),
        ("[not JSON, but a list", None),
        ("[]", None),
        ("", None),
        ("{'prompt'}", None),
    ],
)  # fmt: skip
def test_forms(tmp_path, text, conversations):
    """Plain, JSON lines, ShareGPT's; what is broken or empty is refused with the file's name."""
    path = tmp_path / "prompts"
    path.write_text(text)
    if conversations is None:
        with pytest.raises(ValueError, match=str(path)):
            read(path)
    else:
        assert read(path) == conversations
