"""What comes of an import, and what its router.yaml does with a request, as far as its catalog and routes decide it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from router.config import Config, load
from router.core.catalog import Backend, Catalog
from router.core.reshape import reshaped
from router.fleet.diff import Plan
from router.importing import recognising
from router.importing.accepting import accepted, stand_ins
from router.importing.imported import Imported


class Made(NamedTuple):
    """An import, the text of its router.yaml, and that as the router reads it."""

    imported: Imported
    text: str
    config: Config


def made_of(raw: bytes, file: str = "f") -> Made:
    """Import another program's file, and read what is written, with all its variables set."""
    imported = recognising.imported(raw, file)
    assert imported is not None
    text = accepted(imported)
    return Made(imported, text, load(Path("router.yaml"), stand_ins(imported.variables), text.encode()).config)


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
