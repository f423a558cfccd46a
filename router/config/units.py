"""Durations and sizes: `500ms`, `5s`, `10m`, `1.5h` → seconds as a float; `64MiB`, `2GB`, `4096` → bytes as an int.

A duration needs a unit, because a bare `5` has been read as seconds and as milliseconds by too many programs; only
0 means the same in all. A size without a unit is bytes. `never`, where a key allows it, is infinity.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"": 1, "b": 1}
_BYTES |= {f"{letter}b": 1000**power for power, letter in enumerate("kmgt", start=1)}
_BYTES |= {f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", start=1)}

_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,15})?)"
_DURATION = re.compile(rf"{_NUMBER} ?(ms|s|m|h)")
_SIZE = re.compile(rf"{_NUMBER} ?((?:[kmgt]i?)?b)?", re.IGNORECASE)


def duration(value: object) -> float:
    """Seconds. Raises ValueError, with `{got}` for the value, if it isn't a duration."""
    if value in (0, "0") and not isinstance(value, bool):
        return 0.0
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return float(match[1]) * _SECONDS[match[2]]
    if _is_number(value):
        raise ValueError("a duration needs a unit, got {got}; write 5s for five seconds, or 500ms, 10m, 1h")
    raise ValueError("expected a duration such as 500ms, 5s, 10m or 1h, got {got}")


def duration_or_never(value: object) -> float:
    """Seconds, or infinity for `never`."""
    if value in ("never", math.inf):
        return math.inf
    try:
        return duration(value)
    except ValueError as error:
        raise ValueError(f"{error}; or never") from None


def size(value: object) -> int:
    """Bytes. Raises ValueError, with `{got}` for the value, if it isn't a size."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return round(float(match[1]) * _BYTES[(match[2] or "").lower()])
    raise ValueError("expected a size such as 64MiB, 2GB or a whole number of bytes, got {got}")


def lasting(least: str, most: str) -> AfterValidator:
    """Bounds of a duration, both allowed. `never` is longer than `most`, and allowed where it can be said."""
    return _between(duration, least, most)


def sized(least: str, most: str) -> AfterValidator:
    """Bounds of a size, both allowed."""
    return _between(size, least, most)


def _between(parse: Callable[[object], Any], least: str, most: str) -> AfterValidator:
    low, high = parse(least), parse(most)

    def check(value: float) -> float:
        if low <= value <= high or value == math.inf:
            return value
        raise ValueError(f"must be from {least} to {most}, got {{got}}")

    return AfterValidator(check)


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        return re.fullmatch(_NUMBER, value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


_DURATION_SCHEMA = {"type": ["string", "integer"], "examples": ["500ms", "5s", "10m", "1h"]}

Duration = Annotated[float, BeforeValidator(duration), WithJsonSchema(_DURATION_SCHEMA)]
"""Seconds."""

DurationOrNever = Annotated[float, BeforeValidator(duration_or_never), WithJsonSchema(_DURATION_SCHEMA)]
"""Seconds, or math.inf for `never`."""

Size = Annotated[
    int, BeforeValidator(size), WithJsonSchema({"type": ["string", "integer"], "examples": ["64MiB", "2GB"]})
]
"""Bytes."""
