from typing import get_args

import pytest
from pydantic import ValidationError

from router.api.admin.activity import SORTS, ActivityAsked, Sort
from router.api.admin.requests import EndedTold
from router.management.activity import activity, histogram, page, stats

AT = 1_764_500_000.0


def ended(number, model="a", duration=1.0, **more):
    made = EndedTold(
        number=number, id=f"r{number}", at=AT + number, path="/v1/chat/completions", model=model, key="", client="",
        backend="b", status=200, outcome="answered", attempts=1, hedge="", duration=duration, queued=0.0, bytes=9,
    )  # fmt: skip
    return activity(made.model_copy(update=more))


FOUND = [ended(1, duration=3.0), ended(2, "b"), ended(3, duration=2.0), ended(4, "b")]


def numbers(**asked):
    return [each.id for each in page(FOUND, ActivityAsked.model_validate(asked)).data]


def test_a_request_as_llama_swap_has_it():
    """With -1 for what isn't known."""
    told = ended(7, prompt_tokens=10, cached_tokens=4, tokens=20, prompt_tokens_per_second=60.0, tokens_per_second=20.5)
    assert told.model_dump(mode="json") == {
        "id": 7, "timestamp": "2025-11-30T10:53:27Z", "model": "a", "req_path": "/v1/chat/completions",
        "resp_content_type": "", "resp_status_code": 200, "duration_ms": 1000, "has_capture": False, "error_msg": "",
        "tokens": {
            "cache_tokens": 4, "draft_tokens": -1, "draft_acc_tokens": -1, "input_tokens": 10, "output_tokens": 20,
            "prompt_per_second": 60.0, "tokens_per_second": 20.5,
        },
    }  # fmt: skip
    told = ended(8, status=499, outcome="the client left")
    assert (told.error_msg, told.tokens.cache_tokens, told.tokens.input_tokens) == ("the client left", -1, 0)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, [4, 3, 2, 1]),
        ({"order": "asc"}, [1, 2, 3, 4]),
        ({"limit": 3}, [4, 3, 2]),
        ({"limit": 3, "page": 2}, [1]),
        ({"limit": 3, "page": 3}, []),
        ({"model": "b"}, [4, 2]),
        ({"min_id": 2, "max_id": 3}, [3, 2]),
        ({"start": "2025-11-30T10:53:22Z", "end": "2025-11-30T11:53:23.0+01:00"}, [3, 2]),
        ({"sort": "duration"}, [1, 3, 4, 2]),
        ({"sort": "model", "order": "asc"}, [1, 3, 2, 4]),
    ],
)
def test_a_page(asked, expected):
    """Of those that fit, in an order; of equals, the latest is first where the greatest is."""
    assert numbers(**asked) == expected


@pytest.mark.parametrize("start", ["123", 123, "2025-11-30", "2025-11-30T10:53:23", "2025-13-30T10:53:22Z"])
def test_what_is_no_time(start):
    """As RFC 3339 has it, with its zone."""
    with pytest.raises(ValidationError):
        ActivityAsked.model_validate({"start": start})


def test_how_many_pages():
    told = page(FOUND, ActivityAsked(limit=3))
    assert (told.total, told.total_pages, told.page, told.limit) == (4, 2, 1, 3)
    assert page([], ActivityAsked()).total_pages == 0


def test_every_sort_is_known():
    assert set(SORTS) == set(get_args(Sort))
    assert all(numbers(sort=each) for each in SORTS)


def test_stats():
    """What isn't known counts for nothing."""
    known = {"prompt_tokens": 10, "cached_tokens": 4, "tokens": 5, "tokens_per_second": 8.0}
    told = stats([ended(1, **known), ended(2, **known), ended(3)])
    assert (told.total_requests, told.total_input_tokens, told.total_output_tokens) == (3, 20, 10)
    assert (told.total_cache_tokens, told.prompt_histogram) == (8, None)
    assert told.gen_histogram is not None
    assert told.gen_histogram.bins == (2,)


@pytest.mark.parametrize(
    ("values", "bins", "size"),
    [
        ([5.0], (1,), 0.0),
        ([5.0, 5.0], (2,), 0.0),
        ([0.0, 1.0, 9.0, 10.0], (2, 0, 0, 0, 2), 2.0),
        ([float(each) for each in range(1001)], (91,) * 10 + (91,), 1000 / 11),
    ],
)
def test_a_histogram(values, bins, size):
    """In five parts at least, or as many as Sturges' rule says."""
    told = histogram(values)
    assert told is not None
    assert (sum(told.bins), told.min, told.max) == (len(values), values[0], values[-1])
    assert told.binSize == pytest.approx(size)
    assert told.bins == bins
    assert told.p50 == pytest.approx((values[0] + values[-1]) / 2)


def test_no_histogram():
    assert histogram([]) is None
