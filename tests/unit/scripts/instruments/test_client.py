import pytest

from scripts.instruments.client import LoadTarget


@pytest.mark.parametrize(
    ("url", "path", "host", "port"),
    [
        ("http://127.0.0.1:8001", "/v1/models", "127.0.0.1", 8001),
        ("http://box/v1", "/v1/models", "box", 80),
        ("https://box/v1/", "/v1/models", "box", 443),
        ("https://box:9/openai/v1", "/openai/v1/models", "box", 9),
        ("http://[::1]:8001", "/v1/models", "::1", 8001),
    ],
)
def test_addresses(url, path, host, port):
    """With or without /v1, behind a path or not."""
    target = LoadTarget("x", url)
    assert target.request("GET", "/v1/models").startswith(b"GET %s HTTP/1.1\r\nhost: " % path.encode())
    assert (target.host, target.port, target.tls is not None) == (host, port, url.startswith("https"))


@pytest.mark.parametrize("url", ["", "box:80", "ftp://box", "http://", "http://box:port", "http://box:99999"])
def test_what_is_no_address(url):
    """It is refused."""
    with pytest.raises(ValueError, match=r".+"):
        LoadTarget("x", url)


def test_requests():
    """A body has its type and its length; the key goes along, unless it is left out; headers can be overridden."""
    target = LoadTarget("x", "http://user@box:1", "secret")
    asked = target.request("POST", "/v1/x", b"{}").decode()
    assert asked.endswith("\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
    assert "host: box:1\r\n" in asked
    assert "authorization: Bearer secret\r\n" in asked
    bare = target.request("POST", "/v1/x", headers={"content-length": "9"}, auth=False)
    assert b"authorization" not in bare
    assert bare.count(b"content-length") == 1
