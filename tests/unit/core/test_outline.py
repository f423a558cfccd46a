"""Large bodies: what is cut out of them, and put back."""

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.affinity import blocks_of
from router.core.errors import BadRequestError
from router.core.outline import KEPT, LONG, Outline, Texts
from router.core.peek import peek
from router.core.reshape import reshaped

SECRET = b"5ec4e7"


def outlined(body: bytes, sizes: list[int], *, translatable: bool = False) -> tuple[bytes, Texts]:
    """The outline of a body that comes in pieces of these sizes, again and again."""
    outline, at, number = Outline(SECRET, translatable=translatable), 0, 0
    while at < len(body):
        size = sizes[number % len(sizes)]
        outline.feed(body[at : at + size])
        at, number = at + size, number + 1
    return outline.end(), outline.texts


def chat(text: str, *, escaped: bool = False, model: str = "demo") -> bytes:
    message = {"role": "user", "content": text}
    return json.dumps({"model": model, "messages": [message], "stream": True}, ensure_ascii=escaped).encode()


TEXTS = {
    "base64": "iVBORw0KGgo" * 9000,
    "quotes": 'he said "no" \\ and "yes"\n' * 3000,
    "backslashes": "\\" * 50_001,
    "other letters": "жéж漢字😀" * 5000,
    "emoji": "😀" * 9000,
    "backslash before u": "\\ud83d\\\\ude00 \\\\\\" * 4000,
}


