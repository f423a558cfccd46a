"""The load on real routers: a simulation's conversations, each turn sent when it is due, whatever is answered.

Only the turns of one conversation wait for each other, as in the simulation. Times are the model's, as in
`scripts.balance.real_time`: TTFT counts from the moment when a request was due, so that a late sender shows in it.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from scripts.balance.real_time import described
from scripts.balance.simulation.traffic import Conversation, Job
from scripts.instruments.answers import TimedAnswer
from scripts.instruments.client import ClientPool, LoadTarget

_LONGEST = 300.0
"""Real seconds after which an answer has failed."""


@dataclass(frozen=True, slots=True)
class TurnOutcome:
    """What came of a request. `ttft` is None if no token came; `late` is the time from when it was due to its sending.

    `prompt` are the tokens of its prompt, and `cached` those that were found in a cache, if it began to be answered.
    """

    due: float
    late: float
    ttft: float | None
    failure: str
    prompt: int = 0
    cached: int = 0

    @property
    def failed(self) -> bool:
        """Whether the answer isn't whole."""
        return bool(self.failure)


class ConversationLoad:
    """Sends conversations to routers at these URLs; each job names its router. `pace` is the engines'."""

    def __init__(self, urls: Sequence[str], pace: float) -> None:
        self._pools = [ClientPool(LoadTarget("router", url)) for url in urls]
        self._pace = pace
        self.outcomes: list[TurnOutcome] = []

    async def run(self, conversations: Sequence[Conversation], starts: Sequence[float]) -> list[TurnOutcome]:
        """Hold all conversations; give the outcomes in the order in which the requests were due.

        Turns that are due after the last conversation has begun aren't sent: the load has ended.
        """
        self._last = starts[-1]
        self._began = time.perf_counter()
        try:
            async with asyncio.TaskGroup() as group:
                for conversation, start in zip(conversations, starts, strict=True):
                    group.create_task(self._hold(conversation, start))
        finally:
            for pool in self._pools:
                pool.close()
        return sorted(self.outcomes, key=lambda outcome: outcome.due)

    def _now(self) -> float:
        return (time.perf_counter() - self._began) * self._pace

    async def _until(self, due: float) -> None:
        left = due - self._now()
        while left > 0:  # the loop's timers are cut to milliseconds
            await asyncio.sleep(left / self._pace)
            left = due - self._now()

    async def _hold(self, conversation: Conversation, due: float) -> None:
        for job in conversation:
            due += job.think
            if due > self._last:
                return
            await self._until(due)
            self.outcomes.append(await self._ask(job, due))
            due = self._now()

    async def _ask(self, job: Job, due: float) -> TurnOutcome:
        pool = self._pools[job.lane % len(self._pools)]
        request = pool.target.request("POST", "/v1/chat/completions", job.body, {"x-job": described(job)})
        answer = TimedAnswer(self._began + due / self._pace)
        await pool.ask(request, answer, _LONGEST)
        after = (moment - answer.due for moment in (answer.sent, answer.first))
        late, first = (seconds * self._pace for seconds in after)
        if not answer.first:
            return TurnOutcome(due, late, None, answer.failure)
        return TurnOutcome(due, late, first, answer.failure, job.prompt, int(answer.headers["x-cached"]))
