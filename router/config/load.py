"""router.yaml and the environment → a checked `Config`, or all that is wrong with them.

The steps, each in its own module:

    1. read the file and the files that it includes        reading.include
    2. set ROUTER_… variables, expand ${NAME}               reading.environment
    3. check keys, types, bounds, and rules between them    keys.config
    4. word the errors                                      explain

Nothing is looked up on the network, and nothing on the disk except these files.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from router.config import explain, foreign
from router.config.keys.config import Config
from router.config.pointing import pointed
from router.config.problems import ConfigError
from router.config.reading import environment
from router.config.reading.include import Sources, gathered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from router.config.reading.document import Document


@dataclass(frozen=True)
class Loaded:
    """A configuration that can be used, and where it came from.

    `files` are the file at `path` and those that it includes. `patterns` are absolute; a file that matches one later
    will be included, too. `text` is that of the file at `path` alone.
    """

    config: Config
    path: Path
    files: tuple[Path, ...]
    patterns: tuple[str, ...]
    text: str = ""


def load(path: Path, environ: Mapping[str, str], raw: bytes | None = None) -> Loaded:
    """Load a file, with what the environment adds; with `raw`, what the file would be if it had these bytes.

    Raises ConfigError with all problems at once.
    """
    with _without_collections():
        # A function of its own: everything except its result is freed before collections resume.
        return load_with_places(path, environ, raw)[0]


def load_with_places(path: Path, environ: Mapping[str, str], raw: bytes | None = None) -> tuple[Loaded, Document]:
    """The same, with the document, which knows where each value stands."""
    sources, texts = Sources((path,)), dict[str, str]()
    try:
        document, sources = gathered(path, environ, raw)
        texts = document.texts
        _is_ours(document)
        environment.override(document, environ)
        environment.expand(document, environ)
        config = _checked(document)
    except ConfigError as error:
        found = ConfigError(pointed(error.problems, texts))
        found.files, found.patterns = sources
        raise found from None
    return Loaded(config, path, *sources, document.texts[document.file]), document


@contextmanager
def _without_collections() -> Iterator[None]:
    """Pause GC: nothing allocated here is garbage.

    For a large file a collection would stop all threads, and with them all streams, for up to 100 ms.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _is_ours(document: Document) -> None:
    """Raise ConfigError for a configuration of another program: each of its keys would be unknown."""
    key, instead = foreign.of_data(document.data)
    if instead:
        raise ConfigError([document.problem((key,), instead)])


def _checked(document: Document) -> Config:
    try:
        config = Config.model_validate(document.data)
    except ValidationError as error:
        raise ConfigError([*document.problems, *explain.problems(error, document)]) from None
    if document.problems:
        raise ConfigError(document.problems)
    return config
