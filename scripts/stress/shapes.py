"""What is asked: prompts and answers of varying length, shared beginnings, growing conversations, people who leave.

A `Person` asks one thing after another, all of it drawn from the generator that it is given: the same seed asks the
same again, byte for byte. The answers that a conversation repeats are written beforehand, not those that came; so what
is asked doesn't depend on the target.
"""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from scripts.stress.distribution import Distribution
from scripts.stress.prompts import ChatTurn, Conversation

_WORDS = (
    "the a one two some many small large old new red green quiet quick river stone house garden city road letter "
    "word number answer question morning evening winter summer water light dark open closed find keep give take "
    "make hold turn walk read write tell ask know think see hear and or but so then when where while over under "
    "beside "
)
_TEXT = Random(0).choices(_WORDS.split(), k=8192)  # noqa: S311  (words, not secrets)
_PREFIXES = 4
"""How many shared beginnings there are."""

_encode = msgspec.json.encode


class Shape(NamedTuple):
    """What people ask. Shares are from 0 to 1; `think` is in seconds, between an answer and the next request."""

    prompt: Distribution = Distribution("lognormal", 20, 0.6)  # words, about as many tokens
    answer: Distribution = Distribution("lognormal", 48, 0.5)  # max_tokens
    turns: Distribution = Distribution("constant", 1)  # of a conversation
    shared: float = 0.0  # of the conversations that begin with one of a few system prompts
    shared_words: int = 100  # of such a system prompt
    stream: float = 1.0
    leave: float = 0.0  # of the streams that are left midway
    think: Distribution = Distribution("constant", 0)
    unique: bool = False  # no two conversations begin alike, whatever the seed; a shared system prompt stays shared
    conversations: tuple[Conversation, ...] = ()  # those of a file; none: they are made up


class DrawnRequest(NamedTuple):
    """One request. The client leaves after `leave_after` tokens (0: never), and then thinks for `think` seconds."""

    messages: tuple[dict[str, str], ...]
    max_tokens: int
    stream: bool
    leave_after: int
    think: float

    def body(self, model: str, endpoint: str, extra: Mapping[str, Any]) -> bytes:
        """Write it for /v1/chat/completions or, its messages one after another, for /v1/completions."""
        words: dict[str, Any] = {"messages": self.messages}
        if endpoint == "completions":
            words = {"prompt": "\n\n".join(message["content"] for message in self.messages)}
        return _encode({"model": model, **words, "max_tokens": self.max_tokens, "stream": self.stream, **extra})


def words(count: int, rng: Random) -> str:
    """Give so many words, from a place in a long text."""
    start = rng.randrange(len(_TEXT))
    return " ".join((_TEXT[start:] + _TEXT)[:count] if count < len(_TEXT) else rng.choices(_TEXT, k=count))


class Person:
    """Somebody who asks, one conversation after another."""

    def __init__(self, shape: Shape, rng: Random) -> None:
        self._shape = shape
        self._rng = rng
        self._asks = self._all()

    def ask(self) -> DrawnRequest:
        """Give the next request."""
        return next(self._asks)

    def _all(self) -> Iterator[DrawnRequest]:
        while True:
            said = self._beginning()
            for number, turn in enumerate(self._conversation()):
                if self._shape.unique and not number:  # not of the seed, which would make it the same again
                    turn = turn._replace(prompt=f"{uuid4()} {turn.prompt}")  # noqa: PLW2901
                said += ({"role": "user", "content": turn.prompt},)
                yield self._asked(said)
                said += ({"role": "assistant", "content": turn.answer},)

    def _beginning(self) -> tuple[dict[str, str], ...]:
        if self._rng.random() >= self._shape.shared:
            return ()
        shared = Random(self._rng.randrange(_PREFIXES))  # noqa: S311
        return ({"role": "system", "content": words(self._shape.shared_words, shared)},)

    def _conversation(self) -> Conversation:
        shape, rng = self._shape, self._rng
        if shape.conversations:
            return rng.choice(shape.conversations)
        made = [(shape.prompt.whole(rng), shape.answer.whole(rng)) for _ in range(shape.turns.whole(rng))]
        return tuple(ChatTurn(words(prompt, rng), words(answer, rng)) for prompt, answer in made)

    def _asked(self, said: tuple[dict[str, str], ...]) -> DrawnRequest:
        shape, rng = self._shape, self._rng
        tokens, stream = shape.answer.whole(rng), rng.random() < shape.stream
        leaves = stream and rng.random() < shape.leave
        return DrawnRequest(
            said, tokens, stream, rng.randint(1, max(1, tokens // 2)) if leaves else 0, shape.think.draw(rng)
        )
