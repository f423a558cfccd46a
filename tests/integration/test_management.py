"""The management API over real sockets: who may ask for what, of every endpoint in the table, and what is described."""

import json
from typing import Any

import jsonschema
import pytest

from router.api.admin import TABLE
from router.api.admin.endpoint import Endpoint
from router.api.admin.openapi import described
from router.core.scopes import Scope

KEYS = {scope: f"key-to-{scope}" for scope in Scope}
AUTH = {
    "keys": ["client"],
    "admin_keys": [{"key": key, "name": scope.value, "scopes": [scope.value]} for scope, key in KEYS.items()],
}
REFUSED = {401, 403}
GETS = [
    each
    for each in TABLE
    if each.method == "GET"
    and not each.streams
    and not each.is_text
    and "name" not in each.in_path
    # These routers have no file.
    and each.operation not in {"config_file", "config_versions", "config_version"}
]


def url_of(router: str, each: Endpoint[Any, Any, Any]) -> str:
    """Write an endpoint's address, with its example's names in the path."""
    return router + each.path.format(**{**each.example, "name": "demo"})


def named(each: Endpoint[Any, Any, Any]) -> str:
    return each.operation


@pytest.fixture
async def start(start_router, fake):
    """Give a function that starts a router with this `auth`, and gives its URL."""

    async def starting(**auth):
        backends = [{"url": fake.url, "models": ["demo"], "name": "fake"}]
        router = await start_router(backends, auth=auth, telemetry={"capture": {"requests": 1}})
        return router.url

    return starting


@pytest.mark.parametrize("each", TABLE, ids=named)
async def test_who_may_ask_where_there_are_keys(start, session, each):
    """A key with the endpoint's scope, or any if it has none, from wherever; no other key, and nobody without one."""
    url = url_of(await start(**AUTH), each)

    async def status(key: str = "", **headers: str) -> int:
        sent = headers | ({"authorization": f"Bearer {key}"} if key else {})
        async with session.request(each.method, url, headers=sent) as answer:
            return int(answer.status)

    for shown in ("", "client", "key-to-nothing"):
        assert await status(shown) == 401
    for scope, key in KEYS.items():
        assert (await status(key) in REFUSED) == (each.scope not in {None, scope})
    elsewhere = {"Host": "evil.test", "Origin": "https://evil.test", "X-Forwarded-For": "203.0.113.9"}
    assert await status(KEYS[each.scope or Scope.CONFIGURE], **elsewhere) not in REFUSED


@pytest.mark.parametrize("each", TABLE, ids=named)
async def test_who_may_ask_where_there_are_none(start, session, each):
    """A program on this machine may, but not write router.yaml; a page of another site or a proxy may not."""
    url = url_of(await start(), each)

    async def status(**headers: str) -> int:
        async with session.request(each.method, url, headers=headers) as answer:
            return int(answer.status)

    assert (await status() in REFUSED) == (each.scope is Scope.CONFIGURE)
    for headers in ({"Host": "evil.test"}, {"Origin": "https://evil.test"}, {"X-Forwarded-For": "203.0.113.9"}):
        assert await status(**headers) in REFUSED


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/admin", "/admin/", "/admin/nothing", "/admin/backends/demo", "/administration"])
async def test_what_is_not_in_the_table_is_not_answered(start, session, method, path):
    """Nor does it tell anybody without a key what there is."""
    url = await start(**AUTH)
    async with session.request(method, url + path) as answer:
        assert answer.status == 401
    async with session.request(method, url + path, headers={"authorization": f"Bearer {KEYS[Scope.READ]}"}) as answer:
        assert answer.status in {404, 405}


async def test_a_key_that_may_not_is_told_its_name(start, session):
    """And what it lacks, so that who looks after the router can help."""
    url = await start(**AUTH)
    headers = {"authorization": f"Bearer {KEYS[Scope.READ]}"}
    async with session.post(url + "/admin/reload", headers=headers) as answer:
        told = (await answer.json())["error"]
    assert told["message"] == (
        "The admin key 'read' hasn't the scope 'manage': give it one in auth.admin_keys, under scopes."
    )


@pytest.mark.parametrize("each", GETS, ids=named)
async def test_answers_are_as_described(start, session, each):
    """Each answer's data is what /admin/openapi.json says."""
    url = await start()
    query = {name: value for name, value in each.example.items() if name not in each.in_path and name != "model"}
    query |= {"model": "demo"} if "model" in each.example else {}
    if "id" in each.in_path:
        body, headers = {"model": "demo", "messages": []}, {"x-request-id": str(each.example["id"])}
        async with session.post(url + "/v1/chat/completions", json=body, headers=headers) as answer:
            assert answer.status == 200
    async with session.get(url_of(url, each), params=query) as answer, session.get(url + "/admin/openapi.json") as page:
        told, description = await answer.json(), await page.json()
        assert answer.status == 200
    content = description["paths"][each.path]["get"]["responses"]["200"]["content"]["application/json"]
    jsonschema.validate(told, {**content["schema"], "components": description["components"]})


def test_the_table_is_described_whole():
    """Each operation once, with its scope; and every reference leads somewhere."""
    description = described(TABLE, "1.0")
    operations = [operation for methods in description["paths"].values() for operation in methods.values()]
    assert [each["operationId"] for each in operations] == [each.operation for each in TABLE]
    assert [each.get("x-scope") for each in operations] == [each.scope for each in TABLE]
    stopping = {each["operationId"] for each in operations if "503" in each["responses"]}
    assert {each.operation for each in TABLE if not each.reads} - stopping == {"cancel"}
    known = description["components"]["schemas"]
    kinds = {kind for each in TABLE for kind in (each.asks, each.tells)}
    assert len({kind.__name__ for kind in kinds}) == len(kinds)
    written = json.dumps(description)
    for part in written.split('"$ref": "#/components/schemas/')[1:]:
        assert part.partition('"')[0] in known
