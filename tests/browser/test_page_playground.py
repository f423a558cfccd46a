"""The page's playground: chats as a person holds them, with a real engine and with one that says what a test wrote."""

import asyncio
import base64
import json
import re
from contextlib import AsyncExitStack

import aiohttp
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from tests.fakes.scripted import Say, Scripted
from tests.running import REPOSITORY, RunningRouter

WITHIN = 15_000
DEMO = f"{{engine: llama_server, model: {REPOSITORY}/models/demo, load: on_demand}}"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # a pixel

# The page's policy refuses Trusted Types' text, so this is what would tell that a script of an answer ran.
HOSTILE = """\
<img src=x onerror="document.title='run'"><script>document.title='run'</script>

# <b onclick="document.title='run'">title</b>

- [x](javascript:document.title='run') and [y](JaVaScRiPt:alert(1)) and [z](data:text/html,<script>1</script>)
- ![p](https://example.org/p.png"onerror="alert(1)) <svg/onload=alert(1)> <https://example.org/"onmouseover=alert(1)>

> <iframe srcdoc="<script>parent.document.title='run'</script>"></iframe>

| <td onclick=alert(1)> | `<b>` |
|---|---|
| <style>*{display:none}</style> | [ok](https://example.org/?a=1&b=<i>) |

```<html onload=alert(1)>
</code></pre><script>document.title='run'</script>
```
"""

RENDERED = [
    ("# One *two*", "<h3 class='h1'>One <em>two</em></h3>"),
    ("a **b `**` c** d", "<p>a <strong>b <code>**</code> c</strong> d</p>"),
    ("***a*** ~~b~~ c_d_e _f_ 2 * 3 * 4", "<p><strong><em>a</em></strong> <del>b</del> c_d_e <em>f</em> 2 * 3 * 4</p>"),
    ("*a\n\n**b", "<p>*a</p><p>**b</p>"),
    (r"\*a\* \`b\` c\d", r"<p>*a* `b` c\d</p>"),
    ("`` a`b `` `c", "<p><code>a`b</code> `c</p>"),
    ("- a\n  - b\n- c\n\n  d", "<ul><li><p>a</p><ul><li><p>b</p></li></ul></li><li><p>c</p><p>d</p></li></ul>"),
    ("3. a\n  - b\n4. c", "<ol start='3'><li><p>a</p><ul><li><p>b</p></li></ul></li><li><p>c</p></li></ol>"),
    ("* a\n- b", "<ul><li><p>a</p></li></ul><ul><li><p>b</p></li></ul>"),
    ("- [ ] a\n- [x] b", "<ul><li><p>☐ a</p></li><li><p>☑ b</p></li></ul>"),
    ("text\n2. b", "<p>text\n2. b</p>"),
    ("> a\nb\n>\n> c\n\nd", "<blockquote><p>a\nb</p><p>c</p></blockquote><p>d</p>"),
    ("a\n\n---\n* * *\nb", "<p>a</p><hr><hr><p>b</p>"),
    ("so:\n| a | b |\n|:-:|--:|\n| 1 \\| 2 |\nend", "<p>so:</p>TABLE"),
    ("a | b", "<p>a | b</p>"),
    ("see https://a.b/c_(d), (https://e.f).", "<p>see LINK:https://a.b/c_(d), (LINK:https://e.f).</p>"),
    ("[a *b*](https://c.d 'e') [f](/g) [h]", "<p>LINK:a <em>b</em> [f](/g) [h]</p>"),
    ("a<br>b <i>", "<p>a<br>b &lt;i&gt;</p>"),
    ("```py\n- a\n\n  *b*\n```\nc", "CODE:py:- a\n\n  *b*<p>c</p>"),
    ("- a\n  ~~~\n  ```\n  b", "<ul><li><p>a</p>CODE::```\nb</li></ul>"),
    ("a\r\nb\r\n\r\nc", "<p>a\nb</p><p>c</p>"),
]
RENDERS = """async ([text, size]) => {
  const {markdown} = await import("/web/lib/markdown.js"), element = markdown()
  for (let at = 0; at < text.length; at += size) element.write(text.slice(at, at + size))
  element.end()
  for (const each of element.querySelectorAll(".code"))
    each.replaceWith(`CODE:${each.querySelector(".quiet").textContent}:${each.querySelector("code").textContent}`)
  for (const each of element.querySelectorAll("a")) each.replaceWith("LINK:", ...each.childNodes)
  for (const each of element.querySelectorAll(".table")) each.replaceWith("TABLE")
  return element.innerHTML.replaceAll('"', "'")
}"""


