"""Requests to a router: one, or many by so many clients at a time, and what came of them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from scripts.instruments.answers import TimedAnswer
from scripts.instruments.engine import as_json
from scripts.instruments.statistics import percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scripts.residency_load.fleet import RouterProcess

ANSWERS_WITHIN: Final = 900.0
TOKENS: Final = 2


@dataclass
class Outcomes:
    """What came of many requests. `waits` are the seconds until the first token; `took` those of all together.

    A whole answer may have no token that can be read: noise ends within a letter of several bytes. It has no wait.
    """

    answered: int = 0
    waits: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    took: float = 0.0

    @property
    def throughput(self) -> float:
        """Requests that were answered, a second."""
        return self.answered / self.took if self.took else 0.0

    def note(self, model: str, answer: TimedAnswer) -> None:
        """Count an answer, which is whole if its stream ended with [DONE]."""
        if answer.failure:
            self.failures.append(f"{model}: {answer.failure}: {answer.detail}")
            return
        self.answered += 1
        if answer.tokens:
            self.waits.append(answer.first - answer.sent)

    def wait(self, share: float) -> float:
        """Give a percentile of the waits."""
        return percentile(self.waits, share)


async def ask(router: RouterProcess, model: str, number: int, outcomes: Outcomes) -> None:
    """Ask for a stream of a few tokens, and count what came of it. In a chat, most of so short a prompt is template."""
    prompt = {"prompt": f"Hi {number}", "max_tokens": TOKENS, "temperature": 0}
    body = as_json({"model": model, "stream": True, **prompt})
    answer = TimedAnswer(time.perf_counter())
    await router.pool.ask(router.target.request("POST", "/v1/completions", body), answer, ANSWERS_WITHIN)
    outcomes.note(model, answer)


async def ask_all(router: RouterProcess, models: Iterable[str], clients: int) -> Outcomes:
    """Ask for these models in this order, so many requests at a time."""
    outcomes, began = Outcomes(), time.perf_counter()
    ahead = iter(enumerate(models))
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(_client(router, ahead, outcomes))
    outcomes.took = time.perf_counter() - began
    return outcomes


async def _client(router: RouterProcess, ahead: Iterator[tuple[int, str]], outcomes: Outcomes) -> None:
    for number, model in ahead:
        await ask(router, model, number, outcomes)
