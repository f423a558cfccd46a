"""The traffic: jobs, conversations of jobs, and the moments at which these begin.

A body is made as a client would send it, four bytes a token, so that the router's own code finds the prefixes in it.
In a simulation the bodies are not kept: a policy sees an `Ask`, an engine the `Job`. Where they are really sent
(scripts/balance/bench.py), they are.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import exp, log
from random import Random
from typing import NamedTuple

from router.core.affinity import blocks_of
from router.core.estimate.ask import Ask
from scripts.balance.simulation.cache import Path

BYTES_A_TOKEN = 4
MODEL = "simulated"

_LANES = 1 << 16

_BURST = 3.0  # times the mean rate, in a burst; a fifth of the time is one
_QUIET = 0.5  # times the mean rate, between them
_BURST_LASTS, _QUIET_LASTS = 2.0, 8.0  # seconds, on average


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A request, and the work that it will turn out to need, in tokens.

    `path` is the prompt as the prefixes that it may share, `kept` the same with the answer behind it: what an engine's
    cache holds once it has answered. `think` is how many seconds after the turn before it comes. `lane` says, of a
    number of routers, which gets it. `body` is empty, unless its writer keeps them.
    """

    number: int
    ask: Ask
    prompt: int
    answer: int
    path: Path
    kept: Path
    think: float = 0.0
    lane: int = 0
    body: bytes = b""

    @property
    def fresh(self) -> int:
        """Tokens of this request alone: those that must be read even with the best cache."""
        return self.path[-1][1]

    def is_guest(self, share: float) -> bool:
        """Whether it is one of the `share` of all requests that bypass the router."""
        return self.lane < share * _LANES


Conversation = tuple[Job, ...]
"""Jobs, each of which begins some time after the answer to the one before; a single request has one turn."""


class Lognormal(NamedTuple):
    """A length in tokens: lognormal about its median, within bounds."""

    median: float
    sigma: float
    least: int
    most: int

    def draw(self, random: Random) -> int:
        """Draw one."""
        drawn = round(exp(random.gauss(log(self.median), self.sigma)))
        return min(self.most, max(self.least, drawn))


ANSWERS = Lognormal(150, 0.6, 50, 400)
PROMPTS = Lognormal(400, 0.9, 20, 4000)
SYSTEM_PROMPTS = Lognormal(2000, 0.15, 1500, 2600)
MESSAGES = Lognormal(60, 0.8, 10, 400)
THINKING = Lognormal(8, 0.7, 1, 60)
"""Seconds, unlike the others."""

_SYSTEMS = 20
_TURNS = 5  # on average

# Of conversations that don't wait for answers: how many there are, the tokens of a system prompt and of what is asked.
_OPEN, _SYSTEM, _ASKED, _MOST_TURNS = (40, 60), 375, (75, 150), 12


class Writer:
    """Makes jobs: text at random, keys for prefixes, numbers in order. All randomness is `random`'s."""

    def __init__(self, random: Random, *, keeps: bool = False) -> None:
        self.random = random
        self._keeps = keeps
        self._text = random.randbytes(1 << 19).hex()
        self._keys = 0
        self._numbers = 0

    def key(self) -> int:
        """Give a prefix a key of its own."""
        self._keys += 1
        return self._keys

    def text(self, tokens: int) -> str:
        """Write so many tokens that begin as no others do."""
        size = max(8, tokens * BYTES_A_TOKEN)
        at = self.random.randrange(len(self._text) - size)
        return f"{self.key():08x}{self._text[at : at + size - 8]}"

    def job(
        self, said: Sequence[tuple[str, str]], path: Path, answer: int, think: float = 0.0, *, streams: bool = True
    ) -> Job:
        """Make a request of messages, which are pairs of a role and a text."""
        messages = [{"role": role, "content": content} for role, content in said]
        body = json.dumps({"messages": messages, "model": MODEL, "stream": streams}).encode()
        self._numbers += 1
        return Job(
            number=self._numbers - 1,
            ask=Ask(len(body), blocks_of(body), streams=streams),
            prompt=sum(tokens for _, tokens in path),
            answer=answer,
            path=path,
            kept=(*path, (self.key(), answer)),
            think=think,
            lane=self.random.randrange(_LANES),
            body=body if self._keeps else b"",
        )