# In the page: what a test asks it from outside takes its thread's time, too.
ALL_DRAWN = """() => new Promise(done => {
  const look = () => document.querySelectorAll(".answer tbody tr").length === 300 ? done() : setTimeout(look, 200)
  look()
})"""


@pytest.fixture(autouse=True)
def patience():
    expect.set_options(timeout=WITHIN)


@pytest.fixture
async def scripted():
    """Give an engine that says what it is told to."""
    async with Scripted() as engine:
        yield engine


@pytest.fixture
async def start(tmp_path, scripted):
    """Give a function that starts a router with the real engine and the scripted one."""
    async with AsyncExitStack() as stack:

        async def start(more: str = "") -> RunningRouter:
            backends = f"[{{name: demo, launch: {DEMO}}}, {{url: '{scripted.url}', models: [told], probe: never}}]"
            config = f"server: {{port: 0}}\nbackends: {backends}\nlogging: {{dir: {tmp_path}/logs}}\n{more}"
            return await (await stack.enter_async_context(RunningRouter(tmp_path, config))).ready()

        yield start


async def opened(page: Page, router: RunningRouter, model: str, beside: str = "") -> None:
    """Open the playground, with these models."""
    await page.goto(f"{router.url}/#/playground")
    await expect(page.get_by_role("combobox", name="Model").locator(f"option[value={model}]")).to_be_attached()
    await page.get_by_role("combobox", name="Model").select_option(model)
    await page.get_by_role("combobox", name="Beside it").select_option(beside)


async def said_by(page: Page, text: str) -> None:
    """Ask, by the keyboard."""
    await page.get_by_role("textbox", name="Message").fill(text)
    await page.keyboard.press("Enter")


async def test_an_answer_streams_and_is_stopped(page, start):
    """By a real engine, which is loaded for it; the engine is free as soon as it is stopped."""
    router = await start()
    await opened(page, router, "demo")
    await said_by(page, "Tell me a story.")
    answer = page.get_by_role("article", name="Answer of demo")
    await expect(answer.locator(".markdown")).not_to_be_empty()
    await expect(answer).to_contain_text("to the first")
    before = await answer.locator(".markdown").inner_text()
    await page.get_by_role("button", name="Stop").click()
    await expect(answer).to_contain_text("Stopped")
    await expect(page.get_by_role("status").filter(has_text="demo was stopped.")).to_be_attached()
    assert len(await answer.locator(".markdown").inner_text()) >= len(before)
    await page.goto(f"{router.url}/#/activity")
    await expect(page.get_by_role("region", name="Requests that have ended")).to_contain_text("demo")
    await page.goto(f"{router.url}/#/playground")  # it has stayed
    await expect(answer).to_contain_text("Stopped")


async def test_a_question_that_waits(page, start_router):
    """Shows its place in the queue."""
    router = await start_router(keys="max_in_flight: 1")
    asked = {"model": "demo", "stream": True, "messages": [], "fake": {"events": 4000, "delay": 0.05}}
    async with aiohttp.request("POST", f"{router.url}/v1/chat/completions", json=asked):
        await opened(page, router, "demo")
        await said_by(page, "Hello")
        answer = page.get_by_role("article", name="Answer of demo")
        await expect(answer).to_contain_text("queued, 0 before you ·")
    await expect(answer).to_contain_text("to the first")


