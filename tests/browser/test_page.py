"""The router's own page, as a person uses it: a real browser, a real engine beside the fake one."""

import asyncio
import json
import re
from contextlib import AsyncExitStack, suppress
from urllib.parse import quote

import aiohttp
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from tests.fakes.engine import FakeEngine
from tests.running import REPOSITORY, RunningRouter, eventually

PAGES = ["overview", "models", "activity", "usage", "playground", "configuration", "logs"]
WITHIN = 30_000
DEMO = f"{{engine: llama_server, model: {REPOSITORY}/models/demo, load: on_demand}}"
HOSTILE = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"


@pytest.fixture(autouse=True)
def patience():
    expect.set_options(timeout=WITHIN)


@pytest.fixture
async def said(page):
    """Gather what the browser complains of: scripts that fail, and what the page's policy refuses."""
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if "Security Policy" in message.text else None)
    return wrong


def ask(url, fake=None, **fields):
    body = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "hi"}], **fields}
    return aiohttp.request("POST", f"{url}/v1/chat/completions", json=body | ({"fake": fake} if fake else {}))


async def read(answer):
    """Read what comes of an answer, though it is cut."""
    told = b""
    with suppress(aiohttp.ClientPayloadError):
        async for part in answer.content.iter_any():
            told += part
    return told


async def test_each_page_opens(page, said, start_router):
    """With its title, its place in the menu, and nothing that fails."""
    router = await start_router()
    await page.goto(router.url)
    await expect(page.locator("#connection")).to_have_text("Live")
    for name in PAGES:
        await page.locator("#nav").get_by_text(name.capitalize()).click()
        await expect(page.locator("h1")).to_have_text(name.capitalize())
        await expect(page.locator("#nav [aria-current]")).to_have_text(name.capitalize())
    assert said == []


async def test_a_model_is_loaded_and_unloaded(page, said, tmp_path):
    """What happens is seen as it happens."""
    config = f"server: {{port: 0}}\nbackends: [{{name: demo, launch: {DEMO}}}]\nlogging: {{dir: {tmp_path}/logs}}\n"
    async with RunningRouter(tmp_path, config) as router:
        await router.ready()
        await page.goto(f"{router.url}/#/models/demo")
        row = page.get_by_role("row", name="demo")
        await expect(row).to_contain_text("unloaded")
        await row.get_by_role("button", name="Load demo").click()
        await expect(row.get_by_role("button", name="Unload demo")).to_be_visible()
        await expect(row.locator(".badge")).to_have_text("loaded")
        await expect(page.get_by_role("log", name="Log of demo")).to_contain_text("model loaded")
        await row.get_by_role("button", name="Unload demo").click()
        await expect(row.locator(".badge")).to_have_text("unloaded")
    assert said == []


async def test_models_of_other_machines(page, said, start_router):
    """They stand by machines, and those of one can be had alone; its name is where they are described."""
    router = await start_router()
    row = {
        "state": "loaded", "models": ["qwen"], "footprint": {}, "reserved": {}, "in_flight": 0, "waiting": 0,
        "pinned": False, "stays": False, "capabilities": [],
    }  # fmt: skip
    peers = [{**row, "name": f"{each}/qwen", "peer": each} for each in ("nas", "mac")]
    told = [json.dumps({"models": []}), json.dumps({"models": [*peers, {**row, "name": "own"}]})]
    await page.route("**/admin/models", lambda route: route.fulfill(body=told[0], content_type="application/json"))
    await page.goto(f"{router.url}/#/models")
    whose = page.get_by_label("Whose models")
    await expect(page.locator("#connection")).to_have_text("Live")
    await expect(whose).to_be_hidden()
    del told[0]
    names = page.locator("table[aria-label=Models] a.name")
    await expect(names).to_have_text(["own", "mac/qwen", "nas/qwen"])
    await whose.select_option("mac")
    await expect(names).to_have_text(["mac/qwen"])
    await names.click()
    await expect(page.locator("dl.facts")).to_contain_text("mac")
    assert said == []


