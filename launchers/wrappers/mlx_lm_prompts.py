"""How mlx_lm's server reads prompts: in steps that take about half a second, and no further once a client has left.

A part of mlx_lm_server.py. The server looks at a request between two steps of 2048 tokens. On a machine that takes 20 s
for those, the next client would wait as long for one that has left. So the first steps are short, and each is as long
as the one before shows to be right; where 2048 tokens take less, steps soon have that length. Whether the client has
left is asked where the server looks, by the generating thread itself.
"""

import select
import socket
from collections.abc import Callable
from typing import Any

SECONDS = 0.5
"""Time that a step should take: a client that leaves keeps the next one waiting for no more."""

AT_FIRST = 256
"""Tokens of the first step."""

LEAST = 64
"""Tokens of a step, at least: shorter ones would take longer for each token."""


class LeftError(Exception):
    """The client has left."""


def has_left(connection: socket.socket) -> bool:
    """Tell whether the other side has closed its end."""
    try:
        return bool(select.select([connection], [], [], 0)[0]) and not connection.recv(1, socket.MSG_PEEK)
    except (OSError, ValueError):  # this side has closed it, too
        return True


def read_in_steps(server: Any) -> None:  # noqa: ANN401 -- the module
    """Have the server do all this. A request's options have the `connection` of its client, its context gets it."""
    batches = server.BatchGenerator = paced(server.BatchGenerator)
    server.GenerationContext = watched(server.GenerationContext)
    generator, stream = server.ResponseGenerator, server.stream_generate
    serve = generator._serve_single  # noqa: SLF001
    # One that can't be part of a batch is served alone, in the generating thread.
    alone: list[Any] = []

    def served(self: Any, request: Any, *args: Any) -> None:  # noqa: ANN401
        alone[:] = [request[2].connection]
        serve(self, request, *args)

    def streamed(
        *args: Any,  # noqa: ANN401
        prompt_progress_callback: Callable[[int, int], None],
        prefill_step_size: int,
        **options: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        def progressed(done: int, total: int) -> None:
            if has_left(alone[0]):
                raise LeftError
            prompt_progress_callback(done, total)

        step = min(prefill_step_size, batches.step)
        return stream(*args, prompt_progress_callback=progressed, prefill_step_size=step, **options)

    generator._serve_single, server.stream_generate = served, streamed  # noqa: SLF001


def next_step(step: int, most: int, tokens: int, seconds: float) -> int:
    """Give the tokens of the next step, after one of `step` for each prompt, `tokens` for all, took so long."""
    if tokens < step:
        return step
    right = int(step * SECONDS / max(seconds, 1e-6))
    return max(LEAST, min(right, 2 * step, most))


def paced(generator: Any) -> Any:  # noqa: ANN401 -- mlx_lm's own class
    """Make a class of batches that read prompts in steps of the right length; `step` is that of the last one."""

    class Paced(generator):  # type: ignore[misc]  # known when it runs
        step = AT_FIRST
        prefill_step_size: int

        def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
            super().__init__(*args, **options)
            self.most = self.prefill_step_size
            self.prefill_step_size = min(Paced.step, self.most)

        def next(self) -> Any:  # noqa: ANN401
            counters = self._counters
            tokens, seconds = counters.prompt_tokens, counters.prompt_time
            told = super().next()
            tokens, seconds = counters.prompt_tokens - tokens, counters.prompt_time - seconds
            self.prefill_step_size = Paced.step = next_step(self.prefill_step_size, self.most, tokens, seconds)
            return told

    return Paced


def watched(context: Any) -> Any:  # noqa: ANN401 -- mlx_lm's own class
    """Make a class of contexts that are to be stopped once the client of their `connection` has left."""

    class Watched(context):  # type: ignore[misc]  # known when it runs
        connection: Any = None
        stopped = False

        @property
        def _should_stop(self) -> bool:
            return self.stopped or (self.connection is not None and has_left(self.connection))

        @_should_stop.setter
        def _should_stop(self, stop: bool) -> None:
            self.stopped = stop

    return Watched


def with_usage(told: Any, handler: Any, context: Any, made: int) -> Any:  # noqa: ANN401
    """Write the usage into the last chunk of a stream that wasn't asked for it: clients ignore it there."""
    if handler.stream and not (handler.stream_options or {}).get("include_usage"):
        counts = len(context.prompt), made, context.prompt_cache_count
        told["usage"] = handler.completion_usage_response(*counts)["usage"]
    return told
