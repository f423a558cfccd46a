"""A peer's management API, as whatever may answer there. tests/integration/test_remote_router.py asks a real one."""

import asyncio
import json
import socket

import pytest
from aiohttp import web

from router.api.admin.logs import FOLLOW
from router.api.admin.models import LOAD, MODELS
from router.cluster import remote
from router.cluster.remote import NoAdminKeyError, PeerError, PeerTimeoutError, Remote
from router.core.errors import RouterError
from router.proxy.dialling import Address
from router.proxy.resolve import Names
from tests.running import dead_url

QWEN = {"name": "qwen", "state": "loaded"}


@pytest.fixture
def asked():
    """What a server was asked."""
    return []


@pytest.fixture
async def peer(aiohttp_server, asked):
    """Give a function that has a server answer everything alike, and gives what asks it."""

    async def start(answer=None, *, body=b"", status=200, headers=None):
        async def said(request):
            asked.append(request)
            return web.Response(body=body, status=status, headers=headers)

        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", answer or said)
        server = await aiohttp_server(app)
        return Remote(Names(), "mac", Address.of(f"http://127.0.0.1:{server.port}"), "its-key")

    return start


def error(message, code="conflict", param=None):
    return json.dumps({"error": {"message": message, "type": "t", "param": param, "code": code}}).encode()


async def refused(asking) -> RouterError:
    with pytest.raises(RouterError) as caught:
        await asking
    return caught.value


async def test_it_is_asked_with_its_key(peer, asked):
    """At the endpoint's path, whatever a name has in it; other fields are in the query."""
    mac = await peer(body=json.dumps({"models": [QWEN]}).encode())
    told = (await mac.call(LOAD, name="org/a b?", wait="false")).told
    (request,) = asked
    assert (request.method, request.raw_path) == ("POST", "/admin/models/org%2Fa%20b%3F/load?wait=false")
    assert request.headers["authorization"] == "Bearer its-key"
    assert told.models[0].name == "qwen"


async def test_it_is_told_which_routers_a_request_has_passed(aiohttp_server):
    """Those before this one, and this one."""
    found = []

    async def said(request):
        found.append(request.headers["x-router-hops"])
        return web.json_response({"models": []})

    app = web.Application()
    app.router.add_get("/admin/models", said)
    address = Address.of(f"http://127.0.0.1:{(await aiohttp_server(app)).port}", hop="b" * 16)
    await Remote(Names(), "mac", address, "k").call(MODELS)
    await Remote(Names(), "mac", address, "k", b"a" * 16 + b",no id").call(MODELS)
    assert found == ["b" * 16, f"{'a' * 16},{'b' * 16}"]


async def test_a_later_version_may_tell_more(peer):
    """At any depth."""
    mac = await peer(body=json.dumps({"models": [{**QWEN, "colour": "red"}], "more": {}}).encode())
    assert (await mac.call(MODELS)).told.models[0].state == "loaded"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>", "none of the answers of a router's"),
        (b"{}", "models: field required"),
        (b'{"models": 5}', "models: input should be"),
        (b'{"models": [{"name": "a", "state": 5}]}', "models.0.state: input should be a valid string"),
        (b'{"models": [{"name": "a", "state": "b", "pid": 1%s}]}' % (b"0" * 40), "none of the answers"),
        (b'{"models": [{"name": "a", "state": "b", "idle": NaN}]}', "none of the answers"),
        (b'{"models": [{"name": "a", "state": "b", "idle": 1e999}]}', "none of the answers"),
        (b"[" * 100_000, "none of the answers"),
        (b'{"models": ["%s"]}' % (b"x" * (remote.MOST + 1)), "more than 4 MiB"),
        (b'"\xff"', "none of the answers"),
    ],
    ids=["a page", "nothing", "no list", "no word", "no such number", "nan", "inf", "deep", "long", "no text"],
)
async def test_what_is_no_answer_is_an_error_of_the_peers(peer, body, why):
    """One sentence, which says whose it is, and what is wrong."""
    found = await refused((await peer(body=body)).call(MODELS))
    assert isinstance(found, PeerError)
    assert (found.status, found.code) == (502, "peer_failed")
    assert found.message.startswith("'mac' at http://127.0.0.1:")
    assert why in found.message


