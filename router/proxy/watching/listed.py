"""What a server's own GET /v1/models tells of its models. Pure.

Beside the ids that all servers give, each gives fields of its own:

    max_model_len                                   vllm, SGLang
    meta.n_ctx, architecture.input_modalities       llama.cpp; meta.n_ctx_train is no context that it serves
    context_length, supported_parameters            OpenRouter, this router
    loaded_context_length, max_context_length, type LM Studio; Mistral has the second
    context_window                                  Groq
    capabilities                                    words, or an object of words and booleans
    owned_by                                        "llamacpp" is llama.cpp's server, whose answers lack fields

A field of an unexpected kind is ignored, and so is an entry without a usable id: what a server serves must be found all
the same. Some give the list bare, as Together does, or Ollama's own.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from launchers.abilities import Abilities
from router.core.apis import MESSAGES, RESPONSES

MOST_ID: Final = 512
"""Letters of a model's id."""

MOST_CONTEXT: Final = 1 << 30
"""Tokens; a context above it isn't believed."""

LLAMA_CPP: Final = "llamacpp"
TOOLS: Final = frozenset({"tools", "tool_use", "function_calling", "trained_for_tool_use"})
VISION: Final = frozenset({"vision", "multimodal", "image"})
EMBEDDINGS: Final = frozenset({"embeddings", "embedding"})
REASONING: Final = frozenset({"reasoning", "thinking"})
COMPLETION: Final = frozenset({"completion", "completions", "completion_chat", "chat"})


class Listed(NamedTuple):
    """What each model can do, by its id; and the paths whose answers lack fields that clients need."""

    models: dict[str, Abilities]
    mends: frozenset[str]


class _Model(msgspec.Struct):
    """A model, as servers list it; only the id is checked."""

    id: str
    max_model_len: Any = None
    context_length: Any = None
    loaded_context_length: Any = None
    max_context_length: Any = None
    context_window: Any = None
    meta: Any = None
    architecture: Any = None
    input_modalities: Any = None
    supported_parameters: Any = None
    capabilities: Any = None
    type: Any = None
    owned_by: Any = None


class _Models(msgspec.Struct):
    data: list[_Model]


_decode = msgspec.json.Decoder(_Models).decode
_begin = re.compile(r'\A\s*(?:\[|\{(?:[^\[]*?"(?:data|models)"\s*:\s*)\[)').match
_between = re.compile(r"[\s,]*").match
_entry = json.JSONDecoder().raw_decode


def listed(page: bytes) -> Listed:
    """Read a list of models. Raises ValueError and RecursionError for what is no such list."""
    try:
        return _told(_decode(page).data)
    except msgspec.ValidationError:
        return _read(_entries(msgspec.json.decode(page)))


def listed_in_part(page: bytes) -> Listed:
    """Read the beginning of a list, up to the first entry that isn't whole. Raises as `listed` does."""
    text = page.decode("utf-8", "ignore")
    begins = _begin(text)
    if begins is None:
        raise ValueError("no list of models")
    entries, at = [], begins.end()
    try:
        while True:
            space = _between(text, at)
            entry, at = _entry(text, at if space is None else space.end())
            entries.append(entry)
    except ValueError:
        return _read(entries)


def _entries(said: object) -> list[object]:
    """Find the list in what a server says."""
    if isinstance(said, dict):
        said = next((said[key] for key in ("data", "models") if isinstance(said.get(key), list)), None)
    if not isinstance(said, list):
        raise ValueError("no list of models")  # noqa: TRY004 -- it is a server's mistake
    return said


def _read(entries: list[object]) -> Listed:
    """Take the entries that have an id. Raises ValueError if there are others alone."""
    models = []
    for entry in entries:
        fields = {"id": entry} if isinstance(entry, str) else entry if isinstance(entry, dict) else {}
        name = next((fields[key] for key in ("id", "model") if key in fields), None)
        if isinstance(name, str):
            models.append(msgspec.convert({**fields, "id": name}, _Model))
    if entries and not models:
        raise ValueError("no model in its list has an id")
    return _told(models)


def _told(listing: list[_Model]) -> Listed:
    models = [model for model in listing if 0 < len(model.id) <= MOST_ID and model.id.isprintable()]
    of_llama_cpp = any(model.owned_by == LLAMA_CPP for model in models)
    return Listed(
        {model.id: _abilities(model) for model in models},
        frozenset({MESSAGES, RESPONSES}) if of_llama_cpp else frozenset(),
    )


def _abilities(model: _Model) -> Abilities:
    meta = _object(model.meta)
    words = _words(model)
    kind = model.type if isinstance(model.type, str) else ""
    embeds = True if kind in EMBEDDINGS else _any(words, EMBEDDINGS)
    modalities = model.input_modalities or _object(model.architecture).get("input_modalities")
    vision = "image" in modalities if isinstance(modalities, list) else _any(words, VISION)
    ftype = meta.get("ftype")
    return Abilities(
        _context(model, meta),
        False if kind in EMBEDDINGS else _any(words, COMPLETION),
        _any(words, TOOLS),
        True if kind == "vlm" else vision,
        embeds,
        _any(words, REASONING),
        quantization=ftype.removeprefix("all ")[:32] if isinstance(ftype, str) else "",
        size=_number(meta.get("size")) or 0,
    )


def _context(model: _Model, meta: Mapping[str, Any]) -> int | None:
    every = (
        model.max_model_len,
        meta.get("n_ctx"),
        model.loaded_context_length,
        model.context_length,
        model.context_window,
        model.max_context_length,
    )
    return next((found for found in map(_number, every) if found is not None and found <= MOST_CONTEXT), None)


def _words(model: _Model) -> dict[str, bool]:
    """Give the words that a server says of a model, and whether each holds."""
    said = model.capabilities
    found = {name: value for name, value in _object(said).items() if isinstance(value, bool)}
    for names in (said, model.supported_parameters):
        if isinstance(names, list):
            found |= {name: True for name in names if isinstance(name, str)}
    return found


def _any(words: Mapping[str, bool], names: frozenset[str]) -> bool | None:
    """Tell whether one of these words holds; None if none is said, as a list may leave out what isn't known."""
    said = [words[name] for name in names if name in words]
    return any(said) if said else None


def _object(value: Any) -> Mapping[str, Any]:  # noqa: ANN401 -- it is what a server wrote
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> int | None:  # noqa: ANN401
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
