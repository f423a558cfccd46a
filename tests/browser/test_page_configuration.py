"""The page's configuration: router.yaml looked at, changed, saved, and fought over."""

import os
import re
from contextlib import AsyncExitStack

import aiohttp
import pytest
import yaml
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from tests.running import RunningRouter, eventually

WITHIN = 15_000
KEYS = """\
auth:
  admin_keys:
    - {key: all-of-it, name: ops, scopes: [read, manage, configure]}
    - {key: a-look, name: viewer, scopes: [read]}
"""
DIFFERS = """async ([before, after]) => {
  const {difference} = await import("/web/lib/diff.js")
  return difference(before, after).map(({kind, text}) => ({same: " ", gone: "-", new: "+"}[kind] + text)).join("|")
}"""
AS_YAML = """async data => (await import("/web/lib/yaml.js")).yaml(data)"""


@pytest.fixture(autouse=True)
def patience():
    expect.set_options(timeout=WITHIN)


@pytest.fixture
async def start(tmp_path, fake):
    """Give a function that starts a router, with a configuration of several lines."""
    async with AsyncExitStack() as stack:

        async def start() -> RunningRouter:
            config = (
                "# the router\nserver:\n  port: 0\nbackends:\n"
                f"  - name: far\n    url: {fake.url}\n    models: [demo]\n    api_key: not-for-you\n"
                f"logging: {{dir: {tmp_path}/logs}}\nstate: {{dir: {tmp_path}/state}}\n{KEYS}"
            )
            return await (await stack.enter_async_context(RunningRouter(tmp_path, config))).ready()

        yield start


def text_of(page: Page):
    return page.get_by_role("textbox", name="router.yaml")


def check_of(page: Page):
    return page.get_by_role("region", name="Check")


async def opened(page: Page, router: RunningRouter, key: str = "all-of-it") -> str:
    """Open the page with a key; give the text."""
    await page.goto(f"{router.url}/#/configuration")
    await page.get_by_label("Admin key").fill(key)
    await page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
    await expect(check_of(page)).to_contain_text("This is in force.")
    text: str = await text_of(page).input_value()
    return text


async def queue_timeout(router: RunningRouter) -> str:
    headers = {"authorization": "Bearer all-of-it"}
    async with aiohttp.request("GET", router.url + "/admin/config", headers=headers) as answer:
        told = await answer.json()
        return str(told["limits"]["queue_timeout"])


async def test_a_mistake_is_shown_at_its_place(page, start):
    """Its line is marked, and a click leads to it; it can't be saved."""
    router = await start()
    text = await opened(page, router)
    assert "# the router" in text
    assert "not-for-you" not in text
    assert "api_key: (hidden)" in text
    await expect(page.get_by_role("button", name="Save")).to_be_disabled()
    await text_of(page).fill(text.replace("models:", "modles:").replace("port: 0", "port: none"))
    await expect(check_of(page)).to_contain_text("2 problems")
    await expect(page.get_by_role("button", name="Save")).to_be_disabled()
    await expect(text_of(page)).to_have_attribute("aria-invalid", "true")
    assert await page.locator(".mark u").all_inner_texts() == ["port", "modles"]
    assert await page.locator(".numbers span").all_inner_texts() == [" 3", " 7"]
    found = await Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    await check_of(page).get_by_role("button", name="Line 7").click()
    await expect(text_of(page)).to_be_focused()
    assert await page.evaluate(
        "document.activeElement.value.slice(document.activeElement.selectionStart).startsWith('modles')"
    )
    mark, number = (
        await page.locator(".mark").nth(1).bounding_box(),
        await page.locator(".numbers span").nth(1).bounding_box(),
    )
    assert mark is not None
    assert number is not None
    assert abs(mark["y"] - number["y"]) < 4  # beside each other
    await text_of(page).fill(text.replace("models: [demo]", "models: [demo"))
    await expect(check_of(page)).to_contain_text("One problem")
    await text_of(page).fill(text)
    await expect(check_of(page)).to_contain_text("This is in force.")


