"""The web page's files: who gets them, how they are kept, and that nothing else is among them."""

import re

import pytest

from router.api.page import POLICY, files

HTML = {"accept": "text/html"}


async def test_a_browser_gets_the_page(start_router, fake, session):
    """With the policy that bounds it; Ollama's clients get its sentence at the same address."""
    router = await start_router([{"url": fake.url, "models": ["demo"]}])
    async with session.get(router.url, headers=HTML) as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
        assert answer.headers["content-security-policy"] == POLICY
        assert "<title>router</title>" in await answer.text()
    async with session.get(router.url) as answer:
        assert await answer.text() == "Ollama is running"


async def test_it_is_asked_for_again(start_router, fake, session):
    """What a browser has is sent again only if it has changed."""
    router = await start_router([{"url": fake.url, "models": ["demo"]}])
    async with session.get(f"{router.url}/web/app.js") as answer:
        tag = answer.headers["etag"]
        assert answer.content_type == "text/javascript"
    async with session.get(f"{router.url}/web/app.js", headers={"if-none-match": tag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1"])
async def test_anybody_may_have_it(start_router, fake, session, host):
    """It tells nothing: where keys are set, it asks for one. Nothing else of the router is open with it."""
    router = await start_router([{"url": fake.url, "models": ["demo"]}], auth={"keys": ["secret"]})
    for path, status in (("/", 200), ("/web/app.js", 200), ("/web/nothing.js", 404), ("/web/../app.py", 401)):
        async with session.get(f"{router.url}{path}", headers={**HTML, "host": host}) as answer:
            assert answer.status == status, path
    async with session.get(router.url, headers={"host": host}) as answer:
        assert answer.status == 401
    async with session.post(f"{router.url}/web/app.js", headers={"host": host}) as answer:
        assert answer.status == 401


def test_its_files():
    """Nothing is loaded from elsewhere, nothing is inline, and all of it together is small."""
    found = files()
    assert {"index.html", "app.js", "style.css"} <= found.keys()
    assert sum(len(each.body) for each in found.values()) < 300_000
    for name, each in found.items():
        text = each.body.decode()
        assert not re.search(r"(?:src|href|url|import|from)[\s=('\"]+(?:https?:)?//", text), name
        assert not re.search(r"\binnerHTML|\bouterHTML|insertAdjacentHTML|document\.write|\beval\(", text), name
    page = found["index.html"].body.decode()
    assert not re.search(r"\son\w+=|\sstyle=|<script>|<style>", page)


def test_what_it_names_is_there():
    """Each file that another one imports or links to is among them."""
    found = files()
    for name, each in found.items():
        folder = name.rpartition("/")[0]
        for path in re.findall(r"(?:from |import\(|import )\"(\.[^\"]+)\"", each.body.decode()):
            parts = folder.split("/") if folder else []
            for part in path.split("/"):
                if part == "..":
                    parts.pop()
                elif part != ".":
                    parts.append(part)
            assert "/".join(parts) in found, f"{name} imports {path}"
    for path in re.findall(r"(?:src|href)=\"/web/([^\"]+)\"", found["index.html"].body.decode()):
        assert path in found
