import pytest

from scripts.stress import units


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"),
        (0.0000123, "12.3 µs"),
        (0.0234, "23.4 ms"),
        (1.5, "1.5 s"),
        (90, "1.5 min"),
        (0.9999, "1 s"),
        (0.994, "994 ms"),
    ],
)
def test_times(value, written):
    """Three digits, and the unit that suits."""
    assert units.time(value) == written


def test_numbers_and_sizes():
    """The same for these."""
    assert [units.number(n) for n in (0, 0.01234, 12.34, 123.4, 12345)] == ["0", "0.0123", "12.3", "123", "12,345"]
    assert [units.size(n) for n in (0, 512, 2e6, 3.25e9)] == ["0 bytes", "512 bytes", "2 MB", "3.25 GB"]


def test_what_is_read():
    """Durations and shares, or a sentence that says what was expected."""
    assert (units.seconds("500ms"), units.share("5%"), units.share("0.25")) == (0.5, 0.05, 0.25)
    for read, text in ((units.seconds, "5"), (units.seconds, "soon"), (units.share, "2"), (units.share, "x")):
        with pytest.raises(ValueError, match=text):
            read(text)