async def test_a_change_is_saved(page, start, tmp_path):
    """What it would do is told before; then it is in force, with the secrets and comments that the file had."""
    router = await start()
    text = await opened(page, router)
    await text_of(page).fill(f"{text}limits: {{queue_timeout: 41s}}\n")
    await expect(check_of(page)).to_contain_text("It would do this")
    await expect(check_of(page)).to_contain_text("limits.queue_timeout")
    await expect(check_of(page)).to_contain_text("One backend stays as it is.")
    await page.get_by_role("button", name="See changes").click()
    await expect(page.get_by_role("dialog").locator("[data-kind=new]")).to_contain_text("limits: {queue_timeout: 41s}")
    await page.get_by_role("dialog").get_by_role("button", name="Close").click()
    assert await queue_timeout(router) != "41s"
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("region", name="Outcome")).to_contain_text("Saved, and in force")
    await expect(check_of(page)).to_contain_text("This is in force.")
    written = (tmp_path / "router.yaml").read_text()
    assert written.startswith("# the router\n")
    assert "api_key: not-for-you" in written
    assert "41s" in await queue_timeout(router)
    await text_of(page).fill(text.replace("demo]", "demo, more]"))
    await expect(page.get_by_role("region", name="Outcome")).to_be_hidden()  # it was about another text
    await expect(check_of(page)).to_contain_text("It would do this")
    await page.get_by_role("button", name="Save").click()  # of the text that it has now
    await expect(page.get_by_role("region", name="Outcome")).to_contain_text("far")
    assert "41s" not in (tmp_path / "router.yaml").read_text()


async def test_an_earlier_version(page, start, tmp_path):
    """It is compared, put into the text area, and saved as any other change; secrets stay."""
    router = await start()
    text = await opened(page, router)
    await text_of(page).fill(f"{text}limits: {{queue_timeout: 41s}}\n")
    await expect(check_of(page)).to_contain_text("It would do this")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("button", name=re.compile("^Compare with the version of")).click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.locator("[data-kind=gone]")).to_contain_text("41s")
    await dialog.get_by_role("button", name="Put it into the text area").click()
    await expect(text_of(page)).to_have_value(text)
    await expect(check_of(page)).to_contain_text("It would do this")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("button", name=re.compile("^Compare with the version of"))).to_have_count(2)
    written = (tmp_path / "router.yaml").read_text()
    assert "41s" not in written
    assert "api_key: not-for-you" in written


async def test_what_changes_on_the_disk_alone(page, start, tmp_path):
    """It is named before, so that it isn't sent in vain; and what was written stays to be copied."""
    router = await start()
    text = await opened(page, router)
    await text_of(page).fill(text.replace("/logs", "/elsewhere"))
    await expect(check_of(page)).to_contain_text("It would do this")
    await expect(check_of(page)).to_contain_text("can't be saved here: logging.dir")
    await expect(page.get_by_role("button", name="Save")).to_be_disabled()
    assert "/elsewhere" in await text_of(page).input_value()
    assert "/elsewhere" not in (tmp_path / "router.yaml").read_text()


async def test_two_who_change_it(page, start, tmp_path):
    """A change of somebody else is never overwritten unseen, and takes nothing away."""
    router = await start()
    text = await opened(page, router)
    path = tmp_path / "router.yaml"
    await text_of(page).fill(f"{text}limits: {{queue_timeout: 42s}}\n")
    path.write_text(path.read_text().replace("# the router", "# my router"))
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("The file has been changed meanwhile")).to_be_visible()
    assert "42s" not in path.read_text()
    await page.get_by_role("button", name="See the other version").click()
    await expect(page.get_by_role("dialog").locator("[data-kind=new]")).to_contain_text("# my router")
    await expect(page.get_by_role("dialog").locator("[data-kind=gone]").last).to_contain_text("42s")
    await page.get_by_role("dialog").get_by_role("button", name="Close").click()
    await page.get_by_role("button", name="Keep mine").click()
    assert "42s" in await text_of(page).input_value()
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("region", name="Outcome")).to_contain_text("Saved, and in force")
    assert "# the router" in path.read_text()
    assert "42s" in path.read_text()
    # Who has changed nothing sees what the others do.
    path.write_text(path.read_text().replace("42s", "43s"))
    await expect(text_of(page)).to_have_value(re.compile("43s"))
    await expect(page.get_by_text("The file has been changed meanwhile")).to_be_hidden()


