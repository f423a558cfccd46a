import random
from typing import Any

import pytest

from router.core.trace import span_of, traced

ID, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def draw(bits: int) -> int:
    return (1 << bits) - 1


def none(_: int) -> int:
    return 0


def said(value: str, share: float = 0.0):
    return traced(((b"host", b"a"), (b"traceparent", value.encode())), share, 5, draw, {})


def test_a_clients_trace_goes_on():
    """Its span is the parent of the request's."""
    trace = said(f"00-{ID}-{SPAN}-01")
    assert trace is not None
    assert (trace.trace, trace.parent, trace.began) == (int(ID, 16), int(SPAN, 16), 5)
    assert trace.span == 2**64 - 1


def test_a_trace_that_the_client_does_not_record_is_not_recorded():
    """Whatever the share is."""
    assert said(f"00-{ID}-{SPAN}-00", share=1.0) is None
    assert said(f"00-{ID}-{SPAN}-02", share=1.0) is None


def test_a_later_version_may_say_more():
    """What is known of it counts."""
    trace = said(f"01-{ID}-{SPAN}-03-more")
    assert trace is not None
    assert trace.trace == int(ID, 16)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        f"00-{ID}-{SPAN}-01-more",
        f"00-{ID}-{SPAN}-01-",
        f"ff-{ID}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{ID}-{'0' * 16}-01",
        f"00-{ID.upper()}-{SPAN}-01",
    ],
)
def test_what_is_no_trace_is_none(value):
    """A new one begins, or none."""
    assert said(value) is None
    trace = said(value, share=1.0)
    assert trace is not None
    assert (trace.trace, trace.parent) == (2**128 - 1, 0)


def test_of_two_parents_none_counts():
    """Which of them is the right one isn't known."""
    twice = ((b"traceparent", f"00-{ID}-{SPAN}-01".encode()),) * 2
    assert traced(twice, 0.0, 5, draw, {}) is None
    trace = traced(twice, 1.0, 5, draw, {})
    assert trace is not None
    assert trace.parent == 0


def test_a_share_of_those_without_one_is_recorded():
    """By chance."""
    source = random.Random(1)  # noqa: S311
    found = [traced((), 0.25, 0, source.getrandbits, {}) for _ in range(4000)]
    assert 900 < sum(each is not None for each in found) < 1100


def test_ids_are_never_0():
    """That would be none."""
    assert span_of(none) == 1
    trace = traced((), 0.5, 0, none, {})
    assert trace is not None
    assert (trace.trace, trace.span) == (1, 1)


def test_each_attempt_is_told_its_own_span():
    """In the place of the client's; other lines stay, but for the state of a trace that isn't theirs."""
    bits, ended = iter([7, 8, 9]), dict[int, Any]()
    trace = traced(((b"traceparent", f"00-{ID}-{SPAN}-01".encode()),), 0.0, 0, lambda _: next(bits), ended)
    assert trace is not None
    before = f"traceparent: 00-{ID}-{SPAN}-01\r\nx-a: traceparent: 1\r\ntracestate: a=1\r\n".encode()
    after = b"x-a: traceparent: 1\r\ntracestate: a=1\r\ntraceparent: 00-%s-%016x-01\r\n"
    assert trace.passed_on(before) == after % (ID.encode(), 8)
    assert trace.passed_on(b"") == b"traceparent: 00-%s-%016x-01\r\n" % (ID.encode(), 9)
    assert trace.attempts == [8, 9]
    new = traced((), 1.0, 0, none, {})
    assert new is not None
    assert new.passed_on(b"tracestate: a=1\r\n" + before) == (
        b"x-a: traceparent: 1\r\ntraceparent: 00-%032x-%016x-01\r\n" % (1, 1)
    )
    record = object()
    trace.end(record)
    assert ended == {id(record): (record, trace)}
