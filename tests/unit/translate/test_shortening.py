"""Texts that are too long to be embedded, by the errors of engines."""

import json

import pytest

from router.translate.shortening import MARGIN, shortened

LLAMA_CPP = "input[0] has 5004 tokens; this model embeds 1 to 512 (n_batch)"
LLAMA_SERVER = "input (5004 tokens) is too large to process. increase the physical batch size (current batch size: 512)"
VLLM = "This model's maximum context length is 512 tokens. However, you requested 5004 tokens in the input."
LENGTH = 10_000
LEFT = int(LENGTH * (512 / 5004 * MARGIN))


def cut(words: str, given: object = "x" * LENGTH, **more: object) -> object:
    """Give the input that is left; None: nothing is to be shortened."""
    said = json.dumps({"error": {"message": words}}).encode()
    body = shortened(json.dumps({"model": "m", "input": given, "dimensions": 3, **more}).encode(), said)
    if body is None:
        return None
    told = json.loads(body)
    assert {**told, "input": given} == {"model": "m", "input": given, "dimensions": 3, **more}
    return told["input"]


@pytest.mark.parametrize("words", [LLAMA_CPP, LLAMA_SERVER, VLLM])
@pytest.mark.parametrize("more", [{}, {"truncate": True}, {"truncate": None}])
def test_a_text_is_cut_to_what_fits(words, more):
    """By how many tokens it has, and how many the engine takes."""
    assert cut(words, **more) == "x" * LEFT


def test_all_texts_that_are_as_long_are_cut():
    """It isn't said which one was too long; short ones stay whole."""
    assert cut(LLAMA_SERVER, ["short", "y" * LENGTH, "z" * 5000]) == ["short", "y" * LEFT, "z" * LEFT]


@pytest.mark.parametrize(
    "words", ["The text is too long.", "Too many tokens: at most 512.", "Exceeds the context, by 0 of 7"]
)
def test_without_figures_half_of_it_is_left(words):
    """Which is asked for as often as it takes, within bounds."""
    assert cut(words) == "x" * (LENGTH // 2)


@pytest.mark.parametrize("words", ["No such model.", "input must be a text, 5004 or 512"])
def test_another_error_cuts_nothing(words):
    """The client gets it."""
    assert cut(words) is None


def test_whoever_wants_all_or_nothing_gets_the_error():
    """As in Ollama's API."""
    assert cut(LLAMA_CPP, truncate=False) is None


def test_what_can_not_be_cut_any_more():
    """Is an error."""
    assert cut(LLAMA_CPP, "x") is None
    assert cut(LLAMA_CPP, [""]) is None
