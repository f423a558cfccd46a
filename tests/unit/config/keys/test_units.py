"""Durations, sizes, counts and dates."""

from __future__ import annotations

import math
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from router.config.keys.units import (
    Duration,
    DurationOrNever,
    Share,
    Size,
    SizeOrShare,
    count,
    duration,
    duration_in_words,
    duration_or_never,
    expiry,
    expiry_in_words,
    hedge_after,
    lasting,
    size,
    size_in_words,
    size_or_share,
    size_or_share_in_words,
    sized,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[("500ms", 0.5), ("5s", 5.0), ("10m", 600.0), ("1h", 3600.0), ("1.5s", 1.5), ("2 m", 120.0), (0, 0.0)],
        *[("0", 0.0), ("5min", 300.0), ("30 sec", 30.0), ("2 hours", 7200.0), ("1hr", 3600.0), ("1d", 86400.0)],
    ],
)
def test_a_duration_is_seconds(text, seconds):
    """A number and a unit give seconds; only 0 needs no unit."""
    assert duration(text) == pytest.approx(seconds)
    assert TypeAdapter(Duration).validate_python(text) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [5, 1.5, "5", "7.5"])
def test_a_bare_number_is_no_duration(value):
    """A number without a unit is refused, with what to write instead."""
    with pytest.raises(ValueError, match=r"needs a unit.*5s"):
        duration(value)


@pytest.mark.parametrize("value", ["", "s", "-5s", "5 moons", "5S", "1e3s", "٣s", True, False, None, [], "never"])
def test_other_things_are_no_durations(value):
    """Anything else is refused with examples."""
    with pytest.raises(ValueError, match="expected a duration such as"):
        duration(value)


@pytest.mark.parametrize(("value", "seconds"), [("never", math.inf), (math.inf, math.inf), ("1s", 1.0)])
def test_never_is_infinite(value, seconds):
    """`never` is infinity where it is allowed."""
    assert duration_or_never(value) == seconds
    assert TypeAdapter(DurationOrNever).validate_python(value) == seconds


def test_an_error_says_that_never_is_allowed():
    """Where `never` is allowed, the error says so."""
    with pytest.raises(ValueError, match="or never"):
        duration_or_never("forever")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("64MiB", 64 * 1024**2),
        ("2GB", 2 * 10**9),
        ("1.5KiB", 1536),
        ("1 tib", 1024**4),
        ("7B", 7),
        ("64M", 64 * 10**6),
        ("64Mi", 64 * 1024**2),
        ("4096", 4096),
        (4096, 4096),
        (0, 0),
    ],
)
def test_a_size_is_bytes(text, count):
    """A number and a unit give bytes, and so does a whole number without."""
    assert size(text) == count
    assert TypeAdapter(Size).validate_python(text) == count


@pytest.mark.parametrize("value", ["", "64X", "64i", "-1", -1, 1.5, True, None, "MiB", {}])
def test_other_things_are_no_sizes(value):
    """Anything else is refused with examples."""
    with pytest.raises(ValueError, match="expected a size such as"):
        size(value)


@pytest.mark.parametrize(("text", "share"), [("90%", 0.9), ("1%", 0.01), ("100 %", 1.0), ("12.5%", 0.125)])
def test_a_percentage_is_a_share(text, share):
    """It is no number of bytes, not even 100%; and bounds of sizes don't apply to it."""
    limit = TypeAdapter[object](Annotated[SizeOrShare, sized("1MiB", "1GiB")])
    found = limit.validate_python(text)
    assert isinstance(found, Share)
    assert found == share
    assert size_or_share(size_or_share_in_words(found)) == found
    assert limit.dump_python(found, mode="json") == text.replace(" ", "")


def test_where_a_share_may_stand_a_size_may_too():
    """With its bounds."""
    limit = TypeAdapter[object](Annotated[SizeOrShare, sized("1MiB", "1GiB")])
    assert limit.validate_python("2MiB") == 2 << 20
    assert not isinstance(limit.validate_python("2MiB"), Share)
    with pytest.raises(ValidationError, match="must be from 1MiB to 1GiB"):
        limit.validate_python("2GiB")


