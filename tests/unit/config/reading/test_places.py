"""YAML text to plain data with places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from router.config.problems import MOST_ITEMS, MOST_PROBLEMS, ConfigError
from router.config.reading import places
from router.config.reading.syntax import syntax_error
from router.config.scalars import read as read_word

if TYPE_CHECKING:
    from router.config.reading.document import Document


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def loader(request, monkeypatch):
    """Each test runs with the C parser, where there is one, and with Python's."""
    monkeypatch.setattr(places, "LOADER", getattr(yaml, request.param, yaml.SafeLoader))
    return request.param


def parse(text: str | bytes) -> Document:
    return places.parse(text if isinstance(text, bytes) else text.encode(), "f.yaml")


def refusal(text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *[(word, None) for word in ("", "~", "null")],
        *[("true", True), ("False", False), ("TRUE", True)],
        *[
            ("0", 0),
            ("42", 42),
            ("-1", -1),
            ("0.5", 0.5),
            (".5", 0.5),
            ("1.", 1.0),
            ("1e3", 1000.0),
            ("-2.5e-1", -0.25),
        ],
        *[
            (w, w)
            for w in ("yes", "no", "on", "off", "017", "0x10", "1_000", "12:30", "2024-01-01", "+1", "-0", "1.2.3")
        ],
        *[(w, w) for w in (".inf", ".nan", "-", ".", "9" * 5000)],
    ],
)
def test_words_are_what_json_would_make_of_them(word, value):
    """An unquoted word is null, a bool or a number only in JSON's forms; all else is text."""
    found = read_word(word)
    assert found == value
    assert type(found) is type(value)


def test_data_comes_with_the_places_of_its_keys_and_items():
    """Each key and each item of a list has a line and a column, counted from 1."""
    document = parse("a: 1\nb:\n  - x\n  - {c: 'no', d: no}\n")
    assert document.data == {"a": 1, "b": ["x", {"c": "no", "d": "no"}]}
    at = {path: (place.line, place.column) for path, place in document.places.items()}
    assert at == {
        (): (1, 1),
        ("a",): (1, 1),
        ("b",): (2, 1),
        ("b", 0): (3, 5),
        ("b", 1): (4, 5),
        ("b", 1, "c"): (4, 6),
        ("b", 1, "d"): (4, 15),
    }
    assert ("b", 1, "c") not in document.unquoted
    assert ("b", 1, "d") in document.unquoted


@pytest.mark.parametrize("text", ["", "# only this\n", "---\n", "null", "\ufeff"])
def test_an_empty_file_is_empty_data(text):
    """Nothing, or nothing but comments, is no data; the types say what is missing."""
    document = parse(text)
    assert document.data == {}
    assert document.problems == []


def test_a_byte_order_mark_is_passed_over():
    """What Windows editors put before the text is no part of it."""
    assert parse(b"\xef\xbb\xbfa: 1").data == {"a": 1}


def test_aliases_are_copied_out():
    """An alias gives equal data that isn't shared, with places at its own paths."""
    document = parse("a: &x {b: 1}\nc: *x\n")
    assert document.data["a"] == document.data["c"]
    assert document.data["a"] is not document.data["c"]
    assert ("c", "b") in document.places


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1 a: stands here a second time (first: line 1)"),
        ("s:\n  a: 1\n  a: 2\n", "f.yaml:3:3 s.a: stands here a second time (first: line 2)"),
        ("1: x\n", "f.yaml:1:1: a key must be text: put it in quotes"),
        ("s: {true: x}\n", "f.yaml:1:5 s: a key must be text: put it in quotes"),
        ("? [a]\n: x\n", "f.yaml:1:3: a key must be text, not a list, a mapping or an alias"),
        ("a: &a {}\nb:\n  <<: *a\n", "f.yaml:3:3 b: merge keys (<<) are not supported: write the keys out"),
        ("a: !!int 5\n", "f.yaml:1:4 a: a tag (!…) has no meaning here: put text that starts with ! in quotes"),
        ("a: &x 1\nb: &x 2\n", "f.yaml:2:4 b: an anchor (&…) of this name stands further up: give it another"),
        ("&x a: 1\n*x : 2\n", "f.yaml:2:1: a key must be text, not a list, a mapping or an alias"),
        ("a: 1\na: &x [1]\nb: *x\n", "f.yaml:2:1 a: stands here a second time (first: line 1)"),
        ("a: !sk-secret\n", "f.yaml:1:4 a: a tag (!…) has no meaning here: put text that starts with ! in quotes"),
    ],
)
def test_what_can_be_passed_over_is_reported_with_the_rest(text, problem):
    """Problems that leave data to check are kept in the document."""
    assert [str(found) for found in parse(text).problems] == [problem]