def singles(writer: Writer, count: int, prompts: Callable[[Random], int], streaming: float = 1.0) -> list[Conversation]:
    """Make requests that share nothing, with prompts of lengths that `prompts` draws; this share of them streams."""
    made: list[Conversation] = []
    for _ in range(count):
        tokens = prompts(writer.random)
        path, streams = ((writer.key(), tokens),), streaming == 1.0 or writer.random.random() < streaming
        said = [("user", writer.text(tokens))]
        made.append((writer.job(said, path, ANSWERS.draw(writer.random), streams=streams),))
    return made


def chats(writer: Writer, count: int, *, skewed: bool = False) -> list[Conversation]:
    """Make conversations, `count` requests in all: each has one of 20 system prompts, and some five turns.

    `skewed`: one of the system prompts has half of them.
    """
    random = writer.random
    lengths = [SYSTEM_PROMPTS.draw(random) for _ in range(_SYSTEMS)]
    systems = [(writer.text(tokens), (writer.key(), tokens)) for tokens in lengths]
    made: list[Conversation] = []
    while count > 0:
        text, begins = systems[0] if skewed and random.random() < 0.5 else random.choice(systems)
        turns = min(count, 1 + int(random.expovariate(1 / (_TURNS - 0.5))))
        made.append(tuple(_turns(writer, [("system", text)], (begins,), turns)))
        count -= turns
    return made


def _turns(writer: Writer, said: list[tuple[str, str]], path: Path, turns: int) -> Iterator[Job]:
    for turn in range(turns):
        asked, answer = MESSAGES.draw(writer.random), ANSWERS.draw(writer.random)
        said.append(("user", writer.text(asked)))
        path = (*path, (writer.key(), asked))
        job = writer.job(said, path, answer, THINKING.draw(writer.random) if turn else 0.0)
        yield job
        said.append(("assistant", writer.text(answer)))
        path = job.kept


def popular(writer: Writer, count: int, *, shared: bool = False) -> list[Conversation]:
    """Make requests of 40 to 60 conversations, some of them far more popular than others.

    Each request is the next turn of a conversation, and comes when it comes, whether the turn before was answered or
    not. So for a simulation it is a conversation of its own. Prompts grow by what is asked alone; after twelve turns a
    conversation begins anew. `shared`: all have the same system prompt; else each has one of its own.
    """
    random = writer.random
    common = _system(writer)
    weights = [random.expovariate(1.0) for _ in range(random.randint(*_OPEN))]
    going: list[tuple[list[tuple[str, str]], Path]] = [([], ())] * len(weights)
    made: list[Conversation] = []
    for _ in range(count):
        which = random.choices(range(len(weights)), weights)[0]
        said, path = going[which]
        if len(said) % (_MOST_TURNS + 1) == 0:
            text, begins = common if shared else _system(writer)
            said, path = [("system", text)], (begins,)
        asked = random.randint(*_ASKED)
        said, path = [*said, ("user", writer.text(asked))], (*path, (writer.key(), asked))
        going[which] = said, path
        made.append((writer.job(said, path, answer=1),))
    return made


def _system(writer: Writer) -> tuple[str, tuple[int, int]]:
    return writer.text(_SYSTEM), (writer.key(), _SYSTEM)


def arrivals(count: int, rate: float, random: Random, *, bursty: bool = False) -> Iterator[float]:
    """Tell when each of `count` conversations begins: a Poisson process of `rate` a second.

    `bursty`: the rate changes between three times the mean, for 2 s, and half of it, for 8 s; exponential, on average.
    """
    now, quiet, until = 0.0, True, random.expovariate(1 / _QUIET_LASTS) if bursty else float("inf")
    for _ in range(count):
        work = random.expovariate(rate)  # the gap, if the rate were the mean
        while bursty and now + work / (speed := _QUIET if quiet else _BURST) > until:
            work -= (until - now) * speed
            now, quiet = until, not quiet
            until += random.expovariate(1 / (_QUIET_LASTS if quiet else _BURST_LASTS))
        now += work / (_QUIET if quiet else _BURST) if bursty else work
        yield now
