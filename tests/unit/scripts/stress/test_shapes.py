import json
from random import Random

import pytest

from scripts.stress.distribution import Distribution
from scripts.stress.prompts import ChatTurn
from scripts.stress.shapes import Person, Shape, words


def asks(shape, count, seed=1):
    person = Person(shape, Random(seed))
    return [person.ask() for _ in range(count)]


def test_a_seed_asks_the_same_again():
    """Byte for byte; another seed asks something else."""
    shape = Shape(turns=Distribution("uniform", 1, 4), shared=0.5, stream=0.5, leave=0.5)
    bodies = [[ask.body("demo", "chat/completions", {}) for ask in asks(shape, 50, seed)] for seed in (1, 1, 2)]
    assert bodies[0] == bodies[1] != bodies[2]


def test_unique_conversations_don_t_begin_alike():
    """Not with the same seed either; but for that, they are the same."""
    one, other = (asks(Shape(unique=True), 5)[0].messages[0]["content"].split(" ", 1) for _ in range(2))
    assert one[0] != other[0]
    assert one[1] == other[1]


def test_conversations_grow():
    """Each turn repeats what was said before it; then a new conversation begins."""
    first, second, third, new = asks(Shape(turns=Distribution("constant", 3)), 4)
    assert [len(ask.messages) for ask in (first, second, third, new)] == [1, 3, 5, 1]
    assert third.messages[:3] == second.messages
    assert second.messages[1]["role"] == "assistant"


def test_shares():
    """Of system prompts, of streams, and of those who leave: only a stream can be left, before its end."""
    shape = Shape(shared=0.4, shared_words=7, stream=0.7, leave=0.5, answer=Distribution("constant", 10))
    many = asks(shape, 5000)
    beginnings = [ask.messages[0]["content"] for ask in many if ask.messages[0]["role"] == "system"]
    assert len(beginnings) / 5000 == pytest.approx(0.4, abs=0.05)
    assert len(set(beginnings)) == 4
    assert {len(each.split()) for each in beginnings} == {7}
    assert sum(ask.stream for ask in many) / 5000 == pytest.approx(0.7, abs=0.05)
    left = [ask for ask in many if ask.leave_after]
    assert len(left) / 5000 == pytest.approx(0.35, abs=0.05)
    assert all(ask.stream and 1 <= ask.leave_after <= 5 for ask in left)


def test_conversations_of_a_file():
    """They are asked as they stand, answers and all."""
    shape = Shape(conversations=((ChatTurn("What?", "This."), ChatTurn("Why?")),))
    assert asks(shape, 2)[1].messages == (
        {"role": "user", "content": "What?"},
        {"role": "assistant", "content": "This."},
        {"role": "user", "content": "Why?"},
    )


def test_bodies():
    """Of both APIs, with the fields that were asked for besides."""
    (ask,) = asks(Shape(conversations=((ChatTurn("What?"),),), answer=Distribution("constant", 9)), 1)
    chat = json.loads(ask.body("demo", "chat/completions", {"ignore_eos": True}))
    assert chat == {
        "model": "demo", "messages": [{"role": "user", "content": "What?"}], "max_tokens": 9, "stream": True,
        "ignore_eos": True,
    }  # fmt: skip
    assert json.loads(ask.body("demo", "completions", {}))["prompt"] == "What?"


@pytest.mark.parametrize("count", [1, 20, 8192, 20_000])
def test_words_are_as_many_as_asked_for(count):
    """Short or long."""
    assert len(words(count, Random(3)).split()) == count
