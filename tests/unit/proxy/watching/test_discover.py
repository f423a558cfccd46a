"""What a backend serves, as it says itself; and how often it is asked."""

import asyncio

import pytest

from router.proxy.watching import discover
from router.proxy.watching.discover import Discoverer
from tests.unit.proxy.watching.test_probe import Answer, Watched


@pytest.fixture
async def watched():
    made = Watched(interval=5.0, timeout=2.0, stall_after=10.0)
    yield made
    made.plane.close()


async def look(watched: Watched, discoverer: Discoverer | None = None) -> Discoverer:
    """Ask once, and wait for the answer."""
    made = discoverer or Discoverer(watched.plane, watched.backend, watched.asker)
    made.look(watched.address)
    if made._task is not None:
        await made._task
        await asyncio.sleep(0)
    return made


@pytest.mark.parametrize(
    ("page", "models", "answered"),
    [
        (Answer(200, b'{"data": [{"id": "a"}, {"id": "b"}, {"id": ""}]}'), {"a": "a", "b": "b"}, True),
        (Answer(200, b'{"data": []}'), {}, True),
        (Answer(200, b'[{"id": "a"}]'), {"a": "a"}, True),
        (Answer(404), None, True),
        (Answer(503), None, False),
        (Answer(200, b"no JSON"), None, True),
        (Answer(200, b'{"data": [{"id": 5}]}'), None, True),
        (Answer(200, b"[" * 100_000), None, True),
        (Answer(TimeoutError()), None, False),
        (Answer(ConnectionResetError()), None, False),
    ],
    ids=["two", "none", "bare", "no page", "not ready", "no JSON", "no text", "no end", "late", "reset"],
)
async def test_a_list_of_models_is_taken_and_what_is_none_changes_nothing(watched, page, models, answered):
    """Whoever has answered isn't waited for any longer."""
    learned: list[object] = []
    discovered: list[object] = []
    watched.play("learn_models", lambda _, models: learned.append(models))
    setattr(watched.plane.directory, "discovered", discovered.append)  # noqa: B010
    watched.asker.pages["/v1/models"] = page
    await look(watched)
    assert learned == ([] if models is None else [models])
    assert bool(learned or discovered) is answered


async def test_a_list_tells_what_its_models_can_do(watched):
    """And whose answers must be completed."""
    watched.play("learn_models", lambda *_: None)
    watched.plane.add(watched.backend)
    page = b'{"data": [{"id": "a", "owned_by": "llamacpp", "meta": {"n_ctx": 4096}}]}'
    watched.asker.pages["/v1/models"] = Answer(200, page)
    await look(watched)
    assert watched.plane.directory.abilities[watched.backend]["a"].context == 4096
    assert watched.backend.apis.mends == {"/v1/messages", "/v1/responses"}


async def test_of_a_list_that_is_too_long_the_beginning_is_taken(watched, monkeypatch):
    monkeypatch.setattr(discover, "MOST_BYTES", 30)
    learned: list[object] = []
    watched.play("learn_models", lambda _, models: learned.append(models))
    watched.asker.pages["/v1/models"] = Answer(200, b'{"data": [{"id": "a"}, {"id": "b')
    await look(watched)
    assert learned == [{"a": "a"}]


async def test_a_list_that_is_the_same_is_read_once(watched):
    learned: list[object] = []
    watched.play("learn_models", lambda _, models: learned.append(models))
    watched.asker.pages["/v1/models"] = Answer(200, b'{"data": [{"id": "a"}]}')
    discoverer = await look(watched)
    discoverer._next = 0.0
    await look(watched, discoverer)
    assert (watched.asker.asked, learned) == (["/v1/models"] * 2, [{"a": "a"}])


async def test_one_that_is_asked_seldom_is_asked_until_it_has_answered(watched):
    watched.asker.pages["/v1/models"] = Answer(TimeoutError())
    discoverer = await look(watched, Discoverer(watched.plane, watched.backend, watched.asker, seldom=True))
    watched.asker.pages["/v1/models"] = Answer(200, b'["a"]')
    for _ in range(3):
        await look(watched, discoverer)
    assert watched.asker.asked == ["/v1/models"] * 2


async def test_a_list_of_a_process_that_is_gone_says_nothing(watched):
    watched.asker.pages["/v1/models"] = Answer(200, b'["a"]')
    discoverer = Discoverer(watched.plane, watched.backend, watched.asker)
    discoverer.look(watched.address)
    watched.plane.connections.close(watched.backend)
    await look(watched, discoverer)
    assert watched.plane.directory.abilities == {}


async def test_what_is_wrong_is_told_once_then_rarely(watched, capsys):
    """A list that is wrong for long must not fill the log."""
    watched.backend.models = {}
    watched.asker.pages["/v1/models"] = Answer(404)
    discoverer = Discoverer(watched.plane, watched.backend, watched.asker)
    for _ in range(3):
        await look(watched, discoverer)
    assert capsys.readouterr().out.count("status 404") == 1
    discoverer._tell = 0.0
    await look(watched, discoverer)
    assert capsys.readouterr().out.count("status 404") == 1
