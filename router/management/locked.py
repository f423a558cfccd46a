"""What of router.yaml comes from the disk alone: what runs programs here, reads and writes files, or opens doors.

Two configurations are compared twice: as they are written, since the environment may lie over what is written now, but
not after the next start; and as they are loaded, since one thing may be written in several ways.
Nothing is read but where paths lead.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from router.config import Config
from router.config.keys.launches import LaunchConfig
from router.config.problems import KeyPath
from router.config.redact import public
from router.fleet.launches import located

_ALWAYS: Final = ("include", "profile", "auth", "server.tls", "logging.dir", "state.dir")
"""Keys that stay as they are. A profile is a file, too, of engines' options."""

_OF_LAUNCHES: Final = ("cmd", "args", "env", "allow", "media_hosts")

Written = Mapping[str, Any]
"""A file's data, before the environment has been laid over it."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: the file's own data, and all of what is loaded."""

    written: Written
    loaded: Config


def reading(old: Written, new: Written) -> list[str]:
    """Name the changed keys that have other files, or variables of the environment, read."""
    return sorted({*_changed({"include": old.get("include")}, {"include": new.get("include")}), *_references(old, new)})


def changed(old: Side, new: Side, folder: Path) -> list[str]:
    """Name all changed keys that can't be changed by HTTP. `folder` is router.yaml's."""
    return sorted(
        {
            *_references(old.written, new.written),
            *_changed(_of_written(old.written), _of_written(new.written)),
            *_changed(_of_loaded(old.loaded), _of_loaded(new.loaded)),
            *_models(old, new, folder),
            *_secrets(old.loaded, new.loaded),
        }
    )


def _changed(old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    """Name what is new or another one. What has gone with its whole entry does nothing any more."""
    return (key for key, value in new.items() if value != old.get(key))


def _of_loaded(config: Config) -> dict[str, object]:
    found: dict[str, object] = {key: attrgetter(key)(config) for key in _ALWAYS}
    for each in config.backends:
        launch = each.launch
        for key in _OF_LAUNCHES if launch is not None else ():
            found[f"backends[{each.name}].launch.{key}"] = getattr(launch, key) or None
        found[f"backends[{each.name}].tls"] = each.tls
    return found


def _of_written(data: Written) -> dict[str, object]:
    found: dict[str, object] = {}
    for key in _ALWAYS:
        section, _, inner = key.partition(".")
        found[key] = _below(data.get(section), inner) if inner else data.get(section)
    for name, each in _entries(data):
        launch = _below(each, "launch")
        for key in _OF_LAUNCHES:
            found[f"backends[{name}].launch.{key}"] = _below(launch, key) or None
        found[f"backends[{name}].tls"] = _below(each, "tls")
    return found


def _entries(data: Written) -> Iterator[tuple[object, object]]:
    """Give the backends as they are written, by their names, or by their places where they have none."""
    entries = data.get("backends")
    for index, each in enumerate(entries if isinstance(entries, list) else ()):
        yield _below(each, "name") or index, each


def _below(value: object, key: str) -> Any:  # noqa: ANN401 - whatever a file has
    return value.get(key) if isinstance(value, Mapping) else None


# Models


def _models(old: Side, new: Side, folder: Path) -> Iterator[str]:
    """Name the models that are neither known nor beside one that is."""
    known = {model for _, model in _named(old)}
    folders = {found for model in known for found in _folders_of(model, folder)}
    for name, model in _named(new):
        if model not in known and not _is_in(model, folders, folder):
            yield f"backends[{name}].launch.model"


def _named(side: Side) -> Iterator[tuple[object, str]]:
    for each in side.loaded.backends:
        yield from ((each.name, model) for model in _of_launch(each.launch))
    for name, written in _entries(side.written):
        yield from ((name, model) for model in _texts(_below(_below(written, "launch"), "model")))


def _of_launch(launch: LaunchConfig | None) -> Collection[str]:
    return () if launch is None else _texts(launch.model)


def _texts(model: object) -> list[str]:
    if model is None:
        return []
    return [str(each) for each in model.values()] if isinstance(model, Mapping) else [str(model)]


def _folders_of(model: str, folder: Path) -> Iterator[Path]:
    """Give the folder that a model's path names, and the one where it leads, if it is a path."""
    place = Path(located(model, folder))
    if place.is_absolute():
        yield place.parent.resolve()
        yield place.resolve().parent


def _is_in(model: str, folders: Collection[Path], folder: Path) -> bool:
    """Whether a model lies in one of these folders itself."""
    place = Path(located(model, folder))
    return place.is_absolute() and place.name not in {"", ".."} and place.parent.resolve() in folders


# The environment, and secrets


def _references(old: Written, new: Written) -> Iterator[str]:
    """Name the values in which ${…} is new, or another one, or no more."""
    before, now = dict(_values(old, ())), dict(_values(new, ()))
    for path, value in now.items():
        was = before.get(path)
        if value != was and any("${" in str(each) for each in (value, was)):
            yield "".join(map(_part, public(path))).removeprefix(".")


def _part(key: str | int) -> str:
    return f"[{key}]" if isinstance(key, int) else key if key.startswith("[") else f".{key}"


def _values(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    """Give all single values by their paths; entries of lists by their names, if they have any."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _values(inner, (*path, str(name)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            name = _below(inner, "name")
            yield from _values(inner, (*path, f"[{name}]" if name else index))
    else:
        yield path, value


def _secrets(old: Config, new: Config) -> Iterator[str]:
    """Name the addresses to which a secret of the file would be sent that was meant for another one."""
    before, known = set(_sent(old)), {secret for _, _, secret in _sent(old)}
    for name, url, secret in _sent(new):
        if secret in known and (name, url, secret) not in before:
            yield f"backends[{name}].url"


def _sent(config: Config) -> Iterator[tuple[str, str | None, str]]:
    for each in config.backends:
        secrets = [*each.headers.values(), *(key for key in (each.api_key, each.admin_key) if key is not None)]
        yield from ((each.name, each.elsewhere, secret.get_secret_value()) for secret in secrets)
