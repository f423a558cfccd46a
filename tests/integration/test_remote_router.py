"""A router's management API, asked by another router."""

import asyncio
from contextlib import aclosing

import pytest

from router.api.admin import TABLE
from router.api.admin.backends import DRAIN
from router.api.admin.logs import EVENTS, LINES
from router.api.admin.models import LOAD, MODELS
from router.api.admin.status import STATUS, WHOAMI
from router.cluster.remote import PeerError, Remote
from router.core.errors import RouterError
from router.core.scopes import Scope
from router.proxy.dialling import Address
from router.proxy.resolve import Names

KEYS = [
    {"key": "all", "name": "upstairs", "scopes": ["read", "manage"]},
    {"key": "looks", "name": "b", "scopes": ["read"]},
]


@pytest.fixture
async def ask(start_router, fake):
    """Give a function that gives what asks a router, with one of these keys."""
    peer = await start_router([{"url": fake.url, "models": ["demo"], "name": "box"}], auth={"admin_keys": KEYS})
    return lambda key: Remote(Names(), "mac", Address.of(peer.url), key)


async def test_a_router_is_asked(ask):
    """Its answers are read as what they are."""
    mac = ask("all")
    assert (await mac.call(WHOAMI)).told.name == "upstairs"
    (told,) = (await mac.call(DRAIN, name="box")).told.backends
    assert (told.name, told.drained_by) == ("box", "upstairs")
    assert (await mac.call(STATUS)).told.backends[0].drained


async def test_each_answer_is_one_that_a_router_reads(ask):
    """Or a refusal, such as of a backend that isn't there."""
    mac, odd = ask("looks"), []
    for each in (each for each in TABLE if each.scope is Scope.READ and not each.is_text and not each.passes):
        fields = {**each.example, "name": "box"} if "name" in each.in_path else each.example
        try:
            if each.streams:
                async with aclosing(mac.follow(each, **fields)) as following:
                    assert await anext(following) == []
            else:
                await mac.call(each, **fields)
        except PeerError as error:
            odd.append((each.operation, error.message))
        except RouterError:
            pass
    assert odd == []


async def test_what_a_router_refuses_is_told_in_its_words(ask):
    """What isn't launched there, what isn't there, and what its key may not do."""
    for asking, status, words in (
        (ask("all").call(LOAD, name="demo"), 409, "'mac' says: 'demo' is not launched by this router"),
        (ask("all").call(LINES, name="no"), 404, "'mac' says: There is no backend 'no'. Backends: box."),
        (ask("looks").call(LOAD, name="demo"), 502, "router.yaml: The admin key 'b' hasn't the scope 'manage'"),
        (ask("no").call(MODELS), 502, "'mac' doesn't take the admin_key of its entry in router.yaml: "),
    ):
        with pytest.raises(RouterError) as caught:
            await asking
        assert caught.value.status == status
        assert words in caught.value.message


@pytest.mark.usefixtures("logs_as_at_work")
async def test_events_are_followed(ask):
    """As they come."""
    mac = ask("all")
    async with asyncio.timeout(20), aclosing(mac.follow(EVENTS)) as following:
        assert await anext(following) == []
        await mac.call(DRAIN, name="box")
        found = [each async for each in _until(following, "admin")][-1]
    assert (found.told.message, found.told.details["by"]) == ("admin: drains box", "upstairs")


async def _until(following, kind):
    async for some in following:
        for each in some:
            yield each
            if each.kind == kind:
                return
