"""What a router.yaml does with a request, as far as its catalog and its routes decide it."""

import json
from typing import Any

from router.config import Config
from router.core.catalog import Backend, Catalog
from router.core.reshape import reshaped
from router.fleet.diff import Plan


class Routed:
    """The catalog of a configuration, as a router at work has it; a backend that asks for its models has none."""

    def __init__(self, config: Config) -> None:
        backends = [Backend(each.name, dict(each.models)) for each in config.backends]
        self.catalog = Catalog(backends, Plan.of(config, (), "").routes)

    def where(self, model: str) -> str:
        """Give where a request goes: `backend:name sent there`; beside each other with |, in order with >."""
        tiers = self.catalog.resolve(model).tiers
        return " > ".join(" | ".join(f"{backend.name}:{known}" for backend, known in tier) for tier in tiers)

    def sent(self, model: str, **fields: object) -> dict[str, Any]:
        """Give the fields that are sent, but for the model."""
        way = self.catalog.resolve(model)
        body = json.dumps({"model": model, **fields}).encode()
        said: dict[str, Any] = json.loads(reshaped(body, way.route.reshape, way.tiers[0][0].model))
        assert said.pop("model") == way.tiers[0][0].model
        return said

    def listed(self) -> set[str]:
        """Give what /v1/models lists."""
        return {each.name for each in self.catalog.listing()}
