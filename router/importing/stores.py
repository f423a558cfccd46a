"""Reads the stores of Ollama and LM Studio: which models they have, and with which settings. Starts nothing."""

from __future__ import annotations

import os
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from launchers.files import read_ordinary
from launchers.scan import places
from launchers.scan.ollama import ADAPTER, MODEL, NO_GGUF, PARAMS, SYSTEM, layers_of, name_of
from router.importing import lm_studio, ollama
from router.importing.imported import mapping
from router.scan.models import Machine, Model, scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from router.importing.imported import Imported

MOST_SETTINGS: Final = 1 << 20
"""Bytes of a file with settings."""
MOST_MANIFESTS: Final = 10_000


class NoStoreError(Exception):
    """There is no such store, or nothing in it; the message says where it was looked for."""


# Ollama


def of_ollama(folder: Path, environ: Mapping[str, str], home: Path) -> Imported:
    """Read Ollama's store: that of OLLAMA_MODELS, the user's or the service's. Raises NoStoreError."""
    store = _first(places.of_ollama(environ, home), "manifests", "Ollama")
    # Several names may have one file, of which a search tells once.
    models = {each.read.candidate.place: each for each in _scanned(store, folder, environ)}
    stored = [_stored(name, blobs, store, models) for name, blobs in _manifests(store)]
    return ollama.imported([each for each in stored if each is not None], str(store), environ)


def _manifests(store: Path) -> Iterator[tuple[str, Mapping[str, str] | str]]:
    """Give what each model's manifest names, or why it can't be read, by the model's name."""
    manifests = store / "manifests"
    for path in sorted(islice((each for each in manifests.rglob("*") if each.is_file()), MOST_MANIFESTS)):
        parts = path.relative_to(manifests).parts
        if len(parts) > 1:
            try:
                yield name_of(parts), layers_of(read_ordinary(path, MOST_SETTINGS))
            except (OSError, ValueError) as error:
                yield name_of(parts), str(error)


def _stored(
    name: str, blobs: Mapping[str, str] | str, store: Path, models: Mapping[str, Model]
) -> ollama.Stored | None:
    """Describe the model of a name, of its manifest's blobs or why that can't be read; None for one that names none."""
    if isinstance(blobs, str):
        return ollama.Stored(name, {}, reason=blobs)
    if MODEL not in blobs:
        return ollama.Stored(name, {}, reason=NO_GGUF) if blobs else None
    model = models.get(str(store / "blobs" / blobs[MODEL]))
    if model is None:
        return ollama.Stored(name, {}, reason="its file isn't in Ollama's store")
    keys, about, reason = _described(model)
    params = mapping(_json(store / "blobs" / blobs[PARAMS])) if PARAMS in blobs else {}
    adapter = str(store / "blobs" / blobs[ADAPTER]) if ADAPTER in blobs else ""
    return ollama.Stored(name, mapping(keys.get("launch")), about, reason, params, SYSTEM in blobs, adapter)


# LM Studio


def of_lm_studio(folder: Path, environ: Mapping[str, str], home: Path) -> Imported:
    """Read LM Studio's folder, as it is now or was. Raises NoStoreError."""
    base = home / ".lmstudio"
    settings = mapping(_json(base / "settings.json"))
    said = settings.get("downloadsFolder")
    chosen = [Path(str(said)).expanduser()] if said else []
    store = _first([*chosen, *places.of_lm_studio(home)], "", "LM Studio")
    configs = base / ".internal" / "user-concrete-model-default-config"
    kept = [_kept(each, store, configs) for each in _scanned(store, folder, environ)]
    server = mapping(_json(base / ".internal" / "http-server-config.json"))
    return lm_studio.imported(kept, str(store), settings, server)


def _kept(model: Model, store: Path, configs: Path) -> lm_studio.Kept:
    candidate = model.read.candidate
    place = Path(candidate.place)
    said: Any = None
    if place.is_relative_to(store):
        below = place.relative_to(store)
        said = _json(configs / below.parent / f"{below.name}.json")
    keys, about, reason = _described(model)
    load, answers = lm_studio.fields_of(said, "load"), lm_studio.fields_of(said, "operation")
    return lm_studio.Kept(model.name, keys, about, reason, load, answers, candidate.is_gguf)


# Both


def _first(folders: Sequence[Path], inside: str, whose: str) -> Path:
    # Unlike Path's, this says False of what may not be looked at.
    found = next((each for each in folders if os.path.isdir(each / inside)), None)  # noqa: PTH112
    if found is None:
        raise NoStoreError(f"{whose} has no models here: looked for them in {', '.join(map(str, folders))}")
    return found


def _scanned(store: Path, folder: Path, environ: Mapping[str, str]) -> list[Model]:
    """Find the models of a store, as `models --scan` does. Raises NoStoreError if there is none."""
    found = scan([store], Machine(folder, environ=environ), time.monotonic).models
    if not found:
        raise NoStoreError(f"{store} has no models")
    return [*found]


def _described(model: Model) -> tuple[Mapping[str, Any], str, str]:
    """Give the keys of a model's entry, what it is, and why it can't be used."""
    if model.entry is None:
        return {"name": model.name}, model.read.candidate.place, model.note or "it can't be used"
    return model.entry.keys, model.entry.about, model.entry.reason


def _json(path: Path) -> Any:  # noqa: ANN401 -- whatever the file holds
    try:
        return msgspec.json.decode(read_ordinary(path, MOST_SETTINGS))
    except (OSError, ValueError, RecursionError):
        return None
