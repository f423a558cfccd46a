"""What the router shows a backend when it asks something itself."""

import json
from typing import Any

import pytest

from router.core.catalog import Backend
from router.proxy.connections import Connections
from router.proxy.dialling import Address
from router.proxy.resolve import Names
from router.proxy.watching.asking import Asker, read

HERE = Address("127.0.0.1", 1, base="/llm/v1", headers=(("x-of", "ours"),))


class Sent:
    """An answer that is whole."""

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None

    async def read(self):
        """Give nothing."""
        return b""


class Session:
    """A session that keeps what is asked."""

    def __init__(self):
        self.asked: list[tuple[str, dict[str, object]]] = []

    def get(self, url, **options):
        """Keep it."""
        self.asked.append((url, options))
        return Sent()

    def post(self, url, **options):
        """Keep it."""
        self.asked.append((url, options))
        return Sent()


@pytest.fixture
async def asker():
    made = Asker(Connections(Names(), 1.0))
    await made.close()
    setattr(made, "_session", Session())  # noqa: B010
    return made


@pytest.mark.parametrize("key", ["secret", None])
async def test_a_backend_that_wants_a_key_is_shown_it(asker, key):
    """With each page, and with the question for a token; the key is that of now."""
    backend = Backend("b", {"m": "its-m"})
    if key is not None:
        asker._connections.set_key(backend, key)
    async with asker.get(backend, HERE, "/health", 2.0, {"accept": "x"}):
        pass
    await asker.ask_for_token(backend, HERE, 5.0)
    (page, of_page), (token, of_token) = asker._session.asked
    assert (page, token) == ("http://127.0.0.1:1/llm/health", "http://127.0.0.1:1/llm/v1/chat/completions")
    shown = {} if key is None else {"authorization": "Bearer secret"}
    shown |= {"x-of": "ours"}
    assert of_page["headers"] == shown | {"accept": "x"}
    assert of_token["headers"] == shown | {"content-type": "application/json"}
    assert not of_page["allow_redirects"]
    assert (of_page["timeout"].total, of_token["timeout"].total) == (2.0, 5.0)


async def test_a_token_is_asked_for_in_the_engines_own_words(asker):
    """One, of a model that it knows."""
    backend = Backend("b", {"m": "its-m"}, put_right=lambda path, body: body.replace(b"Hi", path.encode()))
    await asker.ask_for_token(backend, HERE, None)
    ((_, options),) = asker._session.asked
    body = json.loads(options["data"])
    assert (body["model"], body["max_tokens"]) == ("its-m", 1)
    assert body["messages"] == [{"role": "user", "content": "/v1/chat/completions"}]


@pytest.mark.parametrize(
    ("pieces", "data", "whole"),
    [([b"ab", b"cd"], b"abcd", True), ([b"ab", b"cde", b"f"], b"abcde", False), ([], b"", True)],
)
async def test_no_more_of_a_page_is_read_than_may_be(pieces, data, whole):
    """Of four bytes."""

    class Answer:
        @property
        def content(self):
            return self

        async def iter_any(self):
            for piece in pieces:
                yield piece

    answer: Any = Answer()
    page = await read(answer, 4)
    assert page == (data, whole)
