"""What web pages can do to a router on the machine of the person who looks at them: real pages, in a real browser."""

import json
from typing import Any

import aiohttp
import pytest
from playwright.async_api import expect

ATTACK = """async (router) => {
  const body = JSON.stringify({model: "demo", messages: []}), chat = router + "/v1/chat/completions"
  const found = {}
  const read = async (name, path, options) => {
    try {
      const answer = await fetch(path.startsWith("http") ? path : router + path, options)
      found[name] = answer.type === "opaque" ? "opaque" : answer.status + " " + await answer.text()
    } catch (error) { found[name] = "unreadable" }
  }
  const once = (what, good, bad) => new Promise(done => {
    what[good] = event => done("came: " + (event.data || ""))
    what[bad] = () => done("unreadable")
  })
  const bound = () => new Promise(done => setTimeout(done, 2000))  // not every element tells of an error
  const text = {"content-type": "text/plain"}, json = {"content-type": "application/json"}
  await read("simple post", chat, {method: "POST", headers: text, body})
  await read("post without cors", chat, {method: "POST", mode: "no-cors", headers: text, body})
  await read("post of json", chat, {method: "POST", headers: json, body})
  await read("post with a key", chat, {method: "POST", headers: {...json, authorization: "Bearer x"}, body})
  await read("post with cookies", chat, {method: "POST", headers: text, body, credentials: "include"})
  await read("stream", chat, {method: "POST", headers: text, body: body.replace("{", '{"stream": true,')})
  await read("post without a referrer", chat, {method: "POST", headers: text, body, referrerPolicy: "no-referrer"})
  await read("models", "/v1/models", {})
  await read("models without cors", "/v1/models", {mode: "no-cors"})
  await read("config", "/admin/config", {})
  await read("status", "/admin/status", {})
  await read("ready", "/ready", {})
  await read("reload", "/admin/reload", {method: "POST"})
  await read("reload without cors", "/admin/reload", {method: "POST", mode: "no-cors"})
  await read("reload of json", "/admin/reload", {method: "POST", headers: json, body: "{}"})
  navigator.sendBeacon(chat, body)
  navigator.sendBeacon(router + "/admin/reload", "")
  const events = new EventSource(router + "/v1/models")
  found.events = await once(events, "onopen", "onerror")
  events.close()
  found.socket = await once(new WebSocket(router.replace("http", "ws") + "/v1/realtime"), "onopen", "onerror")
  for (const kind of ["img", "script", "iframe", "object"]) {
    const element = document.createElement(kind)
    const loaded = Promise.race([once(element, "onload", "onerror"), bound()])
    element[kind === "object" ? "data" : "src"] = router + "/admin/config"
    document.body.append(element)
    await loaded
    let inside = ""
    try { inside = element.contentDocument ? element.contentDocument.body.innerText : "" } catch (error) { }
    found[kind] = inside.includes("backends") ? inside : "unreadable"
  }
  for (const path of ["/v1/chat/completions", "/admin/reload"]) {
    const frame = document.createElement("iframe"), form = document.createElement("form")
    frame.name = "f" + path
    Object.assign(form, {method: "POST", enctype: "text/plain", action: router + path, target: frame.name})
    const field = document.createElement("input")
    field.name = '{"model": "demo", "messages": [], "x": "'
    field.value = '"}'
    form.append(field)
    document.body.append(frame, form)
    const loaded = Promise.race([once(frame, "onload", "onerror"), bound()])
    form.submit()
    await loaded
  }
  return found
}"""

SANDBOXED = """async ([router, attack]) => {
  const frame = document.createElement("iframe")
  frame.sandbox = "allow-scripts allow-forms"
  const told = new Promise(done => addEventListener("message", event => done(event.data)))
  frame.srcdoc = `<body><script>(${attack})("${router}").then(x => parent.postMessage(x, "*"))<\\/script></body>`
  document.body.append(frame)
  return await told
}"""

ASKS = """async ([router, body, key]) => {
  const headers = {"content-type": "application/json", "x-stainless-os": "Linux"}
  if (key) headers.authorization = "Bearer " + key
  const answer = await fetch(router + "/v1/chat/completions", {method: "POST", headers, body: JSON.stringify(body)})
  const reader = answer.body.getReader(), decoder = new TextDecoder()
  let text = "", reads = 0
  for (;;) {
    const {done, value} = await reader.read()
    if (done) break
    reads += 1
    text += decoder.decode(value, {stream: true})
  }
  const id = answer.headers.get("x-request-id"), backend = answer.headers.get("x-router-backend")
  return {status: answer.status, id, backend, reads, text}
}"""


async def state(url: str) -> dict[str, Any]:
    """Ask the router how it is, as a program on this machine may."""
    async with aiohttp.ClientSession() as session, session.get(url + "/admin/status") as answer:
        assert answer.status == 200
        told: dict[str, Any] = await answer.json()
        return told


