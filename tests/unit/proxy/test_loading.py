"""What becomes of requests whose models load and unload by themselves, without sockets."""

import asyncio

import pytest

from tests.fakes.loading import LoadingScene
from tests.fakes.wired import EVENT
from tests.running import eventually


@pytest.fixture
async def scene():
    """Two models, one of which fits."""
    made = LoadingScene(models="ab")
    yield made
    made.plane.close()


def answer(wire):
    wire.head()
    wire.body(EVENT)
    wire.end()


async def test_the_first_request_loads_its_model_once_and_all_are_answered(scene):
    asked = [scene.ask(model="a") for _ in range(20)]
    assert scene.did == ["load a"]
    assert len(scene.plane.dispatcher.admission) == 20
    scene.loaded("a")
    await eventually(lambda: len(scene.pools[0].made_of) == 20)
    for wire in scene.pools[0].made_of:
        answer(wire)
    assert [client.ended for _, client in asked] == ["kept"] * 20
    assert scene.did == ["load a"]
    assert not scene.residency.residents()["a"].in_flight


async def test_a_loaded_model_is_sent_requests_at_once(scene):
    scene.ask(model="a")
    scene.loaded("a")
    await asyncio.sleep(0)
    answer(scene.wire(0))
    _, client = scene.ask(model="a")
    assert scene.asked() == [2, 0]
    assert len(scene.residency.residents()["a"].in_flight) == 1
    answer(scene.wire(0))
    assert client.ended == "kept"
    assert not scene.residency.residents()["a"].in_flight