@pytest.mark.parametrize(
    ("value", "error"),
    [("0%", "from 1% to 100%"), ("101%", "from 1% to 100%"), ("%", "or a percentage"), (0.9, "or a percentage")],
)
def test_what_is_neither_a_size_nor_a_share(value, error):
    """The error says all that is allowed."""
    with pytest.raises(ValueError, match=error):
        size_or_share(value)


def test_bounds_are_allowed_themselves():
    """A bound's value is within it, and so is `never`; beyond, the error names both bounds."""
    seconds = TypeAdapter[float](Annotated[DurationOrNever, lasting("1s", "1m")])
    assert [seconds.validate_python(value) for value in ("1s", "1m", "never")] == [1.0, 60.0, math.inf]
    count = TypeAdapter[int](Annotated[Size, sized("1KiB", "1MiB")])
    assert [count.validate_python(value) for value in (1024, "1MiB")] == [1024, 1024**2]
    with pytest.raises(ValidationError, match="must be from 1s to 1m"):
        seconds.validate_python("999ms")


@pytest.mark.parametrize("words", ["0s", "1ms", "500ms", "90s", "2m", "36h", "1500ms", "0.0005s", "never", "p95"])
def test_a_duration_in_words_is_the_same_duration(words):
    """What is shown can be read again, and has no fraction where a unit needs none."""
    shown = duration_in_words(hedge_after(words))
    assert hedge_after(shown) == hedge_after(words)
    assert len(shown) <= len(words)


@given(st.floats(1e-6, 1e9))
def test_any_duration_has_words(seconds):
    """Down to what no clock measures."""
    assert duration(duration_in_words(seconds)) == pytest.approx(seconds, rel=1e-6)


@given(st.integers(0, 2**50))
def test_any_size_has_words(count):
    """To the byte."""
    assert size(size_in_words(count)) == count
    assert (size_in_words(64 << 20), size_in_words(2 * 10**9), size_in_words(1001)) == ("64MiB", "2GB", 1001)


@pytest.mark.parametrize("value", ["p99", "P95", 5, None])
def test_what_is_no_time_to_hedge_after(value):
    """The error says all that is allowed."""
    with pytest.raises(ValueError, match="or never, or p95"):
        hedge_after(value)


def test_pydantic_refuses_too():
    """The types raise what pydantic gathers."""
    with pytest.raises(ValidationError):
        TypeAdapter(Duration).validate_python("soon")


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1), ("60", 60), ("100k", 100_000), ("100 K", 100_000), ("2M", 2_000_000), ("1.5m", 1_500_000)],
)
def test_a_count(value, number):
    """A whole number, or thousands and millions of them."""
    assert count(value) == number


@pytest.mark.parametrize(
    "value", [0, -1, True, 1.0, "0", "1.5", "0.0001k", "2G", "many", "", None, 10**16, "9" * 15 + "M"]
)
def test_what_is_no_count(value):
    with pytest.raises(ValueError, match="expected a whole number above 0"):
        count(value)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01", 86400.0),
        ("2027-01-31", 1801440000.0),
        ("2027-01-31T18:00", 1801418400.0),
        ("2027-01-31 18:00:30Z", 1801418430.0),
        ("2027-01-31T18:00+01:00", 1801414800.0),
    ],
)
def test_when_something_ends(text, at):
    """A day is valid to its end; a time without an offset is in UTC."""
    assert expiry(text) == at
    assert expiry(expiry_in_words(at)) == at


@pytest.mark.parametrize(
    "value",
    ["2027-02-30", "2027-01-31T25:00", "9999-12-31", "20270131", "31.01.2027", "tomorrow", "", 1801440000, None],
)
def test_what_is_no_date(value):
    with pytest.raises(ValueError, match="expected a date, such as 2027-01-31"):
        expiry(value)
