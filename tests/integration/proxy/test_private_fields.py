"""What is private to an engine gets through no API of a router before it, on no lane, in no form and at no size."""

import json
from dataclasses import replace

import pytest

from launchers.engines import ENGINES
from launchers.errors import UnfitRequestError
from launchers.spec import LaunchSpec
from router.core.errors import BadRequestError
from router.core.outline import LARGE
from router.proxy import uploads
from tests.fakes.engine import FakeEngine
from tests.integration.proxy.test_forms_in_passing import FIELD, FILE, HEADERS, PATH, Ear, parted
from tests.integration.raw import nothing_left, post
from tests.running import eventually

CHAT = b"/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
FAR = {"type": "image_url", "image_url": {"url": "http://10.0.0.1/a.png"}}
INPUT = {"type": "input_image", "image_url": "http://10.0.0.1/a.png"}
NEAR = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 2 * LARGE}}


def guard(router, name="b0"):
    """Have a backend be a vllm of the router's own."""
    backend, spec = router.plane.backends[name], LaunchSpec("b", "vllm", "/m", "demo", {}, {}, 60)

    def put_right(path, body):
        try:
            return ENGINES["vllm"].put_right(path, body, spec)
        except UnfitRequestError as error:
            raise BadRequestError(error.message, param=error.param) from error

    backend.supervised, backend.put_right = True, put_right
    backend.apis = replace(backend.apis, guarded=True, lacks=backend.apis.lacks | {"/v1/messages", "/v1/responses"})


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (CHAT, {"messages": HELLO, "vllm_xargs": {}}, "vllm_xargs"),
        (CHAT, {"messages": HELLO, "chat_template_kwargs": {"tokenize": "x"}}, "chat_template_kwargs.tokenize"),
        (CHAT, {"messages": [{"role": "user", "content": [FAR]}]}, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": [NEAR, FAR]}]}, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": [NEAR]}], "kv_transfer_params": {}}, "kv_transfer_params"),
        (b"/v1/completions", {"prompt": "a", "prompt_embeds": "a"}, "prompt_embeds"),
        (b"/v1/embeddings", {"input": ["a" * 300] * 8000, "mm_processor_kwargs": {}}, "mm_processor_kwargs"),
        (b"/tokenize", {"prompt": "a", "chat_template": "x"}, "chat_template"),
        (b"/v1/responses", {"input": [{"role": "user", "content": [INPUT]}]}, "messages"),
        (b"/v1/responses", {"input": "a", "chat_template_kwargs": {"tokenize": True}}, "chat_template_kwargs.tokenize"),
        (b"/v1/load_lora_adapter", {"lora_name": "a", "lora_path": "/etc"}, None),
    ],
)  # fmt: skip
async def test_it_is_refused_in_each_api(start_router, raw, lane, path, fields, param):
    """With a 400 that names the field; large requests, too, which are read by their outlines."""
    async with FakeEngine() as fake:
        router = await start_router([{"url": fake.url, "models": ["demo"], "name": "b0"}])
        guard(router)
        client = await raw(router)
        client.send(post({"model": "demo", **fields}, path, lane=lane))
        answer = await client.answer()
        assert answer.status == 400, answer
        assert json.loads(answer.body)["error"]["param"] == param
        assert fake.stats.begun == 0


async def test_what_is_not_private_passes(start_router, raw, lane):
    """A large image within the request does."""
    async with FakeEngine() as fake:
        router = await start_router([{"url": fake.url, "models": ["demo"], "name": "b0"}])
        guard(router)
        client = await raw(router)
        body = {"model": "demo", "messages": [{"role": "user", "content": [NEAR]}], "top_k": 5, "cache_salt": "a"}
        client.send(post(body, CHAT, lane=lane))
        assert (await client.answer()).status == 200
        assert fake.stats.begun == 1


MODEL, XARGS = FIELD % (b"model", b"demo"), FIELD % (b"vllm_xargs[a]", b"1")


@pytest.mark.parametrize("parts", [(MODEL, XARGS), (XARGS, MODEL), (MODEL, FILE, XARGS), (FILE, XARGS, MODEL)])
async def test_forms_have_none(start_router, engine, raw, lane, parts):
    """Wherever the field stands."""
    ear = Ear()
    router = await start_router([{"url": await engine(ear.handle), "models": ["demo"], "name": "b0"}])
    guard(router)
    client = await raw(router)
    client.send(post(b"".join(parts) + b"--b--\r\n", PATH, HEADERS, lane=lane))
    answer = await client.answer()
    assert answer.status == 400, answer
    assert json.loads(answer.body)["error"]["param"] == "vllm_xargs"
    assert all(not each.endswith(b"--b--\r\n") for each in ear.bodies)


async def test_a_form_that_is_sent_on_as_it_comes_has_none(start_router, engine, raw, monkeypatch):
    """The engine has got most of it then, but not its end: no engine acts on half a form."""
    monkeypatch.setattr(uploads, "SOON", 1000.0)
    ear = Ear()
    router = await start_router([{"url": await engine(ear.handle), "models": ["demo"], "name": "b0"}])
    guard(router)
    client = await raw(router)
    first, rest = parted(MODEL + FILE + XARGS + b"--b--\r\n")
    client.send(first)
    await eventually(lambda: bool(ear.bodies) and len(ear.bodies[-1]) > LARGE)
    client.send(rest)
    answer = await client.answer()
    assert answer.status == 400, answer
    assert json.loads(answer.body)["error"]["param"] == "vllm_xargs"
    await eventually(lambda: ear.left == 1)
    assert not ear.bodies[0].endswith(b"--b--\r\n")
    await eventually(lambda: nothing_left(router) and router.rules.uploads.held == 0)


async def test_a_form_that_has_none_passes(start_router, engine, raw, monkeypatch):
    """As it comes."""
    monkeypatch.setattr(uploads, "SOON", 1000.0)
    ear = Ear()
    router = await start_router([{"url": await engine(ear.handle), "models": ["demo"], "name": "b0"}])
    guard(router)
    client = await raw(router)
    form = MODEL + FILE + FIELD % (b"language", b"de") + b"--b--\r\n"
    first, rest = parted(form)
    client.send(first)
    await eventually(lambda: bool(ear.bodies) and len(ear.bodies[-1]) > LARGE)
    client.send(rest)
    assert (await client.answer()).status == 200
    assert ear.bodies == [form]
