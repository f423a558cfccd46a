import base64
import json
import random

import pytest

from router.core.outline import LONG, Outline
from router.core.prompts import MOST_MODELS, Rates, choices_in, generates, text_size, uses_tokens

CHANCE = random.Random(20)  # noqa: S311 -- no secret
IMAGE = base64.b64encode(CHANCE.randbytes(90_000)).decode()
WORDS = "The quick brown fox jumps over the lazy dog. " * 200


def bodies(text: str):
    """Requests with a text and an image, in the form of each API."""
    url = f"data:image/png;base64,{IMAGE}"
    return [
        {"messages": [{"content": [{"type": "text", "text": text}, {"image_url": {"url": url}}]}]},
        {"messages": [{"content": [{"type": "input_audio", "input_audio": {"data": IMAGE, "format": "wav"}}, text]}]},
        {"messages": [{"content": [{"source": {"type": "base64", "data": IMAGE}}, {"text": text}]}]},
        {"prompt": text, "images": [IMAGE]},
        {"input": [{"content": [{"type": "input_image", "image_url": url}, {"text": text}]}]},
    ]


@pytest.mark.parametrize("number", range(5))
def test_images_are_no_text(number):
    """Whatever the API calls them: what is left is as long as the text, to about two steps."""
    body = json.dumps(bodies(WORDS)[number]).encode()
    assert text_size(body) == pytest.approx(len(WORDS) + 200, abs=4500)


@pytest.mark.parametrize(
    "text",
    [
        WORDS,
        "这是一个测试。" * 2000,
        json.dumps({"tools": [{"name": "read_file", "parameters": {"path": "string"}}] * 100}),
        "def f(x):\n\treturn x+1\n" * 500,
        "https://example.org/a/b/c?d=e&f=g," * 300,
        "",
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_texts_are_text(text, ascii_only):
    """In any language, and code: all of their bytes count."""
    body = json.dumps({"messages": [{"content": text}]}, ensure_ascii=ascii_only).encode()
    assert text_size(body) == len(body)


@pytest.mark.parametrize("translatable", [True, False])
def test_what_was_cut_out_of_a_large_body(translatable):
    """Its texts count, its images don't."""
    words = "Once upon a time. " * (LONG // 2)
    body = json.dumps({"messages": [{"content": words}, {"url": f"data:image/png;base64,{IMAGE}"}]}).encode()
    outline = Outline(b"secret", translatable=translatable)
    for at in range(0, len(body), 4096):
        outline.feed(body[at : at + 4096])
    short = outline.end()
    assert outline.texts.size > 100_000
    assert text_size(short, outline.texts) == pytest.approx(len(words) + 200, abs=4500)


def test_tokens_are_estimated_by_what_engines_report():
    """For each model by itself; nothing is known of another one."""
    rates = Rates()
    assert rates.tokens("demo", 400) == 100
    rates.learn("demo", 1000, 500)
    assert rates.tokens("demo", 400) == 200
    assert rates.tokens("other", 400) == 100
    rates.learn("demo", 3000, 0)  # no count
    assert rates.tokens("demo", 400) == 200
    assert rates.tokens("demo", 0) == 1


def test_what_is_learned_follows_a_model_whose_use_changes():
    """Old prompts count less and less."""
    rates = Rates()
    for _ in range(50):
        rates.learn("demo", 40_000, 10_000)
    for _ in range(50):
        rates.learn("demo", 20_000, 10_000)
    assert rates.tokens("demo", 2000) == pytest.approx(1000, rel=0.01)


@pytest.mark.parametrize(("size", "counted", "expected"), [(1_000_000, 1, 1000 / 64), (1, 1_000_000, 4000)])
def test_what_is_believed_is_bounded(size, counted, expected):
    """A strange engine must not lock a key out, or open it."""
    rates = Rates()
    rates.learn("demo", size, counted)
    assert rates.tokens("demo", 1000) == round(expected)


def test_the_models_that_are_known_are_bounded():
    """The oldest is forgotten."""
    rates = Rates()
    for number in range(MOST_MODELS + 1):
        rates.learn(f"m{number}", 1000, 500)
    rates.learn(f"m{MOST_MODELS}", 1000, 500)
    assert rates.tokens("m0", 1000) == 250
    assert rates.tokens("m1", 1000) == 500
    assert rates.tokens(f"m{MOST_MODELS}", 1000) == 500


def test_what_paths_do():
    """A count reads nothing; embeddings make no text."""
    assert uses_tokens("/v1/chat/completions")
    assert not uses_tokens("/v1/messages/count_tokens")
    assert not uses_tokens("/tokenize")
    assert generates("/v1/messages")
    assert not generates("/v1/embeddings")


@pytest.mark.parametrize(
    ("body", "choices"),
    [
        (b'{"messages":[]}', 1),
        (b'{"n":3}', 3),
        (b'{"n_cmpl" : 4, "n": 2}', 4),
        (b'{"n":"5"}', 5),
        (b'{"n":null}', 1),
        (b'{"n":-7}', 1),
        (b'{"n":', 1),
        (b'{"tools":[{"n":100}]}', 1),
        (b'{"prompt":"\\"n\\":100"}', 1),
    ],
)
def test_how_many_choices_are_asked_for(body, choices):
    """At the top of the request; what can't be read asks for one."""
    assert choices_in(body) == choices
