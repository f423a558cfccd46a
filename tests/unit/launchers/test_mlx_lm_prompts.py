"""How mlx_lm's server reads prompts, with its classes played."""

import socket
from types import SimpleNamespace

import pytest

from launchers.wrappers import mlx_lm_prompts
from launchers.wrappers.mlx_lm_prompts import AT_FIRST, LEAST, LeftError, has_left, next_step


@pytest.mark.parametrize(
    ("step", "tokens", "seconds", "following"),
    [
        (256, 256, 0.01, 512),  # no more than twice
        (2048, 2048, 0.5, 2048),
        (2048, 2048, 0.01, 2048),  # the server's own bound
        (2048, 2048, 2.0, 512),
        (256, 1024, 1.0, 128),  # of four prompts
        (256, 256, 25.0, LEAST),
        (256, 100, 25.0, 256),  # the rest of a prompt shows nothing
        (256, 0, 0.0, 256),
        (256, 256, 0.0, 512),
    ],
)
def test_a_step_is_as_long_as_the_one_before_shows_to_be_right(step, tokens, seconds, following):
    assert next_step(step, 2048, tokens, seconds) == following


class Generator:
    """A batch on a machine that takes 10 ms a token."""

    def __init__(self, *, prefill_step_size):
        self.prefill_step_size = prefill_step_size
        self._counters = SimpleNamespace(prompt_tokens=0, prompt_time=0.0)

    def next(self):
        """Read a step."""
        self._counters.prompt_tokens += self.prefill_step_size
        self._counters.prompt_time += self.prefill_step_size * 0.01
        return "told"


class Context:
    """What the server knows of a request."""

    def __init__(self):
        self._should_stop = False

    def stop(self):
        """Note it."""
        self._should_stop = True


class Alone:
    """What serves requests one by one; `heard` is how far each prompt was read."""

    def __init__(self):
        self.heard: list[tuple[int, int]] = []

    def _serve_single(self, request, stream):
        told = request[0]
        told.append(stream)
        told += server.stream_generate(
            prompt_progress_callback=lambda *progress: self.heard.append(progress), prefill_step_size=2048
        )


server = SimpleNamespace()


@pytest.fixture(autouse=True)
def played(monkeypatch):
    """Play the server."""

    def stream(*, prompt_progress_callback, prefill_step_size):
        yield prefill_step_size
        for done in range(2):
            prompt_progress_callback(done, 2)
            yield done

    class Serving(Alone):
        """A class of its own for each test, as it is changed."""

    monkeypatch.setattr(server, "BatchGenerator", Generator, raising=False)
    monkeypatch.setattr(server, "GenerationContext", Context, raising=False)
    monkeypatch.setattr(server, "ResponseGenerator", Serving, raising=False)
    monkeypatch.setattr(server, "stream_generate", stream, raising=False)
    mlx_lm_prompts.read_in_steps(server)


@pytest.fixture
def ends():
    """Both ends of a connection."""
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_the_first_steps_are_short():
    batch = server.BatchGenerator(prefill_step_size=2048)
    assert batch.prefill_step_size == AT_FIRST
    assert [batch.next() for _ in range(3)] == ["told"] * 3
    assert batch.prefill_step_size == LEAST
    assert server.BatchGenerator(prefill_step_size=2048).prefill_step_size == LEAST
    assert server.BatchGenerator(prefill_step_size=32).prefill_step_size == 32


def test_a_context_is_to_be_stopped_once_its_client_has_left(ends):
    ours, theirs = ends
    context = server.GenerationContext()
    assert not context._should_stop
    context.connection = ours
    assert not context._should_stop
    theirs.close()
    assert context._should_stop


def test_a_context_is_stopped_by_the_server_too():
    context = server.GenerationContext()
    context.stop()
    assert context._should_stop


def test_a_prompt_that_is_read_alone_ends_with_its_client(ends):
    ours, theirs = ends
    serving = server.ResponseGenerator()
    told: list[object] = []
    request = told, None, SimpleNamespace(connection=ours)
    serving._serve_single(request, "stream")
    assert told == ["stream", AT_FIRST, 0, 1]
    assert serving.heard == [(0, 2), (1, 2)]
    theirs.close()
    with pytest.raises(LeftError):
        serving._serve_single(request, "stream")


def test_who_has_left(ends):
    ours, theirs = ends
    assert not has_left(ours)
    theirs.sendall(b"more")
    assert not has_left(ours)
    ours.recv(10)
    theirs.close()
    assert has_left(ours)
    ours.close()
    assert has_left(ours)


@pytest.mark.parametrize(
    ("stream", "options", "has"),
    [
        (True, None, True),
        (True, {"include_usage": False}, True),
        (True, {"include_usage": True}, False),
        (False, None, False),
    ],
)
def test_usage_that_nobody_asked_for(stream, options, has):
    """It is in the last chunk; a client that asks gets it in one of its own, an answer in one piece has it anyway."""
    told = lambda *counts: {"choices": [], "usage": counts}  # noqa: E731
    handler = SimpleNamespace(stream=stream, stream_options=options, completion_usage_response=told)
    context = SimpleNamespace(prompt=[1, 2, 3], prompt_cache_count=2)
    last = mlx_lm_prompts.with_usage({"choices": [{}]}, handler, context, 7)
    assert last == ({"choices": [{}], "usage": (3, 7, 2)} if has else {"choices": [{}]})
