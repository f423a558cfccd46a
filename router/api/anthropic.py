"""GET /v1/models for clients of Anthropic's API, which name its version in a header. Pure.

They get Anthropic's fields beside OpenAI's. `capabilities` are an object there, of things that a list of words can't
say, so it is left out. All models are on one page.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

ASKS: Final = "anthropic-version"
"""The header by which such a client is known."""


def model(told: Mapping[str, Any]) -> dict[str, Any]:
    """Give a model, or a route, as it is listed otherwise, in the form of this API."""
    found = {
        **told,
        "type": "model",
        "display_name": told["id"],
        "created_at": datetime.fromtimestamp(told["created"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "max_input_tokens": told.get("context_length"),
    }
    del found["capabilities"]
    return found


def page(models: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """Give the fields of a list that has all models."""
    first, last = (models[0]["id"], models[-1]["id"]) if models else (None, None)
    return {"data": [model(each) for each in models], "has_more": False, "first_id": first, "last_id": last}
