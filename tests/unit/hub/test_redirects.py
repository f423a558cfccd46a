import pytest
from yarl import URL

from router.hub.redirects import is_hub, refusal

HUB = "https://huggingface.co"


@pytest.mark.parametrize(
    ("hub", "to"),
    [
        (HUB, "https://huggingface.co/api/models/new/name"),
        (HUB, "https://cdn-lfs.huggingface.co/x?Signature=1"),
        (HUB, "https://cas-bridge.xethub.hf.co/x"),
        (HUB, "https://us.aws.cdn.hf.co/x"),
        ("https://hub.example", "https://files.hub.example/x"),
        ("https://hub.example", "https://cdn-lfs.hf.co/x"),
        ("https://hub.example", "https://named.example/x"),
        ("http://127.0.0.1:9", "http://127.0.0.1:10/x"),
        ("http://hub.lan", "https://hub.lan/x"),
    ],
)
def test_where_a_hub_may_send_on_to(hub, to):
    assert refusal(URL(hub), URL(hub), URL(to), {"named.example"}) == ""


@pytest.mark.parametrize(
    ("hub", "to", "said"),
    [
        (HUB, "https://evil.example/x", "another host, evil.example"),
        (HUB, "https://hf.co.evil.example/x", "another host"),
        (HUB, "https://evilhf.co/x", "another host"),
        (HUB, "https://127.0.0.1/admin", "another host"),
        (HUB, "https://169.254.169.254/latest/meta-data", "another host"),
        (HUB, "https://[::1]/x", "another host"),
        (HUB, "http://cdn-lfs.hf.co/x?secret=1", "from https to http"),
        (HUB, "http://huggingface.co/x", "from https to http"),
        ("http://127.0.0.1:9", "http://localhost:9/x", "another host, localhost"),
        (HUB, "file:///etc/passwd", "no address of a file"),
        (HUB, "ftp://huggingface.co/x", "no address of a file"),
        (HUB, "https://me:secret@huggingface.co/x", "no address of a file"),
    ],
)
def test_where_it_may_not(hub, to, said):
    """The message has neither what may be a signature nor a password."""
    why = refusal(URL(hub), URL(hub), URL(to), {"named.example"})
    assert said in why
    assert "secret" not in why


def test_https_stays_https_on_the_way():
    """A hub of http may send on to https, and that not back."""
    assert "from https" in refusal(URL("http://hub.lan"), URL("https://hub.lan/x"), URL("http://hub.lan/y"), ())


def test_another_host_is_named_in_what_to_say():
    assert refusal(URL(HUB), URL(HUB), URL("https://cdn.example/x"), ()).endswith("say so: --cdn cdn.example")


@pytest.mark.parametrize(
    ("url", "is_its_own"),
    [
        ("https://huggingface.co/a", True),
        ("https://huggingface.co:443/a", True),
        ("https://huggingface.co:444/a", False),
        ("http://huggingface.co/a", False),
        ("https://cdn-lfs.huggingface.co/a", False),
    ],
)
def test_who_is_shown_the_token(url, is_its_own):
    assert is_hub(URL(HUB), URL(url)) is is_its_own