async def test_a_whole_answer(page, start):
    """It tells how fast it was and what it took; parameters are what was asked for."""
    router = await start()
    await opened(page, router, "demo")
    await page.get_by_label("Most tokens").fill("12")
    await said_by(page, "Hello")
    answer = page.get_by_role("article", name="Answer of demo")
    await expect(answer).to_contain_text(re.compile(r"tokens/s · \d+ \+ 12 tokens.* · ended by length"))
    await answer.get_by_role("button", name="As code").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text('"max_tokens": 12')
    await expect(dialog).to_contain_text(f"curl -N {router.url}/v1/chat/completions")
    await expect(dialog).to_contain_text("max_tokens=12,")
    await dialog.get_by_role("button", name="Close").click()
    await answer.get_by_role("button", name="Ask demo again").click()
    await expect(page.get_by_role("article")).to_have_count(1)
    await expect(answer).to_contain_text(re.compile(r"12 tokens"))


async def test_two_models_beside_each_other(page, start, scripted):
    """Both get the question, and each one its own conversation; an edit replaces what followed."""
    router = await start()
    await opened(page, router, "demo", "told")
    await page.get_by_label("Most tokens").fill("5")
    await page.get_by_label("System prompt").fill("Be brief.")
    scripted.says(Say(text="It is *blue*."), Say(text="It is green."), Say(text="Red, now."))
    await said_by(page, "Which colour?")
    await expect(page.get_by_role("article", name="Answer of told").locator("em")).to_have_text("blue")
    await expect(page.get_by_role("article", name="Answer of demo")).to_contain_text("tokens/s")
    await said_by(page, "And the other?")
    await expect(page.get_by_role("article", name="Answer of told")).to_have_count(2)
    await expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert [each["content"] for each in scripted.asked[1]["messages"]] == [
        "Be brief.", "Which colour?", "It is *blue*.", "And the other?",
    ]  # fmt: skip
    assert scripted.asked[1]["max_tokens"] == 5
    await page.get_by_role("button", name="Edit").first.click()
    await expect(page.get_by_role("textbox", name="Message")).to_have_value("Which colour?")
    await said_by(page, "Which one, now?")
    await expect(page.get_by_role("article", name="Answer of told")).to_have_count(1)
    await expect(page.get_by_role("article", name="Answer of told")).to_contain_text("Red, now.")
    assert [each["content"] for each in scripted.asked[2]["messages"]] == ["Be brief.", "Which one, now?"]
    await page.get_by_role("button", name="Clear").click()
    await page.get_by_role("dialog").get_by_role("button", name="Clear").click()
    await expect(page.get_by_role("article")).to_have_count(0)