async def test_a_router_that_was_started_again(page, start, tmp_path):
    """Its tag of the file is another one; the same text is no change of somebody else."""
    router = await start()
    text = await opened(page, router)
    await text_of(page).fill(f"{text}limits: {{queue_timeout: 44s}}\n")
    path, env = tmp_path / "router.yaml", os.environ | {"ROUTER_SERVER__PORT": router.url.rpartition(":")[2]}
    router.signal()
    await router.exit_code()
    written = path.read_text()
    async with RunningRouter(tmp_path, written, env=env) as second:
        await second.ready()
        await expect(page.locator("#connection")).to_have_text("Live")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("region", name="Outcome")).to_contain_text("Saved, and in force")
        await expect(page.get_by_text("The file has been changed meanwhile")).to_be_hidden()
        assert "44s" in path.read_text()


async def test_what_is_not_saved_stays(page, start):
    """While another page is looked at; the browser asks before the tab is left."""
    router = await start()
    text = await opened(page, router)
    await text_of(page).fill(f"{text}# unsaved\n")
    await page.locator("#nav").get_by_text("Models").click()
    await expect(page.get_by_text("are kept while this tab is open")).to_be_visible()
    await page.locator("#nav").get_by_text("Configuration").click()
    await expect(text_of(page)).to_have_value(f"{text}# unsaved\n")
    asked = []

    async def stays(dialog):
        asked.append(dialog.type)
        await dialog.dismiss()

    page.on("dialog", stays)
    await page.evaluate("location.reload()")
    await eventually(lambda: asked == ["beforeunload"])
    await expect(text_of(page)).to_have_value(f"{text}# unsaved\n")
    await page.get_by_role("button", name="Take changes back").click()
    await page.get_by_role("dialog").get_by_role("button", name="Take back").click()
    await expect(text_of(page)).to_have_value(text)


async def test_a_key_that_only_looks(page, start):
    """It sees the file and what a change would do, and copies; it neither saves nor reloads."""
    router = await start()
    text = await opened(page, router, "a-look")
    await text_of(page).fill(f"{text}limits: {{queue_timeout: 41s}}\n")
    await expect(check_of(page)).to_contain_text("It would do this")
    await expect(page.get_by_role("button", name="Save")).to_be_hidden()
    await expect(page.get_by_role("button", name="Reload")).to_be_disabled()
    await expect(page.get_by_role("button", name="Copy the text")).to_be_visible()
    await page.get_by_text("All that is in force").click()
    await expect(page.get_by_role("group", name="Configuration in force")).to_contain_text("queue_timeout: 1m")


async def test_a_file_with_a_mistake_is_reloaded(page, start, tmp_path):
    """What is wrong is told, with its line; the router goes on with what it has."""
    router = await start()
    await opened(page, router)
    path = tmp_path / "router.yaml"
    path.write_text(path.read_text().replace("port: 0", "prt: 0"))
    await page.get_by_role("button", name="Reload").click()
    outcome = page.get_by_role("region", name="Outcome")
    await expect(outcome).to_contain_text("The file has mistakes; nothing has changed.")
    await expect(outcome).to_contain_text("server.prt")
    await expect(check_of(page)).to_contain_text("One problem")
    path.write_text(path.read_text().replace("prt: 0", "port: 0"))
    await page.get_by_role("button", name="Reload").click()
    await expect(outcome).to_contain_text("Read again")
    await expect(check_of(page)).to_contain_text("This is in force.")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("a|b|c", "a|b|c", " a| b| c"),
        ("a|b|c", "a|x|c", " a|-b|+x| c"),
        ("a|b|c|d", "b|c|x|d", "-a| b| c|+x| d"),
        ("a", "a|b", " a|+b"),
        ("a|a|a", "a|a", " a| a|-a"),
        ("", "a", "-|+a"),
    ],
)
async def test_differences(page, start_router, before, after, expected):
    router = await start_router()
    await page.goto(router.url)
    assert await page.evaluate(DIFFERS, [before.replace("|", "\n"), after.replace("|", "\n")]) == expected


async def test_data_as_yaml(page, start_router):
    """What it writes, YAML reads as the same."""
    router = await start_router()
    await page.goto(router.url)
    data = {
        "a": [{"b": 1, "c": [[], {}, [1, [2]]]}, "x", None, True, "true", "- no", "12", "5s", "a: b"],
        "d": ["# c", "", "é\n", " d", "e "],
        "key: with": {"~": "null", "yes": "on", "0x1f": "0x1f", ".5": ".inf", "=": "<<"},
        "f": {"g": {"h": -1.5e-7}},
    }  # fmt: skip
    assert yaml.safe_load(await page.evaluate(AS_YAML, data)) == data
