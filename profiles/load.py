"""Reads profiles: the YAML files beside this one, each named after its profile. A mistake names file and key."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from profiles.detect import Arg, EngineDefaults, Profile, ProfileError

FOLDER = Path(__file__).parent


class _Engine(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    args: dict[str, JsonValue] = Field(default_factory=dict)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    about: str
    engines: list[_Engine] = Field(min_length=1)


def load_profiles(folder: Path = FOLDER) -> Mapping[str, Profile]:
    """All profiles of a folder, by name. Raises ProfileError for a file that holds none."""
    return MappingProxyType({path.stem: _load(path) for path in sorted(folder.glob("*.yaml"))})


def _load(path: Path) -> Profile:
    try:
        file = _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise ProfileError(f"{path}: {error}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'it'}: {e['msg']}" for e in error.errors())
        raise ProfileError(f"{path}: {wrong}") from error
    engines = tuple(EngineDefaults(engine.name, _frozen(engine.args)) for engine in file.engines)
    return Profile(path.stem, file.about, engines)


def _frozen(args: dict[str, JsonValue]) -> Mapping[str, Arg]:
    return MappingProxyType(dict(args))  # type: ignore[arg-type]
