"""router.yaml and the environment → a checked `Config`, or all that is wrong with them.

The steps, each in its own module: read the file (`places`), put `ROUTER_…` variables in their places and expand
`${NAME}` (`environment`), check keys, types and bounds (`types`) and what holds between them (`rules`), put what is
wrong into words (`explain`). Nothing is looked up on the network or, but for the one file, on the disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from router.config import environment, explain, not_yet, places
from router.config.problems import ConfigError, Problem
from router.config.types import Config

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from router.config.document import Document


@dataclass(frozen=True)
class Loaded:
    """A configuration that can be used, where it came from, and which of its keys have no effect yet."""

    config: Config
    path: Path
    not_yet: tuple[Problem, ...]


def load(path: Path, environ: Mapping[str, str]) -> Loaded:
    """The configuration in a file, with what the environment adds. Raises ConfigError with all problems at once."""
    document = places.read(path)
    environment.override(document, environ)
    environment.expand(document, environ)
    config = _checked(document)
    return Loaded(config, path, tuple(not_yet.problems(config, document)))


def _checked(document: Document) -> Config:
    try:
        config = Config.model_validate(document.data)
    except ValidationError as error:
        raise ConfigError([*document.problems, *explain.problems(error, document)]) from None
    if document.problems:
        raise ConfigError(document.problems)
    return config
