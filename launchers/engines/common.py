"""Shared parts of engines: writing flags, finding models, refusing arguments that the user can't set.

Pure, like the engines. Facts about a single engine are in its own file.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from launchers.errors import ArgumentError, ModelNotFoundError
from launchers.spec import ArgValue, LaunchSpec, Scalar

if TYPE_CHECKING:
    from launchers.engines.base import Files

PYTHON_ENV: Mapping[str, str] = MappingProxyType({"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1"})
"""Variables for every Python. The last output must not stay in a buffer; a folder with a module's name must not be
imported; a model's name must be read as it was given, whatever the locale."""

LISTENS = "launched engines listen on 127.0.0.1 alone"
PORT = "the router gives each start a free port"
MODEL = "say it in launch.model"
NAME = "it is the name that clients ask for"
KEY = "the router makes its key, and shows it; whom the router itself answers is for auth.keys"
PLAIN = "the router speaks plain HTTP to the engines of its own machine"
PATHS = "the router asks for the paths of OpenAI's API as they are"
HIDDEN = "it would bring in settings that the router can't see"
"""Reasons why an argument is the router's, worded for the user."""

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
HUB_FILE = re.compile(r"(?P<repo>\w[\w.-]*/[\w.-]+):(?P<file>.+)")
NOT_A_MODEL = re.compile(r"mmproj|-(?!00001-of)\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)
"""Names of files that belong to a model: a vision projector, and the parts of a split file after the first."""


# Flags


@dataclass(frozen=True, slots=True)
class Style:
    """How a program reads its flags.

    `dashes`: `--max-tokens`, else the name as it was written. `booleans`: a word (`--x true`), a switch (`--x`; false
    leaves it out) or a pair (`--x`, `--no-x`); `switches` are the flags without a `--no-x` in a program of pairs.
    `lists`: several words, or one with commas.
    """

    dashes: bool
    booleans: Literal["words", "switches", "pairs"]
    lists: Literal["words", "commas"]
    switches: frozenset[str] = frozenset()


def flags(args: Mapping[str, ArgValue], style: Style) -> Iterator[str]:
    """Write `{n_ctx: 4096, embedding: true}` as `--n_ctx 4096 --embedding true`, by the style. None is left out."""
    for name, value in args.items():
        if value is None:
            continue
        if isinstance(value, bool) and style.booleans != "words":
            if value:
                yield f"--{name}"
            elif style.booleans == "pairs" and name not in style.switches:
                yield f"--no-{name}"
            continue
        yield f"--{name}"
        if isinstance(value, Mapping):
            yield json.dumps(value)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            words = map(_text, value)
            yield from words if style.lists == "words" else (",".join(words),)
        else:
            yield _text(value)


def over(ours: Mapping[str, ArgValue], theirs: Mapping[str, ArgValue], style: Style) -> dict[str, ArgValue]:
    """Lay the user's arguments over our defaults; `max_tokens` and `max-tokens` are the same."""
    if not style.dashes:
        return {**ours, **theirs}
    return {**ours, **{name.replace("_", "-"): value for name, value in theirs.items()}}


def number(args: Mapping[str, ArgValue], option: str) -> int:
    """Read a positive whole number among arguments, named `max-num-seqs` or `max_num_seqs`; 0 if there is none."""
    said = next((value for name, value in args.items() if name.replace("_", "-") == option), None)
    return int(said) if isinstance(said, int | str) and str(said).isdigit() else 0


def _text(value: Scalar) -> str:
    """Write a value for a command line: booleans in lower case."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_ownership(spec: LaunchSpec, args: Mapping[str, str], env: Mapping[str, str]) -> None:
    """Raise ArgumentError for names that are the router's: lower-case names with underscores → the reason."""
    for kind, names, owned in (("args", spec.args, args), ("env", spec.env, env)):
        for name in names:
            reason = owned.get(name.lower().replace("-", "_"))
            if reason:
                raise ArgumentError(f"launch.{kind}: {name} can't be set for {spec.engine}: {reason}")


def wrapper(name: str) -> str:
    """Give the path of a program of `launchers/wrappers`, for a Python without this package."""
    return str(PurePath(__file__).parent.with_name("wrappers") / name)


# Models


def expanded(model: str, files: "Files") -> str:
    """Replace `~` by the user's home folder."""
    return files.home + model[1:] if model.startswith("~/") else model


def only_gguf(folder: str, files: "Files") -> str:
    """Find the one *.gguf model in a folder."""
    found = [name for name in files.list(folder) if name.lower().endswith(".gguf") and not NOT_A_MODEL.search(name)]
    if not found:
        raise ModelNotFoundError(f"{folder}: the folder holds no *.gguf file; put one there, or name another place")
    if len(found) > 1:
        raise ModelNotFoundError(f"{folder}: the folder holds several models; name one of them: {', '.join(found)}")
    return f"{folder.rstrip('/')}/{found[0]}"


def find_gguf(model: str, files: "Files", engine: str, example: str) -> str:
    """Find a *.gguf file, a folder with one, or `org/name:what` of a hub; messages show `example` for the last."""
    path = expanded(model, files)
    # 1. A path that exists wins over what it might mean on a hub.
    if files.is_file(path):
        return f"./{path}" if HUB_FILE.fullmatch(path) else path
    if files.is_dir(path):
        return only_gguf(path, files)
    # 2. A hub's repository, with the file to take from it.
    if HUB_FILE.fullmatch(model):
        return model
    # 3. Neither: say what it could have been.
    hint = f"a hub's model needs the file named too, as {model}:{example}"
    raise ModelNotFoundError(
        f"{path}: there is no such file or folder"
        + (f" (and {hint})" if HUB_ID.fullmatch(model) else "")
        + f"; {engine} needs a *.gguf file, a folder that holds one, or org/name:{example}"
    )


def find_folder(model: str, files: "Files", engine: str) -> str:
    """Find a folder in Hugging Face's layout, in a form that `is_path` recognises, or `org/name` of a hub."""
    path = expanded(model, files)
    needs = f"{engine} needs a folder in Hugging Face's layout (config.json, *.safetensors) or a hub's org/name"
    # 1. A folder that exists wins over what its name might mean on a hub.
    if files.is_dir(path):
        if not files.is_file(f"{path.rstrip('/')}/config.json"):
            raise ModelNotFoundError(f"{path}: the folder holds no config.json; {needs}")
        return path if is_path(path) else f"./{path}"
    if files.is_file(path):
        raise ModelNotFoundError(f"{path}: this is a file; {needs}")
    # 2. A hub's name; but if its first part is a folder on this disk, it is a path with a mistake in it.
    if HUB_ID.fullmatch(model) and not files.is_dir(model.partition("/")[0]):
        return model
    raise ModelNotFoundError(f"{path}: there is no such folder; {needs}")


def is_path(model: str) -> bool:
    """Tell whether a result of `find_folder` is a path, not a hub's name."""
    return model.startswith(("/", "./", "../"))
