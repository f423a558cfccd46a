"""Reasoning and answer in one text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.translate.thinking import ThinkingSplitter


def parted(*pieces: str) -> tuple[str, str]:
    splitter = ThinkingSplitter()
    found = [splitter.feed(piece) for piece in pieces]
    found.append(splitter.end())
    return "".join(reasoning for reasoning, _ in found), "".join(answer for _, answer in found)


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("Hello", "", "Hello"),
        ("<think>hm</think>Hello", "hm", "Hello"),
        ("\n<think>\nhm\n</think>\n\nHello\n", "hm", "Hello\n"),
        ("<think>a </ b</think>c", "a </ b", "c"),
        ("<think></think>c", "", "c"),
        ("<think>never ends", "never ends", ""),
        ("<think>cut </thi", "cut </thi", ""),
        ("<think>a</think>b</think>c", "a", "b</think>c"),
        ("<think>a</think><think>b</think>", "a", "<think>b</think>"),
        ("say <think>no</think>", "", "say <think>no</think>"),
        ("<thinking>", "", "<thinking>"),
        ("<thi", "", "<thi"),
        ("  leading", "", "  leading"),
        (" ", "", " "),
        ("", "", ""),
    ],
)
def test_parts(text, reasoning, answer):
    """Only a tag at the very beginning counts; spaces around the tags belong to neither part."""
    assert parted(text) == (reasoning, answer)
    assert parted(*text) == (reasoning, answer)


def test_an_answer_is_passed_on_at_once():
    """What can't be a tag any more isn't held back."""
    splitter = ThinkingSplitter()
    assert splitter.feed("<") == ("", "")
    assert splitter.feed("p") == ("", "<p")
    assert splitter.is_answering
    assert splitter.feed("<think>") == ("", "<think>")


def test_reasoning_is_passed_on_at_once():
    """Of the reasoning, only spaces and what may become the closing tag are held back."""
    splitter = ThinkingSplitter()
    assert splitter.feed("<think>a <") == ("a", "")
    assert splitter.feed("b") == (" <b", "")
    assert not splitter.is_answering


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(("<think>", "</think>", "<", "/think>", "a", " ", "\n")), max_size=7), st.data())
def test_where_it_is_cut_makes_no_difference(words: list[str], data: st.DataObject) -> None:
    """Any cut gives the same parts, and nothing but tags and spaces is lost."""
    text = "".join(words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[begins:ends] for begins, ends in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    reasoning, answer = parted(text)
    assert parted(*pieces) == (reasoning, answer)
    if not text.lstrip().startswith("<think>"):
        assert (reasoning, answer) == ("", text)
    else:
        inner, _, rest = text.lstrip().removeprefix("<think>").partition("</think>")
        assert (reasoning.strip(), answer) == (inner.strip(), rest.lstrip())
