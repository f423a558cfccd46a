"""What the path of a client's request means. Pure.

Base URLs are given in many forms: without /v1, with a slash too many, as /api/v1 or /v1/v1, as for Azure. One form
stands for all of them, and the rest of the router, and the engines, see it alone.

Beside the APIs under /v1 there are paths of engines' own, which a model answers, too: `apis.BESIDE`. Which engine
has which of them, its own file says (`launchers/engines`).
"""

import re
from typing import NamedTuple
from urllib.parse import unquote

from router.core.apis import BESIDE, OLLAMA

_SLASHES = re.compile(rb"/{2,}")
_PREFIX = re.compile(rb"/(?:(?:api|openai)/v1|v1/v1)(?=/|\Z)")
_AZURE = re.compile(rb"/openai/deployments/([^/]+)(/.+)")
_WORDS = rb"/(?:chat/completions|completions|embeddings|models|messages|responses|audio|images|moderations)(?=/|\Z)"
_WITHOUT_V1 = re.compile(_WORDS)
_AZURES_OTHER = re.compile(rb"/openai(" + _WORDS + rb".*)")
_HEALTH = b"/v1/health"
"""The name that llama.cpp's clients have for /health, too."""
_TARGET = re.compile(rb"/[!\"$-~]*")


class Meant(NamedTuple):
    """The target that a request means, and the model that its path names, if it does."""

    target: bytes
    model: str = ""


def meant(target: bytes) -> Meant:
    """Tell what a request's target means, which is the path with its query.

    Azure's `/openai/deployments/NAME/…` names the model, `/openai/models` and `/openai/responses` don't; the query, the
    version of the API, is for Azure alone.
    """
    path, mark, query = target.partition(b"?")
    path = _SLASHES.sub(b"/", path)
    if len(path) > 1 and path.endswith(b"/"):
        path = path[:-1]
    azure = _AZURE.fullmatch(path)
    if azure is not None:
        return Meant(b"/v1" + azure[2], unquote(azure[1].decode("latin-1")))
    azure = _AZURES_OTHER.fullmatch(path)
    if azure is not None:
        return Meant(b"/v1" + azure[1])
    if path == _HEALTH:
        return Meant(b"/health" + mark + query)
    path = _PREFIX.sub(b"/v1", path)
    return Meant((b"/v1" if _WITHOUT_V1.match(path) else b"") + path + mark + query)


def is_of_models(target: bytes) -> bool:
    """Tell whether a POST of this target, in the form of `meant`, is for a model. A '#' is for its client alone."""
    if _TARGET.fullmatch(target) is None:
        return False
    path = target.partition(b"?")[0].decode("latin-1")
    return path.startswith("/v1/") or path in OLLAMA or path in BESIDE
