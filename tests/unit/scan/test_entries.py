from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.config import Config
from router.config.inserting import Layout
from router.config.reading import environment, places
from router.scan.entries import Entry, Value, text
from router.scan.first import first_file

KEYS: Mapping[str, Value] = {
    "name": "a",
    "launch": {"model": "m.gguf", "args": {"mlx": {"x": True}}},
    "models": ["a:b"],
}


def test_an_entry():
    assert [*Entry(KEYS, "7B").lines()] == [
        "  # 7B",
        "  - name: a",
        "    launch:",
        "      model: m.gguf",
        "      args:",
        "        mlx:",
        "          x: true",
        "    models:",
        '      - "a:b"',
    ]


def test_one_that_can_not_be_used():
    """It is a comment, with the reason; and so is whatever its file's name says."""
    assert [*Entry({"url": "http://127.0.0.1:8080"}, "A\nserver", "No key").lines(Layout(0, 4, 4))] == [
        r"# A\nserver. No key",
        "# -   url: http://127.0.0.1:8080",
    ]


@pytest.mark.parametrize("bare", ["models/a-b_c.gguf", "/x/y@z", "org/name", "http://127.0.0.1:1234", "llama3.2"])
def test_words_without_quotes(bare):
    assert text(bare) == bare


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@example("7")
@example("true")
@example("null")
@example("${HOME}/$${x}")
@example("a: b # c")
@example('"\\')
@example("- x")
@example("~")
@example("1e3")
@example("a\n  - name: b\r\x85\u2028\0\x1b\ufeff")
def test_text_means_itself(said):
    """In router.yaml, whatever it is."""
    written = text(said)
    assert written.isprintable()
    document = places.parse(f"x: {written}\n".encode(), "router.yaml")
    environment.expand(document, {})
    assert document.data == {"x": said}
    assert not document.problems


def test_a_first_file():
    """It can be used, and says how."""
    entries = [
        Entry({"name": "b", "url": "http://127.0.0.1:1", "models": ["x"]}, "B"),
        Entry({"name": "c"}, "C", "No."),
    ]
    said = first_file([Entry(KEYS, "A"), *entries], "cpu: it has none", "router.yaml")
    document = places.parse(said.encode(), "router.yaml")
    assert [each.name for each in Config.model_validate(document.data).backends] == ["a", "b"]
    assert "\n# cpu: it has none\nprofile: auto\n" in said
    assert "  # C. No.\n  # - name: c\n" in said
