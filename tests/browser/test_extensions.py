"""A browser's extension, which server.cors may name as it names pages."""

import json
from pathlib import Path

import pytest
from playwright.async_api import Worker, async_playwright

from tests.browser.conftest import chromium
from tests.running import eventually

ASKS = """async url => {
  const headers = {"content-type": "application/json"}, body = JSON.stringify({model: "demo", messages: []})
  try {
    const answer = await fetch(url + "/v1/chat/completions", {method: "POST", headers, body})
    return {status: answer.status, id: answer.headers.get("x-request-id"), text: await answer.text()}
  } catch (error) { return {status: 0} }
}"""


def unpacked(folder: Path, hosts: list[str]) -> Path:
    """Write an extension that may ask these hosts past CORS."""
    folder.mkdir()
    manifest = {"manifest_version": 3, "name": "asks", "version": "1", "background": {"service_worker": "asks.js"}}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "host_permissions": hosts}))
    (folder / "asks.js").touch()
    return folder


@pytest.fixture
async def extension(tmp_path, hosts):
    """Give the part of an extension that runs behind all pages."""
    folder = unpacked(tmp_path / "extension", hosts)
    options = [
        "--headless=new",
        f"--disable-extensions-except={folder}",
        f"--load-extension={folder}",
        "--disable-features=LocalNetworkAccessChecks,DisableLoadExtensionCommandLineSwitch",
    ]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=chromium(),
            args=options,
            ignore_default_args=["--disable-extensions"],
        )
        await eventually(lambda: browser.service_workers)
        worker: Worker = browser.service_workers[0]
        yield worker
        await browser.close()


@pytest.mark.parametrize("hosts", [[], ["http://127.0.0.1/*"]])
async def test_an_extension_asks_where_it_is_named(start_router, extension, fake):
    """By its own id, or all of a kind; whether or not its user lets it past CORS, which the router doesn't know."""
    origin = extension.url.removesuffix("/asks.js")
    for number, named in enumerate((origin, "chrome-extension://*"), 1):
        router = await start_router(f"port: 0, cors: ['{named}']")
        told = await extension.evaluate(ASKS, router.url)
        assert told["status"] == 200
        assert told["id"]
        assert fake.stats.begun == number


@pytest.mark.parametrize("hosts", [[], ["http://127.0.0.1/*"]])
async def test_an_extension_that_is_not_named_drives_nothing(start_router, extension, fake):
    """It is a page like others."""
    router = await start_router("port: 0, cors: ['chrome-extension://another']")
    told = await extension.evaluate(ASKS, router.url)
    assert told["status"] in {0, 403}
    assert fake.stats.begun == 0
