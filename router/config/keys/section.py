"""The base of all sections of router.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from collections.abc import Iterable


def setting(default: Any, meaning: str) -> Any:  # noqa: ANN401 - the default is as in YAML, the field as in Python
    """A field with a default, which is written as in router.yaml and appended to the description."""
    said = "none" if default is None else "empty" if default in ((), {}) else default
    said = str(said).lower() if isinstance(said, bool) else said
    if isinstance(said, tuple):
        said = f"[{', '.join(each if each.isalnum() else repr(each) for each in said)}]"
    description = f"{meaning} Default: {said}."
    return Field(default=default, validate_default=True, description=description)


class Section(BaseModel):
    """A part of router.yaml. An unknown key is an error; a key without a value counts as left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    short_for: ClassVar[str | None] = None
    """If the section has a short form: the key whose value may stand for the whole section."""

    example: ClassVar[str] = ""
    """What it may look like in router.yaml, for the documentation."""

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """The values that may be shown: see `redact`."""
        return self.model_dump(mode="json", exclude_none=True).items()

    @model_validator(mode="before")
    @classmethod
    def _is_mapping(cls, data: object) -> object:
        if isinstance(data, dict | cls):
            return data
        if cls.short_for is not None:
            return {cls.short_for: data}
        if data is None:
            return {}
        first = min(cls.model_fields, key=lambda name: not cls.model_fields[name].is_required())
        raise ValueError(f"expected keys with values, such as `{first}: …`, got {{got}}")
