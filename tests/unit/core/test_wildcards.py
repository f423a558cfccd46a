import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.wildcards import Wildcards, matches


@pytest.mark.parametrize(
    ("patterns", "name", "fits"),
    [
        (["a", "b*"], "a", True),
        (["a", "b*"], "bc", True),
        (["a", "b*"], "ab", False),
        (["a", "*"], "x", True),
        (["a"], "A", False),
        ([], "a", False),
    ],
)
def test_any_of_several_patterns_may_fit(patterns, name, fits):
    """A name without an asterisk is itself alone; no pattern fits nothing."""
    assert Wildcards(patterns).match(name) is fits


def test_patterns_are_told_as_they_were_given():
    assert str(Wildcards(["b*", "a"])) == "b*, a"


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("*", ["", "a", "*", "a/b:c"], []),
        ("gpt-*", ["gpt-", "gpt-4"], ["gpt", "a gpt-4", "GPT-4"]),
        ("*-gguf", ["-gguf", "a-gguf-gguf"], ["gguf", "a-gguf-b"]),
        ("a*b", ["ab", "axb", "abb", "a*b"], ["a", "b", "ba", "abc"]),
        ("aba*ba", ["ababa", "abaxba"], ["aba", "abba"]),  # the ends may not share a letter
        ("a*b*c", ["abc", "axbyc", "abbcc"], ["ac", "acb", "bac"]),
        ("*a*a*", ["aa", "xaxax"], ["a", "xax", ""]),
        ("a*bc*c", ["abcc", "abcbcc"], ["abc", "acbc"]),  # what is between may not reach into the end
        ("**", ["", "a"], []),
        ("a**b", ["ab", "axb"], ["a"]),
        ("a?[b]*", ["a?[b]c"], ["axb"]),
    ],
)
def test_a_wildcard_fits(pattern, fits, fits_not):
    """An asterisk is any text, none included; the parts come in their order and share no letter."""
    parts = pattern.split("*")
    assert [name for name in [*fits, *fits_not] if matches(parts, name)] == fits


@given(st.text("ab*", max_size=8).map("{}*".format), st.text("ab\n", max_size=12), st.integers(0, 9))
def test_a_wildcard_fits_as_a_regular_expression_would(pattern, name, turn):
    """Another reader of patterns has no other opinion."""
    pattern = pattern[turn:] + pattern[:turn]
    expected = re.fullmatch(pattern.replace("*", ".*"), name, re.DOTALL)
    assert matches(pattern.split("*"), name) is bool(expected)


def test_a_long_name_that_almost_fits_is_soon_refused():
    """No choice of where an asterisk ends is ever tried again: else this would take until the end of days."""
    assert not matches(["a"] * 50 + ["b"], "a" * 100_000)
    assert not matches(["", *["a"] * 50, "b", ""], "a" * 100_000)
    assert not matches(["", *["aaab"] * 50, ""], "a" * 100_000)