async def test_a_request_is_cancelled(page, said, start_router, fake):
    """Its client is told, and it stands among those that ended, with what became of it."""
    router = await start_router()
    await page.goto(f"{router.url}/#/activity")
    async with ask(router.url, {"events": 4000, "delay": 0.05}) as answer:
        heard = asyncio.create_task(read(answer))
        await page.get_by_role("button", name=re.compile("^Cancel ")).click()
        assert b"cancelled" in await heard
    await eventually(lambda: fake.stats.aborted == 1)
    ended = page.get_by_role("region", name="Requests that have ended")
    await expect(ended).to_contain_text("cancelled by an admin")
    await ended.get_by_role("link").first.click()
    await expect(page.get_by_role("region", name=re.compile("^Request "))).to_be_visible()
    assert said == []


async def test_what_was_used(page, said, start_router):
    """By key and model at first, or as is chosen, with the sum below."""
    router = await start_router()
    async with ask(router.url, {"events": 3}) as answer:
        await read(answer)
    await page.goto(f"{router.url}/#/usage")
    shown = page.get_by_role("region", name="Usage")
    await expect(shown.get_by_role("row", name="demo")).to_be_visible()
    await page.get_by_label("Told apart by").select_option("day")
    await expect(shown.get_by_role("columnheader", name="Day")).to_be_visible()
    await expect(shown.get_by_role("columnheader", name="Model")).to_have_count(0)
    await expect(page.get_by_role("status").filter(has_text="1 requests")).to_be_visible()
    assert said == []


async def test_a_router_that_is_started_again(page, said, tmp_path, fake):
    """The page says that it is gone, finds it again, and shows what is there now."""

    def config(name, port):
        backend = f"{{name: {name}, url: '{fake.url}', models: [demo]}}"
        return f"server: {{port: {port}}}\nbackends: [{backend}]\nlogging: {{dir: {tmp_path}/logs}}\n"

    async with RunningRouter(tmp_path, config("before", 0)) as router:
        await router.ready()
        url = router.url
        await page.goto(url)
        await expect(page.get_by_role("region", name="Backends")).to_contain_text("before")
    await expect(page.locator("#connection")).to_have_text("Reconnecting …")
    async with RunningRouter(tmp_path, config("behind", url.rpartition(":")[2])) as router:
        await expect(page.locator("#connection")).to_have_text("Live")
        await expect(page.get_by_role("region", name="Backends")).to_contain_text("behind")
        await expect(page.get_by_role("region", name="Backends")).not_to_contain_text("before")
    assert said == []


async def test_a_router_that_stops(page, said, tmp_path, fake):
    """The page says so, and opens all the same; then it waits for the next one."""
    config = (
        f"server: {{port: 0}}\nbackends: [{{url: '{fake.url}', models: [demo]}}]\nlogging: {{dir: {tmp_path}/logs}}\n"
    )
    async with RunningRouter(tmp_path, config) as router:
        await router.ready()
        await page.goto(router.url)
        async with ask(router.url, {"events": 4000, "delay": 0.05}):
            router.signal()
            await expect(page.locator("#connection")).to_contain_text("Stopping within")
            await page.reload()
            await expect(page.locator("#connection")).to_contain_text("Stopping within")
        await expect(page.locator("#connection")).to_have_text("Reconnecting …")
    assert said == []


async def test_messages_on_a_narrow_screen(page, said, start_router):
    """Don't lie over what sends the next question; and an engine's long last line takes three lines at most."""
    router = await start_router()
    await page.set_viewport_size({"width": 360, "height": 740})
    await page.goto(f"{router.url}/#/playground")
    await page.evaluate("async () => (await import('/web/components/dialog.js')).toast('x'.repeat(300), 'bad')")
    alert = await page.get_by_role("alert").bounding_box()
    send = await page.get_by_role("button", name="Send").bounding_box()
    assert alert is not None
    assert send is not None
    assert alert["y"] + alert["height"] <= send["y"]
    lines = await page.evaluate("""() => {
      const element = document.createElement("div")
      element.className = "short"
      element.textContent = "x".repeat(5000)
      document.body.append(element)
      return element.clientHeight / parseFloat(getComputedStyle(element).lineHeight)
    }""")
    assert lines < 4
    assert said == []