async def untouched(router, fake, found: dict[str, str]) -> None:
    """Hold that an attack did nothing, and learnt nothing."""
    assert fake.stats.begun == 0
    assert (await state(router.url))["reload"] is None
    assert {name: told for name, told in found.items() if told not in {"unreadable", "opaque"}} == {}
    assert len(found) == 21


@pytest.mark.parametrize("host", ["evil.test", "localhost", "127.0.0.1", "sandboxed.test"])
async def test_a_page_of_another_site(start_router, page, site, fake, host):
    """On another name, or on another port of this machine; in a frame whose origin is null, too."""
    router = await start_router()
    await page.goto(f"http://{host}:{site}/")
    if host == "sandboxed.test":
        found = await page.evaluate(SANDBOXED, [router.url, ATTACK])
    else:
        found = await page.evaluate(ATTACK, router.url)
    await untouched(router, fake, found)


async def test_a_page_whose_name_was_pointed_at_the_router(start_router, page, fake):
    """DNS rebinding: to the browser they are one site, and it keeps no answer from the page. So it is 403."""
    router = await start_router()
    own = router.url.replace("127.0.0.1", "evil.test")
    empty = "<!doctype html><body></body>"
    await page.route("**/attack.html", lambda route: route.fulfill(body=empty, content_type="text/html"))
    await page.goto(own + "/attack.html")  # which came from elsewhere, before the name was pointed here
    found = await page.evaluate(ATTACK, own)
    readable = {name: told for name, told in found.items() if told != "unreadable"}
    assert json.loads(readable.pop("ready").removeprefix("200 ")) == {"status": "ready"}
    assert readable.keys() >= {"simple post", "models", "config", "reload", "stream"}
    assert {told.partition(" ")[0] for told in readable.values()} == {"403"}
    assert "backends" not in "".join(readable.values())
    assert fake.stats.begun == 0
    assert (await state(router.url))["reload"] is None
    for path, status in (("/admin/config", 403), ("/v1/models", 403), ("/", 200)):
        answer = await page.goto(own + path)
        assert answer is not None
        assert answer.status == status
    # The router's own page is files that tell nothing; under such a name, it learns nothing either.
    await expect(page.locator("#connection")).to_have_text("Sign-in needed")


async def test_a_person_may_look(start_router, page):
    """What is typed into the address bar is answered, under the router's own names."""
    router = await start_router()
    for name in ("127.0.0.1", "localhost"):
        answer = await page.goto(router.url.replace("127.0.0.1", name) + "/admin/config")
        assert answer is not None
        assert answer.status == 200


BODY = {"model": "demo", "messages": [], "stream": True, "fake": {"events": 20, "delay": 0.02}}


@pytest.mark.parametrize("key", ["", "sesame"])
async def test_a_page_that_is_named_streams(start_router, page, site, fake, key):
    """With a preflight before it, event by event, and it can read the id; errors, too. Another page can't."""
    more = f"auth: {{keys: [{key}]}}" if key else ""
    router = await start_router(f"port: 0, cors: ['http://chat.test:{site}']", more)
    await page.goto(f"http://chat.test:{site}/")
    told = await page.evaluate(ASKS, [router.url, BODY, key])
    assert told["status"] == 200
    assert told["reads"] > 1
    assert told["text"].endswith("data: [DONE]\n\n")
    assert told["id"]
    assert told["backend"]
    told = await page.evaluate(ASKS, [router.url, {"model": "nope"}, key])
    assert told["status"] == 404
    assert json.loads(told["text"])["error"]["code"] == "model_not_found"
    if key:
        told = await page.evaluate(ASKS, [router.url, BODY, "wrong"])
        assert told["status"] == 401
    models = await page.evaluate(
        "async ([url, key]) => (await fetch(url, {headers: {authorization: 'Bearer ' + key}})).json()",
        [router.url + "/v1/models", key],
    )
    assert [each["id"] for each in models["data"]] == ["demo"]
    assert fake.stats.begun == 1

    await page.goto(f"http://other.test:{site}/")
    refused = f"async asked => {{ try {{ return await ({ASKS})(asked) }} catch (error) {{ return 'unreadable' }} }}"
    assert await page.evaluate(refused, [router.url, BODY, key]) == "unreadable"
    assert fake.stats.begun == 1


async def test_a_page_that_is_named_does_not_manage(start_router, page, site):
    """server.cors is for the models."""
    router = await start_router(f"port: 0, cors: ['http://chat.test:{site}']")
    await page.goto(f"http://chat.test:{site}/")
    told = await page.evaluate("async url => (await fetch(url + '/admin/reload', {method: 'POST'})).status", router.url)
    assert told == 403
    assert (await state(router.url))["reload"] is None
