"""Reads the profiles: the YAML files beside this one, each named after its profile. Errors name file and key."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from profiles.detect import WORDS, Arg, EngineDefaults, Memory, Profile, ProfileError

FOLDER = Path(__file__).parent
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""PyYAML's loader in C is five times as fast, but not in every build."""


class _Engine(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    args: dict[str, JsonValue] = Field(default_factory=dict)

    @field_validator("args")
    @classmethod
    def _has_known_words(cls, args: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name, value in args.items():
            if isinstance(value, str) and value.startswith("$") and value not in WORDS:
                raise ValueError(f"{name}: there is no word {value}; there are: {', '.join(WORDS)}")
        return args


class _Memory(BaseModel):
    model_config = ConfigDict(extra="forbid")
    of: Literal["ram", "gpu"]
    share: Annotated[float, Field(gt=0, le=1)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    about: str
    memory: _Memory
    engines: list[_Engine] = Field(min_length=1)


def load_profiles(folder: Path = FOLDER) -> Mapping[str, Profile]:
    """Give all profiles of a folder, by name. Raises ProfileError for a file that isn't one."""
    return MappingProxyType({path.stem: _load(path) for path in sorted(folder.glob("*.yaml"))})


def _load(path: Path) -> Profile:
    try:
        file = _File.model_validate(yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER))  # noqa: S506  (it is a safe one)
    except (OSError, yaml.YAMLError) as error:
        raise ProfileError(f"{path}: {error}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'it'}: {e['msg']}" for e in error.errors())
        raise ProfileError(f"{path}: {wrong}") from error
    engines = tuple(EngineDefaults(engine.name, _frozen(engine.args)) for engine in file.engines)
    return Profile(path.stem, file.about, engines, Memory(file.memory.of, file.memory.share))


def _frozen(args: dict[str, JsonValue]) -> Mapping[str, Arg]:
    return MappingProxyType(dict(args))  # type: ignore[arg-type]
