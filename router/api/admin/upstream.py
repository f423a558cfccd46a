"""/upstream: an engine's own pages and endpoints, as they are."""

from typing import Annotated, Any, Final, Protocol

from pydantic import Field, RootModel

from router.api.admin.endpoint import Asked, Endpoint, Endpoints
from router.core.scopes import Scope


class UpstreamAsked(Asked):
    """A backend, and a path there."""

    name: Annotated[str, Field(description="a backend's or a model's name, a slash, and the path there")]


class UpstreamTold(RootModel[Any]):
    """Whatever the engine answers."""


class ManagedUpstream(Protocol):
    """The part of the router that passes requests on."""

    async def pass_on(self, request: Any, admin: Any) -> Any:  # noqa: ANN401 - aiohttp's types, which this layer hasn't
        """Pass a request on, and its answer back. Raises NotFoundError, ConflictError and BadGatewayError."""


_ERRORS: Final = {404: "There is no such backend or model.", 409: "It isn't there now.", 502: "It didn't answer."}


def _upstream(method: str) -> Endpoint[ManagedUpstream, UpstreamAsked, UpstreamTold]:
    return Endpoint(
        operation=f"upstream_{method.lower()}",
        method=method,
        path="/upstream/{name}",
        scope=Scope.MANAGE,
        doc=(
            "An engine's own path, past the router: neither its queue nor its rules apply. Pages run as in a sandbox. "
            "Of a peer, only paths for models are reached (`/v1/…`), nothing that manages it."
        ),
        asks=UpstreamAsked,
        tells=UpstreamTold,
        handle=lambda part: part.pass_on,
        errors=_ERRORS,
        example={"name": "qwen/health"},
        passes=True,
    )


ENDPOINTS: Final[Endpoints[ManagedUpstream]] = tuple(_upstream(method) for method in ("GET", "POST", "PUT", "DELETE"))
