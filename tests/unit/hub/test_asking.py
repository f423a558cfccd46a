"""What a hub is asked, with which token, and what its refusals are called."""

import re

import pytest
from yarl import URL

from router.hub import asking
from router.hub.asking import Hub
from router.hub.errors import BusyError, HubError
from tests.running import dead_url
from tests.unit.hub.conftest import CONTENT, NAME


async def test_the_token_stays_with_the_hub(downloads):
    """Where the files lie, nobody is shown it."""
    await downloads.fetch()
    shown = {(path.split("/")[1] == "files", key) for _, path, _, key in downloads.fake.asked}
    assert shown == {(False, "Bearer secret"), (True, "")}


async def test_another_host_is_not_followed(downloads):
    """It is named in the sentence; it was never asked; and a person may name it."""
    port = URL(downloads.fake.elsewhere).port
    downloads.fake.elsewhere = f"http://localhost:{port}"
    with pytest.raises(HubError, match=r"another host, localhost, which is not followed.*--cdn localhost") as raised:
        await downloads.fetch()
    assert not raised.value.may_pass
    assert downloads.fake.ranges == []
    downloads.hub._cdns = frozenset({"localhost"})
    assert (await downloads.fetch()).read_bytes() == CONTENT
    assert [key for _, path, _, key in downloads.fake.asked if path.startswith("/files/")] == [""]


async def test_a_repository_that_was_renamed(downloads):
    """It has its new name in the cache, where engines look for that."""
    downloads.fake.moved = {"old/name": NAME}
    found = await downloads.hub.repository("old/name")
    assert (found.name, found.file("tiny.gguf") is not None) == (NAME, True)


async def test_a_hub_that_sends_on_for_ever(downloads):
    downloads.fake.moved = {NAME: NAME}
    with pytest.raises(HubError, match="sends on more than 5 times"):
        await downloads.repository()


async def test_a_name_that_there_is_not(downloads):
    with pytest.raises(HubError, match=r"has no model no/body, or not for everybody.*isn't enough"):
        await downloads.hub.repository("no/body")
    hub = Hub(downloads.hub._session, downloads.hub.url)
    with pytest.raises(HubError, match="none was shown"):
        await hub.repository("no/body")


async def test_a_model_with_terms(downloads):
    """The page where they are accepted is named."""
    downloads.fake.gated, downloads.fake.token = {NAME}, "theirs"
    with pytest.raises(HubError, match=re.escape(f"do that at {downloads.fake.url}/{NAME}, and set HF_TOKEN")):
        await downloads.repository()
    downloads.fake.token = "secret"
    assert (await downloads.fetch()).read_bytes() == CONTENT


async def test_nobody_is_there(downloads):
    hub = Hub(downloads.hub._session, URL(dead_url()))
    with pytest.raises(HubError, match="can't be asked: ") as raised:
        await hub.repository(NAME)
    assert raised.value.may_pass


async def test_a_hub_that_has_no_answer_now(downloads):
    downloads.fake.status = 503
    with pytest.raises(BusyError, match="answers 503: try again later"):
        await downloads.repository()
    downloads.fake.status = 400
    with pytest.raises(HubError, match="answers 400 to a question for"):
        await downloads.repository()


async def test_a_netrc_is_nothing_to_it(downloads, tmp_path, monkeypatch):
    """Its passwords would be shown instead of the token, or wherever files lie."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\ndefault login c password d\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    await downloads.fetch()
    assert {key for *_, key in downloads.fake.asked} == {"Bearer secret", ""}


async def test_a_proxy(downloads, monkeypatch):
    """It is asked for what isn't here, unless that is to be asked directly."""
    monkeypatch.setenv("http_proxy", downloads.fake.url)
    hub = Hub(downloads.hub._session, URL("http://hub.example"))
    assert (await hub.repository(NAME)).file("tiny.gguf") is not None
    monkeypatch.setenv("no_proxy", "hub.example")
    with pytest.raises(HubError, match="can't be asked"):
        await hub.repository(NAME)


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "https://huggingface.co"),
        ({"HF_ENDPOINT": "https://hub.example/"}, "https://hub.example"),
        ({"HF_ENDPOINT": "http://hub.lan:8080/base"}, "http://hub.lan:8080/base"),
    ],
)
def test_which_hub_is_asked(environ, url):
    assert asking.endpoint(environ) == URL(url)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"HF_ENDPOINT": "hub.example"}, "HF_ENDPOINT is 'hub.example', which is no address"),
        ({"HF_ENDPOINT": "ftp://x"}, "no address"),
        ({"HF_ENDPOINT": "http://[x"}, "no address"),
    ],
)
def test_when_none_is(environ, said):
    with pytest.raises(HubError, match=said):
        asking.endpoint(environ)


@pytest.mark.parametrize(("said", "offline"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_whether_a_hub_may_be_asked(said, offline):
    """As huggingface_hub reads it."""
    assert asking.is_offline({"HF_HUB_OFFLINE": said}) is offline
    assert not asking.is_offline({})


def test_where_the_token_is(tmp_path):
    """As for all programs of Hugging Face's: the variable, or what `hf auth login` has written."""
    (tmp_path / ".cache/huggingface").mkdir(parents=True)
    (tmp_path / ".cache/huggingface/token").write_text("kept\n")
    (tmp_path / "token").write_text("other\n")
    (tmp_path / "odd").write_bytes(b"\xff")
    (tmp_path / "lines").write_text("a\nb")
    assert asking.token({}, tmp_path) == "kept"
    assert asking.token({"HF_TOKEN": " said\n"}, tmp_path) == "said"
    assert asking.token({"HF_HOME": str(tmp_path)}, tmp_path) == "other"
    assert asking.token({"HF_TOKEN_PATH": str(tmp_path / "token")}, tmp_path) == "other"
    assert asking.token({"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, tmp_path) == ""
    for name in ("odd", "gone"):
        assert asking.token({"HF_TOKEN_PATH": str(tmp_path / name)}, tmp_path) == ""


def test_a_token_that_can_be_no_header(tmp_path):
    (tmp_path / "lines").write_text("a\nb")
    for environ, whose in (({"HF_TOKEN": "a\nb"}, "HF_TOKEN"), ({"HF_TOKEN_PATH": str(tmp_path / "lines")}, "lines")):
        with pytest.raises(HubError, match=f"{whose} has a line break in it, or another") as raised:
            asking.token(environ, tmp_path)
        assert not raised.value.may_pass


async def test_a_file_of_the_list_that_is_gone(downloads):
    """The model is there, so its name isn't wrong."""
    file, repository = await downloads.file("config.json"), await downloads.repository()
    del downloads.fake.repositories[NAME]["config.json"]
    with pytest.raises(HubError, match=r"answers 404 to a question for config\.json"):
        async with downloads.hub.part(repository, file, 0, 1):
            pass
