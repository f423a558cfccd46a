import pytest

from router.proxy.dialling import Address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://gpu-box:8000", Address("gpu-box", 8000)),
        ("http://gpu-box:8000/", Address("gpu-box", 8000)),
        ("http://gpu-box:8000/v1", Address("gpu-box", 8000)),
        ("http://gpu-box:8000/v1/", Address("gpu-box", 8000)),
        ("http://gpu-box", Address("gpu-box", 80)),
        ("https://api.example.com/v1", Address("api.example.com", 443, tls=True)),
        ("HTTPS://API.example.com:8443", Address("api.example.com", 8443, tls=True)),
        ("http://gpu-box/llm", Address("gpu-box", 80, base="/llm")),
        ("http://gpu-box/llm/v1/", Address("gpu-box", 80, base="/llm/v1")),
        ("http://gpu-box/llm?v=1", Address("gpu-box", 80, base="/llm", query="v=1")),
        ("http://gpu-box/v1/llm", Address("gpu-box", 80, base="/v1/llm")),
        ("http://gpu-box/notv1", Address("gpu-box", 80, base="/notv1")),
        ("http://127.0.0.1:1", Address("127.0.0.1", 1)),
        ("http://[::1]:8000/v1", Address("::1", 8000)),
    ],
)
def test_address_of(url, address):
    """Where a backend listens, with what its URL has before /v1."""
    assert Address.of(url) == address