@pytest.mark.parametrize("sizes", [[100_000_000], [4096], [5000, 4097, 9001], [16_384, 1, 7]])
@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("kind", TEXTS)
def test_a_long_text_is_cut_out_and_put_back(kind, escaped, sizes):
    """However its bytes come: the outline is small, valid JSON, and filled it is the body to the last byte."""
    body = chat(TEXTS[kind], escaped=escaped)
    outline, texts = outlined(body, sizes)
    assert len(outline) < LONG
    assert len(outline) + texts.size > len(body)
    assert peek(outline) == ("demo", True, None, None)
    assert json.loads(outline)["messages"][0]["content"].startswith(TEXTS[kind][: KEPT // 13])
    assert b"".join(texts.filled(outline)) == body


def test_pieces_that_fall_anywhere():
    """Escapes, characters and pairs of surrogates are never parted, or the check of a piece would fail."""
    chance = random.Random(7)  # noqa: S311  (the same texts in each run)
    letters = ["a", "\\", '"', "\n", "é", "漢", "😀", "\\u", "d83d", "\ufffd"]
    for _ in range(60):
        text = "".join(chance.choices(letters, k=20_000))
        body = chat(text, escaped=chance.random() < 0.5)
        outline, texts = outlined(body, [chance.randrange(1, 9000) for _ in range(9)])
        assert b"".join(texts.filled(outline)) == body
        assert len(outline) < LONG


def test_the_outline_may_be_changed_before_it_is_filled():
    """As a route's rules, and engines', change a body."""
    body = chat("x" * 100_000)
    outline, texts = outlined(body, [5000])
    assert b"".join(texts.filled(reshaped(outline, None, "other"))) == reshaped(body, None, "other")


@pytest.mark.parametrize(("length", "pays"), [(100, True), (LONG - 1, True), (100_000, True), (0, False)])
def test_it_pays_where_most_is_cut_out(length, pays):
    """What stands between texts takes as long to pass over as to read."""
    outline = Outline(SECRET)
    outline.feed(json.dumps({"input": ["x" * length] * (1_000_000 // max(4, length))}).encode()[:999_000])
    assert outline.pays is pays


RUNS: dict[str, list[Any]] = {
    "short": ["Lorem ipsum, dolor"] * 5000,
    "as long as a few lines": ['said "no" \\ and\n\tyes', "x" * 3000, "漢字😀" * 99] * 70,
    "with an empty one": [*["text"] * 6000, "", *["text"] * 6000],
    "some in a list of lists": [*["text"] * 5000, [1, 2, 3], ["text"] * 50],
}


@pytest.mark.parametrize("sizes", [[100_000_000], [65_536], [70_000, 40_001, 33_333]])
@pytest.mark.parametrize("separators", [(",", ":"), (" ,\n ", ": ")])
@pytest.mark.parametrize("kind", RUNS)
def test_a_list_of_many_short_texts_is_cut_out(kind, separators, sizes):
    """The outline is a list of texts, too, and begins as it does."""
    body = json.dumps({"model": "demo", "input": RUNS[kind], "user": "me"}, separators=separators).encode()
    outline, texts = outlined(body, sizes)
    assert len(outline) < len(body) / 2
    assert peek(outline)[0] == "demo"
    mine, read = RUNS[kind], json.loads(outline)
    assert read["user"] == "me"
    assert read["input"][0] == mine[0]
    assert {type(each) for each in read["input"]} == {type(each) for each in mine}
    assert b"".join(texts.filled(outline)) == body


@pytest.mark.parametrize("content", [["text"] * 9000, [{"type": "text"}, *["text"] * 9000], [["text"] * 9000]])
def test_texts_of_a_content_stay(content):
    """Rules make one text of them, in which others' quotes would have to be escaped."""
    body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": content}]}).encode()
    assert outlined(body, [65_536])[0] == body


def test_texts_of_objects_are_no_list():
    """Where a comma follows each text, it is one, or no JSON."""
    body = b'{"model":"demo","input":%s}' % json.dumps([{"a": "x" * 40, "b": "y" * 40}] * 1000).encode()
    outline, texts = outlined(body, [65_536])
    assert (outline, texts.size) == (body, 0)
    with pytest.raises(BadRequestError, match="not valid JSON"):
        peek(outlined(b'{"model":"demo","input":{"a":' + b'"text",' * 9000 + b'"b":1}}', [65_536])[0])


@pytest.mark.parametrize("bad", [b"\\q", b"\x01", b"\\ud83d\\u0041"])
def test_a_bad_text_in_a_list_is_refused(bad):
    """And none of those beside it is looked at twice."""
    body = b'{"model":"demo","input":[' + b'"text",' * 9000 + b'"%s",' % bad + b'"text",' * 9000 + b'"end"]}'
    with pytest.raises(BadRequestError, match="not valid JSON"):
        peek(outlined(body, [65_536])[0])


def test_of_a_body_that_may_be_translated_base64_is_cut_out():
    """Other texts may be read, or told again in the answer."""
    image, text, file = "iVBORw0KGgo/+" * 9000, "Look at this. " * 9000, "data:text/plain;base64," + "aGVsbG8h" * 9000
    parts = [text, "data:image/png;base64," + image, image, "A" * 70_000 + text, file, "é" * 50_000]
    body = json.dumps(
        {"model": "demo", "input": ["short"] * 9000, "content": parts, "arguments": {"a": image}}
    ).encode()
    outline, texts = outlined(body, [65_536], translatable=True)
    read = json.loads(outline)
    assert [len(each) for each in read["content"]] == [len(text), *[len(read["content"][1])] * 2, *map(len, parts[3:])]
    assert len(read["content"][1]) < 700
    assert texts.size == 3 * len(image) - 3 * KEPT + len("data:image/png;base64,")
    assert b"".join(texts.filled(outline)) == body


def test_short_texts_stay():
    """And so does what stands between texts."""
    body = json.dumps({"model": "demo", "input": [["a" * 500, 1, None]] * 500}).encode()
    outline, texts = outlined(body, [5000])
    assert (outline, texts.size) == (body, 0)
    assert texts.filled(outline) == [body]


def counted(method, calls):
    """The method, noted each time."""

    def call(*given):
        calls.append(method.__name__)
        return method(*given)

    return call


@pytest.mark.parametrize("translatable", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        json.dumps(
            {"messages": [{"role": "user", "content": f"Hello {n}"} for n in range(5000)], "model": "m"}
        ).encode(),
        json.dumps({"messages": [{"role": "user", "content": [f'a \n"b" {n}']} for n in range(5000)]}).encode(),
        b'{"x":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
        b'{"x":"' + b'\\"' * 200_000 + b'"}',
    ],
    ids=["messages", "contents", "nested", "quotes"],
)
def test_short_texts_are_passed_over_in_leaps(monkeypatch, body, translatable):
    """However many there are: to look at each holds up everybody."""
    looks: list[str] = []
    for name in ("_read_between", "_read_text"):
        read = getattr(Outline, name)
        monkeypatch.setattr(Outline, name, counted(read, looks))
    outline, texts = outlined(body, [65_536], translatable=translatable)
    assert b"".join(texts.filled(outline)) == body
    assert len(looks) <= 5 * (len(body) // 65_536 + 1)


PARTS = ['"', "\\", '\\"', "[", "]", ":", ",", " ", '"content"', '"input"', "x" * 40, "x" * LONG, '"y",' * 5000]


@given(
    parts=st.lists(st.sampled_from(PARTS), max_size=12), sizes=st.lists(st.integers(1, 40_000), min_size=1, max_size=3)
)
@pytest.mark.parametrize("translatable", [False, True])
def test_whatever_comes_is_put_back(parts, sizes, translatable):
    """To the last byte, or what is left of it is no JSON: then the client is told so."""
    body = b'{"model":"m","input": ["' + "".join(parts).encode()
    outline, texts = outlined(body, [max(each, len(body) // 200) for each in sizes], translatable=translatable)
    if b"".join(texts.filled(outline)) != body:
        with pytest.raises(BadRequestError, match="not valid JSON"):
            peek(outline)


@pytest.mark.parametrize("sizes", [[10_000_000], [5000]])
def test_the_arguments_of_a_call_stay(sizes):
    """They are JSON in themselves, which engines' rules read."""
    body = b'{"model":"demo","arguments": "%s"}' % (b"x" * 50_000)
    assert outlined(body, sizes)[0] == body


def test_arguments_that_are_written_anew_bring_all_back():
    """Rules make a text of them, in which what was cut out would have to be escaped again."""
    body = b'{"model":"demo","arguments":{"a":"%s"},"b":"%s"}' % (b"x" * 50_000, b"y" * 50_000)
    outline, texts = outlined(body, [5000])
    assert (outline, texts.size) == (body, 0)


@pytest.mark.parametrize("sizes", [[10_000_000], [5000]])
@pytest.mark.parametrize("bad", [b"\\q", b"\x01", b"\\ud83d\\u0041"])
def test_what_peek_would_refuse_is_refused(bad, sizes):
    """A piece that is no text is left for it."""
    body = b'{"model":"demo","input":"%s%s%s"}' % (b"x" * 40_000, bad, b"y" * 40_000)
    with pytest.raises(BadRequestError, match="not valid JSON"):
        peek(body)
    with pytest.raises(BadRequestError, match="not valid JSON"):
        peek(outlined(body, sizes)[0])


@pytest.mark.parametrize("end", [b"", b"\\", b'"', b'"}}'])
def test_a_body_that_is_not_whole(end):
    """It is refused, as any other."""
    body = b'{"model":"demo","input":"' + b"x" * 40_000 + end
    with pytest.raises(BadRequestError):
        peek(outlined(body, [5000])[0])


def test_conversations_that_begin_alike_have_blocks_in_common():
    """The same text has the same mark; another one of the same beginning has another."""
    same, other = ["x" * 100_000, "y" * 3000, "z"], ["x" * 99_999 + "!", "y" * 3000]
    bodies = [json.dumps({"prompt": texts}).encode() for texts in (same[:2], same, other)]
    first, second, third = (blocks_of(outlined(body, [70_000])[0]) for body in bodies)
    assert len(set(first) & set(second)) > 8
    assert len(set(first) & set(third)) <= KEPT // 256 + 1


def test_what_follows_an_outline():
    """It is kept for who asks later, until it is forgotten; then it is passed on alone."""
    outline, texts = outlined(chat("x" * 100_000), [5000])
    first: list[bytes] = []
    second: list[bytes] = []
    texts.takers.append(first.append)
    size = texts.size
    texts.expect(6)
    texts.follow(b"ab")
    texts.takers.append(second.append)
    texts.follow(b"cd")
    assert (texts.size, texts.missing) == (size + 6, 2)
    assert b"".join(texts.filled(outline)).endswith(b"}abcd")
    texts.forget()
    texts.follow(b"ef")
    assert (first, second, texts.missing) == ([b"ab", b"cd", b"ef"], [b"cd", b"ef"], 0)
    assert texts.filled(b"{}") == [b"{}"]


def test_where_json_goes_is_known_at_its_end():
    """Any field may be the last."""
    outline = Outline(SECRET)
    outline.feed(chat("x" * 100_000)[:-1])
    assert not outline.says_where
    outline.check(b"}")  # nothing is sent on before


def test_what_is_forgotten_is_freed():
    """Once an answer has begun, the body isn't sent again."""
    outline, texts = outlined(chat("x" * 100_000), [5000])
    texts.forget()
    assert not texts._texts
    assert msgspec.json.decode(outline)["model"] == "demo"
