"""Durations and sizes: `500ms`, `5s`, `10m`, `1.5h` → seconds as a float; `64MiB`, `2GB`, `4096` → bytes as an int.

Counts: `60`, `100k`, `2M` → an int. Dates: `2027-01-31` → a Unix time.

A duration needs a unit, because programs disagree whether a bare `5` means seconds or milliseconds; only 0 is the same
in both. Units may be longer words, too: `5min`, `30 sec`, `2 hours`, `1d`. A size without a unit is in bytes; `64M` is
`64MB`, and `64Mi` is `64MiB`, as in Kubernetes. `never`, for keys that allow it, is infinity; `90%` is a `Share`.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core.core_schema import no_info_after_validator_function

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DAY = 24 * _SECONDS["h"]
_BYTES = {"": 1}
_BYTES |= {letter: 1000**power for power, letter in enumerate("kmgt", start=1)}
_BYTES |= {f"{letter}i": 1024**power for power, letter in enumerate("kmgt", start=1)}

_UNITS = [
    (f"{letter}{i}B", (1024 if i else 1000) ** power) for power, letter in enumerate("KMGT", 1) for i in ("", "i")
]
_UNITS.reverse()

BOUNDS = "x-bounds"
"""The key under which a type's JSON Schema has its bounds, as a sentence; `schema` moves it to the description."""

_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,15})?)"
_DURATION = re.compile(rf"{_NUMBER} ?(ms|s(?:ec(?:s|onds?)?)?|m(?:in(?:s|utes?)?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?)")
_SIZE = re.compile(rf"{_NUMBER} ?((?:[kmgt]i?)?)b?", re.IGNORECASE)
_COUNT = re.compile(rf"{_NUMBER} ?([km]?)", re.IGNORECASE)
_THOUSANDS = {"": 1, "k": 1000, "m": 1000_000}
_MOST = 10**15
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(?::\d\d)?(?:Z|[+-]\d\d:\d\d)?)?", re.ASCII)
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,15})?) ?%")


class Share(float):
    """A share of what a device has: above 0, at most 1; `90%` in router.yaml."""

    __slots__ = ()


def duration(value: object) -> float:
    """Seconds. Raises ValueError, with `{got}` for the value, if it isn't a duration."""
    if value in (0, "0") and not isinstance(value, bool):
        return 0.0
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        unit = match[2] if match[2] == "ms" else match[2][0]
        return float(match[1]) * _SECONDS.get(unit, _DAY)
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


def hedge_after(value: object) -> float | str:
    """Seconds, infinity for `never`, or `p95` unchanged."""
    if value == "p95":
        return "p95"
    try:
        return duration_or_never(value)
    except ValueError as error:
        raise ValueError(f"{error}, or p95") from None


def size(value: object) -> int:
    """Bytes. Raises ValueError, with `{got}` for the value, if it isn't a size."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return round(float(match[1]) * _BYTES[match[2].lower()])
    raise ValueError("expected a size such as 64MiB, 2GB or a whole number of bytes, got {got}")


def count(value: object) -> int:
    """A number of things, above 0. Raises ValueError, with `{got}` for the value, if it isn't one."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST:
        return value
    if isinstance(value, str) and (match := _COUNT.fullmatch(value)):
        found = float(match[1]) * _THOUSANDS[match[2].lower()]
        if found.is_integer() and 0 < found <= _MOST:
            return int(found)
    raise ValueError("expected a whole number above 0, such as 60, 100k or 2M, got {got}")