async def test_a_key_is_asked_for(page, said, start_router):
    """A key that may only look sees all and changes nothing; a wrong one is asked for again."""
    more = "auth: {admin_keys: [{key: look, name: viewer, scopes: [read]}]}"
    router = await start_router(more=more)
    await page.goto(f"{router.url}/#/overview")
    for key in ("wrong", "look"):
        await page.get_by_label("Admin key").fill(key)
        await page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
    await expect(page.locator("#connection")).to_have_text("Live")
    await expect(page.locator("#sign")).to_have_text("Sign out (viewer)")
    await page.goto(f"{router.url}/#/activity")
    async with ask(router.url, {"events": 4000, "delay": 0.05}):
        await expect(page.get_by_role("button", name=re.compile("^Cancel "))).to_be_disabled()
    assert await page.evaluate("document.cookie") == ""
    await page.locator("#sign").click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    assert said == []


async def test_names_full_of_scripts(page, said, tmp_path):
    """Names of models, backends and keys, ids, log lines, errors: all are text."""
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(FakeEngine(models=[HOSTILE]))
        says = f"echo '{HOSTILE}'; exit 1"
        config = {
            "server": {"port": 0},
            "auth": {"keys": [{"key": "k", "name": HOSTILE}]},
            "backends": [
                {"name": HOSTILE, "url": fake.url, "models": [HOSTILE]},
                {"name": "broken", "models": ["b"], "launch": {"cmd": ["sh", "-c", says, "{port}"]}},
            ],
            "logging": {"dir": f"{tmp_path}/logs"},
        }  # fmt: skip
        router = await stack.enter_async_context(RunningRouter(tmp_path, json.dumps(config)))
        await router.ready()
        for model, path in ((HOSTILE, "/v1/chat/completions"), (f"{HOSTILE}2", "/v1/chat/completions")):
            headers = {"authorization": "Bearer k", "x-request-id": re.sub(r"[^!-~]", "", HOSTILE)[:60]}
            body = {"model": model, "messages": [{"role": "user", "content": HOSTILE}]}
            async with aiohttp.request("POST", router.url + path, json=body, headers=headers) as answer:
                await answer.read()
        # What each page shows once it has what it asks for: a script, but where a key is wanted, or names are listed.
        script = "<img src=x onerror="
        shown = dict.fromkeys(PAGES, script) | {"models": "broken", "playground": "Key", "models/broken": script}
        shown |= {"logs/broken": script, f"models/{quote(HOSTILE, safe='')}": script}
        for name, text in shown.items():
            await page.goto(f"{router.url}/#/{name}")
            await expect(page.locator("h1")).to_have_text(name.partition("/")[0].capitalize())
            main = page.locator("main")
            if name == "configuration":
                await expect(main.locator("textarea").first).to_have_value(re.compile("onerror"))
            else:
                await expect(main).to_contain_text(text)
            assert await page.locator("main img, main script").count() == 0
            assert "router" in await page.title()
        await page.goto(f"{router.url}/#/overview")
        await expect(page.get_by_role("region", name="Backends")).to_contain_text(HOSTILE)
    assert said == []


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_everybody_can_use_it(browser, start_router, theme):
    """axe-core finds nothing on any page, with content and narrow."""
    router = await start_router(more="routes: {best: [demo]}")
    async with ask(router.url, {"events": 3}) as answer:
        await answer.read()
    axe = Axe()
    for width in (1280, 360):
        page = await browser.new_page(color_scheme=theme, viewport={"width": width, "height": 800})
        for name in PAGES:
            await page.goto(f"{router.url}/#/{name}")
            await expect(page.locator("h1")).to_have_text(name.capitalize())
            await expect(page.locator("#connection")).to_have_text("Live")
            found = await axe.run(page)
            assert found.violations_count == 0, f"{name}, {theme}, {width} px: {found.generate_report()}"
            wide = await page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{name} is {wide} px wide on a screen of {width}"
        await page.close()
