"""What a route makes of a request, and of an answer that it does not want."""

import json

import pytest

from tests.fakes.engine import FakeEngine

CHAT = "/v1/chat/completions"


def asked(fake: FakeEngine) -> dict[str, object]:
    """Give the body that the engine got last."""
    assert fake.stats.last is not None
    return dict(json.loads(fake.stats.last.body))


async def test_a_body_is_reshaped_on_the_way(start_router, fake, session):
    """Fields are set, left to their default, bounded and dropped; the rest is as it was."""
    route = {
        "to": "demo",
        "set": {"seed": 7},
        "default": {"temperature": 0.2, "top_p": 0.9},
        "at_most": {"max_tokens": 100},
        "strip": ["logit_bias"],
    }
    router = await start_router([{"url": fake.url, "models": ["demo"]}], routes={"tame": route})
    body = {"model": "tame", "messages": [], "temperature": 1, "max_tokens": 4000, "logit_bias": {"1": 2}}
    async with session.post(router.url + CHAT, json=body) as answer:
        assert answer.status == 200
    assert asked(fake) == {
        "model": "demo", "messages": [], "temperature": 1, "max_tokens": 100, "seed": 7, "top_p": 0.9,
    }  # fmt: skip
    async with session.post(router.url + CHAT, json={**body, "model": "demo"}) as answer:
        assert answer.status == 200
    assert asked(fake) == {**body, "model": "demo"}


@pytest.mark.parametrize(("next_on", "status", "model"), [([400, 404], 200, "b"), ([404], 400, "a")])
async def test_after_a_status_the_next_model_answers(start_router, session, next_on, status, model):
    """One that the route names; of any other the client hears."""
    async with FakeEngine(["a"], fault="status:400") as one, FakeEngine(["a"]) as same, FakeEngine(["b"]) as two:
        same_one = {"url": same.url, "models": ["a"], "name": "z", "weight": 0.001}
        router = await start_router(
            [{"url": one.url, "models": ["a"], "name": "a"}, same_one, {"url": two.url, "models": ["b"], "name": "b"}],
            routes={"best": {"to": ["a", "b"], "next_on": next_on}},
        )
        router.plane.backends["z"].in_flight += 1  # the other is asked first
        async with session.post(router.url + CHAT, json={"model": "best", "messages": []}) as answer:
            assert (answer.status, answer.headers["x-router-backend"]) == (status, model)


async def test_the_next_model_answers_each_time(start_router, session):
    """That is the route's own rule, and no retry: the budget of retries doesn't pay for it."""
    async with FakeEngine(["a"], fault="status:500") as one, FakeEngine(["b"]) as two:
        router = await start_router(
            [{"url": one.url, "models": ["a"]}, {"url": two.url, "models": ["b"]}],
            routes={"best": {"to": ["a", "b"], "next_on": [500]}},
            balance={"retry_share": 0},
        )
        for _ in range(20):  # twice what the budget begins with
            async with session.post(router.url + CHAT, json={"model": "best", "messages": []}) as answer:
                assert answer.status == 200


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("copies", [1, 2])
async def test_the_next_model_answers_where_nobody_can_serve_the_first(start_router, session, status, copies):
    """Its backends refuse the router's own key, or lack the model."""
    async with FakeEngine(["a"], fault=f"status:{status}") as one, FakeEngine(["b"]) as two:
        fails = [
            {"url": one.url, "models": ["a"], "name": f"a{number}", "api_key": "expired"} for number in range(copies)
        ]
        router = await start_router(
            [*fails, {"url": two.url, "models": ["b"], "name": "b"}],
            routes={"best": ["a", "b"]},
            balance={"retry_share": 0},
        )
        for _ in range(20):
            async with session.post(router.url + CHAT, json={"model": "best", "messages": []}) as answer:
                assert (answer.status, answer.headers["x-router-backend"]) == (200, "b")


async def test_a_clients_own_key_is_not_tried_at_the_next_model(start_router, session):
    """That it is refused is the client's to know."""
    async with FakeEngine(["a"], fault="status:401") as one, FakeEngine(["b"]) as two:
        router = await start_router(
            [{"url": one.url, "models": ["a"]}, {"url": two.url, "models": ["b"]}], routes={"best": ["a", "b"]}
        )
        async with session.post(router.url + CHAT, json={"model": "best", "messages": []}) as answer:
            assert answer.status == 401
        assert two.stats.last is None


async def test_a_hidden_route_is_served_and_not_listed(start_router, fake, session):
    """Whoever knows it may ask."""
    router = await start_router(
        [{"url": fake.url, "models": ["demo"]}], routes={"secret": {"to": "demo", "hidden": True}}
    )
    async with session.post(router.url + CHAT, json={"model": "secret", "messages": []}) as answer:
        assert answer.status == 200
    async with session.get(router.url + "/v1/models") as answer:
        assert [model["id"] for model in (await answer.json())["data"]] == ["demo"]