def expiry(value: object) -> float:
    """The Unix time at which something ends: that of a moment, or of the end of a day. Without an offset, in UTC."""
    if isinstance(value, str) and (match := _MOMENT.fullmatch(value)):
        try:
            moment = datetime.fromisoformat(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return (moment if match[1] else moment + timedelta(days=1)).timestamp()
        except (ValueError, OverflowError):
            pass  # there is no such day
    raise ValueError("expected a date, such as 2027-01-31, or a time, such as 2027-01-31T18:00+01:00, got {got}")


def expiry_in_words(at: float) -> str:
    """The moment, in UTC, as `expiry` reads it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def size_or_share(value: object) -> int | Share:
    """Bytes, or a Share for a percentage."""
    if isinstance(value, Share):
        return value
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value)):
        if 1 <= (percent := float(match[1])) <= 100:
            return Share(percent / 100)
        raise ValueError("must be from 1% to 100%, got {got}")
    try:
        return size(value)
    except ValueError as error:
        raise ValueError(f"{error}; or a percentage such as 90%") from None


def duration_in_words(seconds: float | str) -> str:
    """The shortest text that `duration` reads as these seconds; `never` for infinity; `p95` unchanged."""
    if isinstance(seconds, str) or seconds == math.inf:
        return seconds if isinstance(seconds, str) else "never"
    for unit, length in reversed(_SECONDS.items()):
        if seconds >= length and (count := round(seconds / length, 9)).is_integer():
            return f"{count:.0f}{unit}"
    return f"{seconds:.15f}".rstrip("0").rstrip(".") + "s"


def size_in_words(count: int) -> str | int:
    """The shortest text that `size` reads as these bytes; the number itself if no unit fits."""
    for unit, length in _UNITS:
        if count and count % length == 0:
            return f"{count // length}{unit}"
    return count


def size_or_share_in_words(value: int | Share) -> str | int:
    """The shortest text that `size_or_share` reads as this value."""
    return f"{round(value * 100, 9):g}%" if isinstance(value, Share) else size_in_words(value)


class _Between:
    """Inclusive bounds, written as in router.yaml. They don't apply to `never`, `p95` and percentages."""

    def __init__(self, parse: Callable[[object], float], least: str, most: str) -> None:
        self._least, self._most = least, most
        self._low, self._high = parse(least), parse(most)

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), BOUNDS: f"From {self._least} to {self._most}."}

    def _check(self, value: float | str) -> float | str:
        if isinstance(value, str | Share) or self._low <= value <= self._high or value == math.inf:
            return value
        raise ValueError(f"must be from {self._least} to {self._most}, got {{got}}")


def lasting(least: str, most: str) -> _Between:
    """Bounds of a duration; `never` is allowed if the type has it."""
    return _Between(duration, least, most)


def sized(least: str, most: str) -> _Between:
    """Bounds of a size."""
    return _Between(size, least, most)


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        return re.fullmatch(_NUMBER, value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


_in_words = PlainSerializer(duration_in_words, when_used="json")
_LENGTH = {
    "title": "duration",
    "type": ["string", "integer"],
    "pattern": f"^(?:0|{_DURATION.pattern})$",
    # For integers: only 0 needs no unit.
    "minimum": 0,
    "maximum": 0,
    "examples": ["500ms", "5s", "10m", "1h"],
}

Duration = Annotated[float, BeforeValidator(duration), _in_words, WithJsonSchema(_LENGTH)]
"""Seconds."""

DurationOrNever = Annotated[
    float,
    BeforeValidator(duration_or_never),
    _in_words,
    WithJsonSchema({"anyOf": [_LENGTH, {"const": "never"}]}),
]
"""Seconds, or math.inf for `never`."""

HedgeAfter = Annotated[
    float | Literal["p95"],
    PlainValidator(hedge_after),
    _in_words,
    WithJsonSchema({"anyOf": [_LENGTH, {"enum": ["p95", "never"]}]}),
]
"""Seconds, math.inf for `never`, or `p95`: the measured percentile."""

SIZE = {
    "title": "size",
    "type": ["string", "integer"],
    "pattern": f"^{_NUMBER} ?(?:[kKmMgGtT][iI]?)?[bB]?$",
    "minimum": 0,
    "examples": ["64MiB", "2GB"],
}
"""The JSON Schema of a size."""

Size = Annotated[
    int,
    BeforeValidator(size),
    PlainSerializer(size_in_words, when_used="json"),
    WithJsonSchema(SIZE),
]
"""Bytes."""

SizeOrShare = Annotated[
    int | Share,
    PlainValidator(size_or_share),
    PlainSerializer(size_or_share_in_words, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                SIZE,
                {"title": "percentage", "type": "string", "pattern": f"^{_PERCENT.pattern}$", "examples": ["90%"]},
            ]
        }
    ),
]
"""Bytes, or a Share of what there is."""

Count = Annotated[
    int,
    BeforeValidator(count),
    WithJsonSchema(
        {
            "title": "count",
            "type": ["string", "integer"],
            "pattern": f"^{_NUMBER} ?[kKmM]?$",
            "minimum": 1,
            "examples": [60, "100k", "2M"],
        }
    ),
]
"""A whole number above 0."""

Expiry = Annotated[
    float,
    BeforeValidator(expiry),
    PlainSerializer(expiry_in_words, when_used="json"),
    WithJsonSchema(
        {
            "title": "date",
            "type": "string",
            "pattern": f"^{_MOMENT.pattern}$",
            "examples": ["2027-01-31", "2027-01-31T18:00+01:00"],
        }
    ),
]
"""A Unix time, in seconds."""