def test_quoted_keys_are_text():
    """A key in quotes, or with the tag !!str, is text whatever is in it."""
    assert parse("'1': a\n\"<<\": b\n!!str 2: c\n").data == {"1": "a", "<<": "b", "2": "c"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a\n", "f.yaml:1:1: expected keys and values"),
        ("just words\n", "f.yaml:1:1: expected keys and values"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document starts here"),
        ("a:\n\t- b\n", "f.yaml:2:1: a tab stands where only spaces may"),
        ("a: [${X}]\n", "inside [ ] and { }, put ${…} in quotes"),
        ("a: [1\nb: 2", "this is no valid YAML"),
        ("a: *sk-secret\n", "f.yaml:1:4 a: is an alias (*…) of nothing: put text that starts with * in quotes"),
        ("a: &a [*a]\n", "f.yaml:1:8 a[0]: is an alias of something that it is part of"),
        ("a: " + "[" * 40 + "]" * 40, "is nested deeper than 32 levels"),
        ("a: " + "[" * 100_000, "is nested deeper than 32 levels"),
        ('a: "\\UFFFFFFFF"\n', "this is no valid YAML"),
        ("a: b\ufeffc: [\n", "this is no valid YAML"),
        (b"\xef\xbb\xbfa: \xc3\xa4\xff", "f.yaml:1:5: is not UTF-8 text"),
        (b"a: \xff\n", "f.yaml:1:4: is not UTF-8 text"),
        (b"\ra: \xff\n", "f.yaml:2:4: is not UTF-8 text"),
        (b"x: 1\r\n\xc2\x85a: \xff\n", "f.yaml:3:4: is not UTF-8 text"),
        ("a: 1".encode("utf-16"), "f.yaml:1:1: is UTF-16 text: save the file as UTF-8"),
        ("a: 1".encode("utf-16-be"), "f.yaml:1:1: the character '\\x00' can't stand in YAML"),
        ("a: 1\nb: \x00\n", "f.yaml:2:4: the character '\\x00' can't stand in YAML"),
    ],
)
def test_what_leaves_no_data_is_raised(text, problem):
    """A file that can't be taken apart is one clear problem, with its place."""
    assert problem in refusal(text)


def test_an_alias_bomb_is_stopped():
    """Aliases of aliases are counted as what they grow to."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "grows beyond 200000 values" in refusal("\n".join(lines))


def test_many_values_are_bounded(monkeypatch):
    """The parser is stopped as soon as there are too many."""
    monkeypatch.setattr(places, "MAX_VALUES", 100)
    assert refusal(f"a: [{'x,' * 500} b: ]") == "f.yaml:1:399: the file grows beyond 100 values"


def test_a_list_is_bounded_before_its_items_are_looked_at():
    """The first item too many is named; none behind it costs any time."""
    text = "a:\n" + "- x\n" * MOST_ITEMS + "- !tag y\n- *nothing\n"
    assert refusal(text) == f"f.yaml:{MOST_ITEMS + 2}:3 a: a list may have 10000 items at most"


def test_many_mistakes_are_bounded():
    """Nobody reads more."""
    text = "a: 1\n" * (MOST_PROBLEMS - 10) + "b: {" + "x: 1," * 50 + "}"
    assert len(refusal(text).splitlines()) == MOST_PROBLEMS


def test_a_chain_of_aliases_is_no_way_around_the_depth():
    """Depth is bounded after aliases are expanded, too."""
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 60))]
    assert "is nested deeper than 32 levels" in refusal("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: b: c\n", "f.yaml:1:5: this is no valid YAML: a second `: ` stands here, or one too deep"),
        ("a:\n  b: 1\n   c: 2\n", "f.yaml:3:5: this is no valid YAML: a second `: ` stands here, or one too deep"),
        ("a: 1\nb\nc: 2\n", "f.yaml:2:1: this is no valid YAML: this is no `key: value`: is the colon missing"),
        ("a:\n  - b: 1\n    laun", "f.yaml:3:5: this is no valid YAML: this is no `key: value`"),
        ("a: %b\n", "f.yaml:1:4: this is no valid YAML: this character has a meaning in YAML"),
        ("a: @b\n", "f.yaml:1:4: this is no valid YAML: this character has a meaning in YAML"),
        ("a:\n- [b,\nc: d\n", "f.yaml:4:1: this is no valid YAML: the bracket of line 2 is not closed before this"),
        ("a: [${X}]", "f.yaml:1:6: this is no valid YAML: inside [ ] and { }, put ${…} in quotes"),
        ("a: 1\nb: 'c\n\n", "f.yaml:2:4: this is no valid YAML: these quotes are not closed"),
        ("a: ]\n", "f.yaml:1:4: this is no valid YAML: a value is missing before this, or a bracket is too many"),
        ("a: 'b' c\n", "f.yaml:1:8: this is no valid YAML: this doesn't fit what stands before it"),
        ("a:\n- b: 1\n c: 2\n", "f.yaml:3:2: this is no valid YAML: this doesn't fit what stands before it"),
        ("*: a\n", "f.yaml:1:2: this is no valid YAML: text that starts with * or & belongs in quotes"),
        ('a: "\\q"\n', "this is no valid YAML: a \\ means something in double quotes"),
        ("a: 1\n\tb: 2\n", "f.yaml:2:1: a tab stands where only spaces may"),
        ("a:\n  -\tb: 1\n", "f.yaml:2:4: a tab stands where only spaces may"),
        ("a: !sk-secret!x y\n", "f.yaml:1:4: this is no valid YAML: found undefined tag handle"),
    ],
)
def test_broken_syntax_is_told_in_words(text, problem):
    """Both parsers' complaints say what would be right, where the mistake begins."""
    assert problem in refusal(text)
    assert "secret" not in refusal(text)


def test_an_error_without_a_mark_has_no_line():
    """A parser's error that names no place is still a problem."""
    error = syntax_error(yaml.MarkedYAMLError(problem="odd"), "a", "f.yaml")
    assert str(error) == "f.yaml:1:1: this is no valid YAML: odd"
