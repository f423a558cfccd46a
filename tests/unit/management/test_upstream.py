"""/upstream: where a request may go."""

from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from router.config import BackendConfig
from router.core.catalog import Backend
from router.core.errors import BadRequestError, NotFoundError
from router.management.upstream import Upstream


def member(name: str, **keys: str) -> SimpleNamespace:
    config = BackendConfig.model_validate({"name": name, "models": ["m"]} | keys)
    return SimpleNamespace(
        planned=SimpleNamespace(config=config), backend=Backend(name, {name.rpartition("/")[2]: "m"})
    )


@pytest.fixture
def upstream():
    members = {
        each.backend.name: each
        for each in (member("mac/qwen", router="http://mac:8001"), member("box", url="http://box:1"))
    }
    plane = Mock(backends={name: each.backend for name, each in members.items()})
    return Upstream(Mock(members=members), plane)


@pytest.mark.parametrize("name", ["mac/qwen", "mac%2Fqwen", "qwen"])
@pytest.mark.parametrize(
    "path",
    [
        "admin/status",
        "admin/backends/x/drain",
        "%61dmin/status",
        "/admin/status",
        "upstream/x/v1/models",
        "metrics",
        "health",
        "unload",
        "running",
        "logs",
        "api/models/unload",
        "V1/../admin",
        "v1",
        "",
    ],
)
def test_a_peer_is_not_managed_by_its_models_paths(upstream, name, path):
    """Whatever it would allow: by the backend's name or the model's, quoted or not, with a query that looks better."""
    for target in (f"{name}/{path}", f"{name}/{path}?/v1/models"):
        with pytest.raises((NotFoundError, BadRequestError)):
            upstream._found(target)


def test_a_peers_paths_for_models(upstream):
    """These are reached; a server elsewhere has all of its paths reached."""
    assert upstream._found("mac/qwen/v1/models?x=1")[1] == "/v1/models?x=1"
    assert upstream._found("qwen/rerank")[1] == "/rerank"
    assert upstream._found("box/metrics")[1] == "/metrics"
    with pytest.raises(NotFoundError, match="is a model of another router"):
        upstream._found("qwen/metrics")


@pytest.mark.parametrize(
    "path", ["v1/..%2fadmin", "v1/%2e%2e/admin", "v1/%252e%252e/admin", r"v1/..\admin", "v1/..%5cadmin", "v1/%2e/x"]
)
@pytest.mark.parametrize("name", ["mac/qwen", "box"])
def test_no_way_up_however_it_is_quoted(upstream, name, path):
    """A proxy before the server may unquote it once more."""
    with pytest.raises(BadRequestError):
        upstream._found(f"{name}/{path}")