async def test_thoughts_images_and_errors(page, start, scripted, tmp_path):
    """Thoughts are folded, apart from the answer; images go with the question; an error is told in its words."""
    router = await start()
    await opened(page, router, "told")
    (tmp_path / "pixel.png").write_bytes(base64.b64decode(PNG))
    await page.locator("input[type=file]").set_input_files(tmp_path / "pixel.png")
    await expect(page.get_by_role("img", name="Image 1")).to_be_visible()
    scripted.says(
        Say(thinks="Hm, a pixel.", text="A pixel."), Say(text="cut here", breaks=3), Say(status=400, message="too long")
    )
    await said_by(page, "What is this?")
    answer = page.get_by_role("article", name="Answer of told")
    await expect(answer.locator(".markdown")).to_have_text("A pixel.")
    await expect(answer.get_by_text("Hm, a pixel.")).to_be_hidden()
    await answer.get_by_text("Thought for").click()
    await expect(answer.get_by_text("Hm, a pixel.")).to_be_visible()
    text, image = scripted.asked[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is this?"}
    assert image == {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    await said_by(page, "And now?")
    last = page.get_by_role("article").last
    await expect(last.locator(".notice")).to_contain_text("broke off")
    assert scripted.asked[1]["messages"][0] == scripted.asked[0]["messages"][0]
    await last.get_by_role("button", name="Ask told again").click()
    await expect(last.locator(".notice")).to_contain_text("too long")


async def test_a_client_s_key(page, start, scripted):
    """Where clients need one it is asked for, and stays out of what is shown."""
    router = await start("auth: {keys: [{key: sesame, name: me}], admin_keys: [{key: open, name: ops}]}")
    await page.goto(f"{router.url}/#/playground")
    await page.get_by_label("Admin key").fill("open")
    await page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
    await expect(page.get_by_text("Clients need a key here")).to_be_visible()
    await page.get_by_role("button", name="Key …").click()
    await page.get_by_role("dialog").get_by_label("Key").fill("sesame")
    await page.get_by_role("button", name="Use it").click()
    await expect(page.get_by_text("Clients need a key here")).to_be_hidden()
    await opened(page, router, "told")
    scripted.says(Say(text="Welcome."))
    await said_by(page, "It's me")
    answer = page.get_by_role("article", name="Answer of told")
    await expect(answer).to_contain_text("Welcome.")
    await answer.get_by_role("button", name="As code").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("authorization: Bearer YOUR_KEY")
    await expect(dialog).to_contain_text("It'\\''s me")
    assert "sesame" not in await page.content()


async def test_an_answer_full_of_scripts(page, start, scripted):
    """It is text, and makes only links to pages."""
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    router = await start()
    await opened(page, router, "told")
    wrong.clear()
    scripted.says(Say(text=HOSTILE, thinks=HOSTILE, breaks=0), Say(status=400, message=HOSTILE))
    await said_by(page, HOSTILE)
    answer = page.get_by_role("article", name="Answer of told")
    await expect(answer).to_contain_text("tokens/s")
    await said_by(page, "again")
    await expect(page.get_by_role("article").last.locator(".notice")).to_contain_text("<img src=x")
    inside = "main :is(img, script, iframe, svg, style, object, [onclick], [onload], [onerror], [style])"
    assert await page.locator(inside).count() == 0
    links = await page.locator(".markdown a").evaluate_all("all => all.map(each => [each.href, each.rel])")
    assert links
    for href, rel in links:
        assert href.startswith("https://example.org/")
        assert rel == "noopener noreferrer"
    assert await page.title() == "Playground · router"
    assert [each for each in wrong if "400" not in each] == []
    found = await Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


async def test_markdown(page, start_router):
    """The same elements come of a text whatever pieces it comes in."""
    router = await start_router()
    await page.goto(router.url)
    found = {}
    for text, _ in RENDERED:
        pieces = {await page.evaluate(RENDERS, [text, size]) for size in (1, 2, 7, 1000)}
        assert len(pieces) == 1, f"{text!r}: {pieces}"
        found[text] = pieces.pop()
    assert found == dict(RENDERED)


async def test_markdown_that_never_ends_is_cheap(page, start_router):
    """Long texts of one mark: each character is looked at a bounded number of times, or this takes minutes."""
    router = await start_router()
    await page.goto(router.url)
    marks = ["*", "_", "**a ", "[", "[[](", "`", "``` ", "<", "> ", "- ", "|", "\\", "~~", "![", "1. ", "https://"]
    async with asyncio.timeout(60):
        for mark in marks:
            for text in (mark * (60_000 // len(mark)), f"{mark * 40}\n" * 100):
                assert await page.evaluate(RENDERS, [text, 5000])


async def test_a_long_answer_keeps_the_page_free(browser: Browser, start, scripted, tmp_path):
    """20,000 tokens at full speed, of every kind: no piece of work takes the page's thread for 100 ms."""
    router = await start()
    page = await browser.new_page()
    await opened(page, router, "told")
    words = "word **bold** and more. " * 3000
    text = (
        f"{words}\n\n"
        + "- item of *it*\n" * 1000
        + "\n```py\n"
        + "value = value + 1\n" * 1000
        + "```\n| a | b |\n|-|-|\n"
        + "| 1 | 2 |\n" * 300
    )
    scripted.says(Say(text=text))
    await browser.start_tracing(page=page, path=tmp_path / "trace.json", categories=["toplevel"])
    await said_by(page, "All of it")
    await page.evaluate(ALL_DRAWN)
    await browser.stop_tracing()
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    threads = {(each["pid"], each["tid"]) for each in events if each.get("args", {}).get("name") == "CrRendererMain"}
    # The thread's own time: a busy machine has others run meanwhile.
    tasks = [
        each.get("tdur", 0) / 1000
        for each in events
        if each["name"].endswith("RunTask") and (each["pid"], each["tid"]) in threads
    ]
    assert len(tasks) > 100
    assert max(tasks) < 100
    await page.close()
