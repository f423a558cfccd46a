"""An example of docs/first-steps.md, word for word: a backend joins a running router, takes its share, and leaves."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI

from tests.running import REPOSITORY, RunningRouter, alive, eventually

STREAMS = 50
TOKENS = 24


def example(model: Path) -> str:
    """Give the lines that the page has a person add."""
    text = (REPOSITORY / "docs/first-steps.md").read_text()
    lines = re.search(r"## A second backend, live.*?```yaml\n(.*?)```", text, re.DOTALL)
    assert lines is not None
    return lines[1].replace("models/demo", str(model))


class Load:
    """So many streams in flight at any time, each of them whole; `by` counts who gave them."""

    def __init__(self, client: AsyncOpenAI) -> None:
        self.by: Counter[str] = Counter()
        self.failed: list[str] = []
        self._client = client

    async def _stream_on(self) -> None:
        while True:
            try:
                answer = await self._client.chat.completions.with_raw_response.create(
                    model="demo", stream=True, max_tokens=TOKENS, messages=[{"role": "user", "content": "Hello"}]
                )
                ended = [chunk.choices[0].finish_reason async for chunk in answer.parse() if chunk.choices][-1]
            except openai.OpenAIError as error:
                self.failed.append(repr(error))
                return
            if ended is None:
                self.failed.append("a stream without its end")
            self.by[answer.headers["x-router-backend"]] += 1

    @asynccontextmanager
    async def going(self) -> AsyncIterator["Load"]:
        """Keep it up."""
        tasks = [asyncio.create_task(self._stream_on()) for _ in range(STREAMS)]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def answered(self, name: str, more: int = STREAMS) -> None:
        """Wait until a backend has given so many more."""
        wanted = self.by[name] + more
        await eventually(lambda: self.by[name] >= wanted or self.failed, within=60)


@pytest.mark.timeout(300)
async def test_a_backend_is_added_and_removed_live(router: RunningRouter, client: AsyncOpenAI, model: Path) -> None:
    """With 50 streams in flight: it joins, load moves to it, it ends what it has and is gone. No stream is lost."""
    file = router.folder / "router.yaml"
    before = file.read_text()
    (first,) = router.engines
    async with Load(client).going() as load:
        await load.answered("demo")
        file.write_text(before.replace("routes:", example(model) + "routes:"))
        await eventually(lambda: "reload: add     second" in router.said, within=10)
        await eventually(lambda: "second: ready" in router.said, within=60)
        await load.answered("second")
        (second,) = [engine for engine in router.engines if engine != first]
        file.write_text(before)
        await eventually(lambda: not alive(second), within=60)
        await load.answered("demo")
        after = load.by["second"]  # those that it ended last are counted by now
        await load.answered("demo")
        assert load.failed == []
        assert load.by["second"] == after
    assert router.engines == [first]
    assert "Traceback" not in router.said