@pytest.mark.parametrize("status", [204, 301, 404, 405, 500])
async def test_no_router_is_an_error_whatever_its_status(peer, asked, status):
    """A redirect isn't followed: the key is for this address alone."""
    mac = await peer(status=status, headers={"location": "http://elsewhere.test"} if status == 301 else {})
    found = await refused(mac.call(MODELS))
    assert (found.status, f"status {status}" in found.message, len(asked)) == (502, True, 1)


async def test_a_refusal_is_passed_on(peer):
    """With its status, code and words, and with whose it is; a long one is cut."""
    mac = await peer(body=error("'qwen' stays: " + "x" * 5000, param="name"), status=409, headers={"retry-after": "7"})
    found = await refused(mac.call(LOAD, name="qwen"))
    assert (found.status, found.code, found.param, found.retry_after) == (409, "conflict", "name", 7)
    assert found.message.startswith("'mac' says: 'qwen' stays: xxx")
    assert len(found.message) < 1100


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_it_does_not_take(peer, status):
    """It isn't the caller's, who would look for another one."""
    found = await refused((await peer(body=error("Not this one."), status=status)).call(MODELS))
    assert (found.status, found.message) == (
        502,
        "'mac' doesn't take the admin_key of its entry in router.yaml: Not this one.",
    )


async def test_a_load_that_failed_has_its_figures(peer):
    """It is no refusal: the answer tells all that is known."""
    told = {"models": [QWEN], "error": {"message": "no room", "type": "t", "code": "insufficient_memory"}}
    mac = await peer(body=json.dumps(told).encode(), status=503, headers={"retry-after": "5"})
    reply = await mac.call(LOAD, name="qwen")
    assert (reply.status, reply.headers, reply.told.error.message) == (503, {"retry-after": "5"}, "no room")


async def test_nobody_there():
    """Who doesn't answer, and why."""
    found = await refused(Remote(Names(), "mac", Address.of(dead_url()), "k").call(MODELS))
    assert (found.status, found.code) == (502, "peer_failed")
    assert found.message.startswith("'mac' can't be asked at http://127.0.0.1:")


async def test_silence(peer):
    """Within the time that was said, before the head or behind it."""

    async def hangs(request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        await asyncio.Event().wait()

    found = await refused((await peer(hangs)).call(MODELS, within=0.05))
    assert isinstance(found, PeerTimeoutError)
    assert (found.status, found.code) == (504, "peer_timeout")


async def test_a_connection_learns_that_it_was_cut():
    """While a load is waited for."""
    async with remote._session(Names()) as session:
        assert session.connector is not None
        assert session.connector._socket_factory is remote._socket  # type: ignore[attr-defined]
    with remote._socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_a_stream(peer):
    """Its events as they come, with number and kind, in whatever pieces; what can't be read is left out."""

    async def tells(request):
        assert request.headers["last-event-id"] == "6"
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        said = (
            b': connected\n\nid: 7\nevent: line\ndata: {"line": "one", "x": 1}\n\nid: x\ndata: 5\n\n'
            b'id: 8\r\nevent: line\r\ndata: {"line": "two"}\r\n\r\n: still here\n\n'
        )
        for at in range(0, len(said), 9):
            await answer.write(said[at : at + 9])
        return answer

    mac = await peer(tells)
    some = [each async for each in mac.follow(FOLLOW, after=6, name="qwen")]
    assert some[0] == []
    assert [(each.id, each.kind, each.told.line) for at in some for each in at] == [
        (7, "line", "one"),
        (8, "line", "two"),
    ]


@pytest.mark.parametrize(
    ("headers", "status", "body", "code"),
    [
        ({"content-type": "text/event-stream"}, 200, b"x" * (remote.MOST_EVENT + 1), "peer_failed"),
        ({}, 200, b"{}", "peer_failed"),
        ({}, 503, error("Too many.", "too_many_followers"), "too_many_followers"),
    ],
    ids=["a line without an end", "no stream", "a refusal"],
)
async def test_no_stream(peer, headers, status, body, code):
    """It ends with an error."""
    mac = await peer(body=body, status=status, headers=headers)
    with pytest.raises(RouterError) as caught:
        _ = [each async for each in mac.follow(FOLLOW, name="qwen")]
    assert caught.value.code == code


def test_no_key():
    """Which line is missing in which file."""
    assert "needs admin_key in router.yaml for this peer" in NoAdminKeyError("mac").message
