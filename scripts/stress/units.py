"""Durations, sizes and shares, as they are written and read."""

import math

from router.config.keys.units import duration

_TIMES = ((60.0, 1 / 60, "min"), (1.0, 1.0, "s"), (1e-3, 1e3, "ms"), (0.0, 1e6, "µs"))
_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "KB"), (1.0, "bytes"))


def seconds(text: str) -> float:
    """Read a duration such as 500ms, 5s or 10m. Raises ValueError."""
    try:
        return duration(text)
    except ValueError as error:
        raise ValueError(str(error).replace("{got}", repr(text))) from None


def share(text: str) -> float:
    """Read a share, from 0 to 1, or as 5%. Raises ValueError."""
    value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if 0 <= value <= 1:
        return value
    raise ValueError(f"expected a share from 0 to 1, or such as 5%, got {text!r}")


def number(value: float) -> str:
    """Write a number with three digits that count."""
    if value and abs(value) < 100:
        value = round(value, 2 - math.floor(math.log10(abs(value))))
        return f"{value:g}"
    return f"{value:,.0f}"


def time(value: float) -> str:
    """Write a duration."""
    if not value:
        return "0"
    factor, unit = next((factor, unit) for least, factor, unit in _TIMES if value >= least * 0.9995)
    return f"{number(value * factor)} {unit}"


def size(value: float) -> str:
    """Write a number of bytes."""
    least, unit = next(((least, unit) for least, unit in _SIZES if value >= least), (1.0, "bytes"))
    return f"{number(value / least)} {unit}"
