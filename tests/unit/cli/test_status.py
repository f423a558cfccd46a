"""What `status` prints of backends."""

import re

import pytest

from router.api.admin.status import BackendTold, NeighbourTold
from router.cli import status


def backend(**told) -> BackendTold:
    usual = {
        "name": "box", "health": "up", "reason": "", "models": ("demo",), "in_flight": 0, "answered": 5, "weight": 1.0,
        "max_in_flight": None, "bytes_in_flight": 0, "expected_ttft": 0.1,
    }  # fmt: skip
    return BackendTold(**{**usual, **told})


def test_machines():
    """A column of them stands where a peer's model does; a URL's isn't known."""
    own, url, peers = backend(engine="vllm"), backend(url="http://x:1"), backend(name="mac/qwen", peer="mac")
    assert "MACHINE" not in status.backends((own, url))[0]
    told = [re.split(r" +", line) for line in status.backends((own, url, peers))]
    assert told[0][:3] == ["BACKEND", "MACHINE", "STATE"]
    assert [line[1:3] for line in told[1:]] == [["this", "one"], ["up", "demo"], ["mac", "up"]]


@pytest.mark.parametrize(
    ("told", "word"),
    [
        ({"state": "unloaded"}, "unloaded"),
        ({"state": "loaded"}, "up"),
        ({}, "up"),
        ({"state": "loaded", "health": "down"}, "down"),
        ({"state": "unloaded", "drained": True}, "drained"),
    ],
)
def test_a_peers_model(told, word):
    """The peer may be up, and its model not loaded."""
    assert status.state_of(backend(peer="mac", **told)) == word


def test_other_routers_on_the_network():
    """How each is used, or what to write to use it; what strangers announce can't move the cursor."""
    mac = NeighbourTold(
        name="mac 8001", url="http://10.0.0.2:8001", version="", entry="- router: http://10.0.0.2:8001", used_by=()
    )
    pc = mac.model_copy(update={"name": "p\x1bc", "used_by": ("pc/qwen", "pc/llama")})
    assert status.neighbours((mac, pc)) == [
        "mac 8001 is another router on the network, at http://10.0.0.2:8001; to use it: - router: http://10.0.0.2:8001",
        "p\\x1bc is another router on the network, at http://10.0.0.2:8001; used as pc/qwen, pc/llama",
    ]
