"""Other programs' YAML: more of it than router.yaml takes, and no more than fits."""

import itertools

import pytest

from router.config import ConfigError
from router.importing import source

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in itertools.pairwise("abcdefg")
)


def test_merge_keys():
    """A mapping's own keys win, and the first of several that are merged."""
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  <<: [*a, *b]\n  x: 3\nd: {<<: *a}\n"
    found = source.parsed(text.encode(), "f")
    assert found.data["c"] == {"x": 3, "y": 1, "z": 2}
    assert found.data["d"] == {"x": 1, "y": 1}


def test_lines():
    """Of keys and items; of what isn't written, that of what is around it."""
    found = source.parsed(b"a:\n  b: 1\n  c:\n    - x\n    - {d: 2}\n", "f")
    assert [found.line("a", "b"), found.line("a", "c", 1), found.line("a", "c", 1, "d"), found.line("a", "q", 3)] == [
        2, 5, 5, 1,
    ]  # fmt: skip
    assert found.line("q") == 0


def test_words():
    """As in router.yaml: on is text, and so is what stands in quotes. The second of two keys counts, a tag doesn't."""
    found = source.parsed(b"a: on\nb: '1'\nc: 1.5\nd: !x y\ne: 1\ne: 2\nf:\n", "f")
    assert found.data == {"a": "on", "b": "1", "c": 1.5, "d": "y", "e": 2, "f": None}


def test_nothing():
    assert source.parsed(b"# nothing\n", "f").data == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a", "at the top"),
        ("a: &a [*a]", "part of"),
        (LAUGHS, "grows beyond"),
        ("a: [", "no valid YAML"),
        ("a: b: c", "no valid YAML"),
        ("[" * 40 + "]" * 40, "nested deeper"),
    ],
)  # fmt: skip
def test_what_can_not_be_read(monkeypatch, text, said):
    """A circle, a file that grows, broken syntax."""
    monkeypatch.setattr(source, "MAX_VALUES", 5000)
    with pytest.raises(ConfigError, match=said):
        source.parsed(text.encode(), "f")
