import pytest

from router.core.paths import Meant, is_of_models, meant


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions?a=b//c/", "/v1/chat/completions?a=b//c/"),
        # A slash too many.
        ("/v1/models/", "/v1/models"),
        ("/v1//models", "/v1/models"),
        ("//v1/models", "/v1/models"),
        ("/", "/"),
        ("//", "/"),
        # Another prefix than /v1, or none.
        ("/chat/completions", "/v1/chat/completions"),
        ("/completions?x", "/v1/completions?x"),
        ("/models", "/v1/models"),
        ("/models/a/b", "/v1/models/a/b"),
        ("/audio/transcriptions", "/v1/audio/transcriptions"),
        ("/api/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/openai/v1/responses", "/v1/responses"),
        ("/openai/v1/responses?x", "/v1/responses?x"),
        ("/openai/models?api-version=preview", "/v1/models"),
        ("/openai/responses/input_tokens", "/v1/responses/input_tokens"),
        ("/v1/health", "/health"),
        ("/v1/health/?x", "/health?x"),
        # What stays as it is.
        ("/completion", "/completion"),
        ("/rerank/", "/rerank"),
        ("/api/chat", "/api/chat"),
        ("/api/v10/x", "/api/v10/x"),
        ("/modelsx", "/modelsx"),
        ("/openai/modelsx", "/openai/modelsx"),
        ("/openai/files", "/openai/files"),
        ("/health", "/health"),
    ],
)
def test_forms_of_a_path(target, expected):
    """All forms that clients' base URLs come to mean the same; the query stays."""
    assert meant(target.encode()) == Meant(expected.encode(), "")


def test_azures_paths():
    """They name the model; the version of Azure's API is for Azure alone."""
    target = b"/openai/deployments/my%20model/chat/completions?api-version=2024-10-21"
    assert meant(target) == Meant(b"/v1/chat/completions", "my model")
    assert meant(b"/openai/deployments/m") == Meant(b"/openai/deployments/m")


@pytest.mark.parametrize(
    ("target", "is_one"),
    [
        (b"/v1/chat/completions", True),
        (b"/v1/anything?x=1", True),
        (b"/api/chat", True),
        (b"/infill", True),
        (b"/infill?x", True),
        (b"/api/show", False),
        (b"/props", False),
        (b"/admin/reload", False),
        (b"/v1/chat#x", False),
        (b"/v1/a b", False),
        (b"v1/chat/completions", False),
    ],
)
def test_is_of_models(target, is_one):
    """Under /v1 every path is a model's; beside it, those that are listed."""
    assert is_of_models(target) is is_one
