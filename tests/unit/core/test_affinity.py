# ruff: noqa: S311  (random numbers that repeat, not secrets)
import itertools
import json
import sys
from random import Random

import pytest

from router.core.affinity import ENDS, LIFETIME, LONGEST, STEP, Prefixes, blocks_of, in_prompt_order
from router.core.catalog import Backend

A, B = Backend("a"), Backend("b")


def body(*said, **more):
    return json.dumps({**more, "messages": [{"role": "user", "content": text} for text in said]}).encode()


def text(size, seed=1):
    return Random(seed).randbytes(size).hex()[:size]


# Blocks


def test_a_turn_begins_with_the_blocks_of_the_one_before():
    """But for the last, that ends in what is new."""
    first, second = blocks_of(body(text(9000))), blocks_of(body(text(9000), text(3000, 2)))
    assert second[: len(first) - 1] == first[:-1]
    assert len(second) > len(first)


def test_what_stands_before_the_prompt_changes_nothing():
    """Another temperature, another model."""
    assert blocks_of(body(text(5000), temperature=0.2)) == blocks_of(body(text(5000), model="m", temperature=1))


@pytest.mark.parametrize("name", ["messages", "prompt", "input"])
def test_each_api_has_its_prompt(name):
    """Chats, completions, responses."""
    assert len(blocks_of(json.dumps({name: text(3000)}).encode())) == 3000 // STEP


def test_a_body_without_a_prompt_or_with_a_short_one_has_no_blocks():
    """There is nothing to be saved."""
    assert blocks_of(b'{"query": "' + text(5000).encode() + b'"}') == ()
    assert blocks_of(body("short")) == ()


def test_different_prompts_share_no_block_and_long_ones_have_a_hundred():
    """A hash is of all that comes before its block's end; and no more of them than are needed."""
    one, two = blocks_of(body("1" + text(2 * LONGEST))), blocks_of(body("2" + text(2 * LONGEST)))
    assert not set(one) & set(two)
    assert len(one) == len(ENDS) < 120
    assert all(second - first <= max(STEP, first / 16) for first, second in itertools.pairwise(ENDS))


# Who has them


def test_the_longest_prefix_of_each_backend_is_known():
    """In bytes; and of a model alone."""
    prefixes, first = Prefixes(), blocks_of(body(text(9000)))
    second = blocks_of(body(text(9000), text(9000, 2)))
    prefixes.note(A, "m", first, 0.0)
    prefixes.note(B, "m", second, 0.0)
    assert prefixes.cached(A, "m", second) == pytest.approx(9000, rel=0.07)
    assert prefixes.cached(B, "m", second) == pytest.approx(18_000, rel=0.07)
    assert prefixes.holders("m", second) == {each: prefixes.cached(each, "m", second) for each in (A, B)}
    assert prefixes.holders("other", second) == {}
    assert prefixes.cached(A, "m", ()) == 0


def test_a_restart_empties_the_cache():
    """And what is sent later counts again."""
    prefixes, blocks = Prefixes(), blocks_of(body(text(5000)))
    for backend in (A, B):
        prefixes.note(backend, "m", blocks, 0.0)
    prefixes.forget(A)
    prefixes.forget(A)
    assert prefixes.holders("m", blocks).keys() == {B}
    prefixes.note(A, "m", blocks, 1.0)
    assert prefixes.holders("m", blocks).keys() == {A, B}


def test_prefixes_that_nobody_asks_for_age():
    """After a lifetime they are gone; those that are asked for stay."""
    prefixes, old, kept = Prefixes(), blocks_of(body(text(5000))), blocks_of(body(text(5000, 2)))
    prefixes.note(A, "m", old, 0.0)
    for moment in range(5):
        prefixes.note(A, "m", kept, moment * LIFETIME * 0.6)
    assert prefixes.cached(A, "m", old) == 0
    assert prefixes.cached(A, "m", kept) > 4000


def test_memory_is_bounded():
    """A million prompts of different texts take no more than they may, by the tables' own sizes."""
    limit = 1 << 20
    prefixes, random = Prefixes(limit), Random(1)
    backends = [Backend(str(number)) for number in range(256)]
    most = 0
    for number in range(3000):
        blocks = tuple(random.getrandbits(40) for _ in range(40))
        prefixes.note(backends[number % 256], "m", blocks, 0.0)
        tables = (prefixes._young, prefixes._old)
        entries = (
            sum(sys.getsizeof(key) + sys.getsizeof(mask) for table in tables for key, mask in table.items())
            if (number % 100 == 0)
            else 0
        )
        most = max(most, entries + sum(map(sys.getsizeof, tables)))
    assert limit / 4 < most <= limit
    assert prefixes.cached(backends[2999 % 256], "m", blocks) > 0


def test_bits_are_used_again_when_no_entry_has_them():
    """Backends may come and go for ever: nothing grows, and none is taken for one that is gone."""
    prefixes, blocks, last = Prefixes(), blocks_of(body(text(5000))), None
    for number in range(300):
        if last is not None:
            prefixes.forget(last)
            assert prefixes.holders("m", blocks) == {}
        last = Backend(str(number))
        prefixes.note(last, "m", blocks, number * LIFETIME)
        assert prefixes.holders("m", blocks).keys() == {last}
    assert len(prefixes._holders) < 10


MESSAGES = "/v1/messages"


def test_a_prompt_is_read_in_its_own_order():
    """Claude Code writes its tools and its system prompt behind the messages; what engines read first counts first."""
    body = b'{"messages": [1], "tools": [2], "model": "m", "system": "s"}'
    assert in_prompt_order(MESSAGES, body) == b'"messages""s"[2][1]'
    assert in_prompt_order("/v1/responses", b'{"input": "i", "instructions": "s"}') == b'"messages""s""i"'


@pytest.mark.parametrize("body", [b'{"messages": [1]', b"[]", b'{"messages": "\xff"}'])
def test_what_can_not_be_read_counts_as_it_stands(body):
    """The engine says what is wrong with it."""
    assert in_prompt_order(MESSAGES, body) in {body, b'"messages""\xff"'}


def test_chats_count_as_they_stand():
    """They cost nothing more."""
    body = b'{"messages": []}'
    assert in_prompt_order("/v1/chat/completions", body) is body


def test_turns_of_claude_code_have_their_prompt_in_common():
    """Though its last message changes its form in each turn."""
    system, tools = b'"%s"' % (b"s" * 3000), b"[%s]" % (b'"' + b"t" * 9000 + b'"')
    first = b'{"messages": [{"content": [{"text": "a"}]}], "system": %s, "tools": %s}' % (system, tools)
    second = b'{"messages": [{"content": "a"}, {"content": "b"}], "system": %s, "tools": %s}' % (system, tools)
    blocks = [blocks_of(in_prompt_order(MESSAGES, body)) for body in (first, second)]
    common = sum(one == other for one, other in zip(*blocks, strict=False))
    assert ENDS[common - 1] > 11000
