from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.core.limits import COST, IN_FLIGHT, REQUESTS, TOKENS, UNLIMITED, Book, Bucket, Charge, Limits, Today

TODAY = Today(1, 1, 86_400.0, 30 * 86_400.0)
TOMORROW = Today(2, 1, 2 * 86_400.0, 30 * 86_400.0)
NEXT_MONTH = Today(31, 2, 31 * 86_400.0, 60 * 86_400.0)


def opened(now: float = 0.0, **limits: Any) -> Book:
    book = Book("key 'alice'", Limits(**limits), now)
    book.turn(TODAY)
    return book


def charged(book: Book, tokens: int = 10, now: float = 0.0) -> Charge:
    return Charge((book,), tokens, now)


def left(book: Book, now: float = 0.0) -> dict[str, float]:
    return {each.limit: each.left for each in book.left(now)}


NAMES = [
    "max_in_flight",
    *(f"{kind}_per_{unit}" for unit in ("minute", "day", "month") for kind in ("requests", "tokens")),
    "cost_per_day",
    "cost_per_month",
]


@pytest.mark.parametrize("limit", NAMES)
def test_any_limit_is_one(limit):
    """Without one, nothing is bounded."""
    assert Limits(**{limit: 1}).any
    assert not UNLIMITED.any


# A minute


def test_a_bucket_fills_up_within_a_minute():
    """And holds no more than one minute's amount."""
    bucket = Bucket(60.0)
    assert bucket.level(0.0) == 60
    bucket.take(60, 100.0)
    assert bucket.level(100.0) == 0
    assert bucket.level(110.0) == 10
    assert bucket.wait(15, 110.0) == 5
    assert bucket.level(1000.0) == 60


def test_an_overdrawn_bucket_fills_up_later():
    """What was taken beyond it takes its time."""
    bucket = Bucket(60.0)
    bucket.take(90, 0.0)
    assert bucket.level(0.0) == -30
    assert bucket.wait(1, 0.0) == 31


def test_what_is_given_back_is_there_at_once():
    """But never more than it holds."""
    bucket = Bucket(60.0)
    bucket.take(30, 0.0)
    bucket.take(-10, 0.0)
    assert bucket.level(0.0) == 40
    bucket.take(-100, 0.0)
    assert bucket.level(0.0) == 60


def test_more_than_a_bucket_holds_waits_until_it_is_full():
    """Else a long prompt would wait for ever."""
    bucket = Bucket(60.0)
    assert bucket.wait(1000, 0.0) == 0
    bucket.take(6, 0.0)
    assert bucket.wait(1000, 0.0) == 6


@pytest.mark.parametrize(("size", "level"), [(100.0, 80), (30.0, 10), (10.0, -10)])
def test_another_size_keeps_what_was_taken(size, level):
    """A change of router.yaml gives nobody a full bucket."""
    bucket = Bucket(60.0)
    bucket.take(20, 0.0)
    bucket.resize(size, 0.0)
    assert bucket.level(0.0) == level


def test_a_minutes_requests():
    """As many as the limit at once, and then one each time that one has come back."""
    book = opened(requests_per_minute=2)
    for _ in range(2):
        assert book.lets_in(10, 0.0)
        charged(book)
    assert not book.lets_in(10, 0.0)
    (refusal,) = book.refusals(10, 0.0)
    assert (refusal.whose, refusal.limit, refusal.most, refusal.wait) == ("key 'alice'", "requests_per_minute", 2, 30)
    assert book.lets_in(10, 30.0)


def test_a_minutes_tokens():
    """A prompt has to fit into what is left; what is generated may overdraw it."""
    book = opened(tokens_per_minute=60)
    charge = charged(book, 40)
    assert book.lets_in(20, 0.0)
    assert not book.lets_in(21, 0.0)
    charge.generated(50, 0.0)
    assert left(book) == {"tokens_per_minute": -30}
    (refusal,) = book.refusals(10, 0.0)
    assert (refusal.limit, refusal.wait) == ("tokens_per_minute", 40)
    assert book.lets_in(10, 40.0)


def test_who_uses_no_tokens_needs_none():
    """A count of tokens is a request, and nothing more."""
    book = opened(tokens_per_minute=60, tokens_per_day=60, cost_per_day=1.0, requests_per_minute=5)
    charged(book, 100).settle(100, 0, 2.0, 0.0)
    assert not book.lets_in(1, 0.0)
    assert book.lets_in(0, 0.0)
    assert {each.limit for each in book.refusals(1, 0.0)} == {"tokens_per_minute", "tokens_per_day", "cost_per_day"}
    assert book.refusals(0, 0.0) == []


# In flight


def test_requests_in_flight():
    """The place of one that has ended is free at once, and only once."""
    book = opened(max_in_flight=2)
    first, _ = charged(book), charged(book)
    assert not book.lets_in(10, 0.0)
    (refusal,) = book.refusals(10, 0.0)
    assert (refusal.limit, refusal.most, refusal.wait) == (IN_FLIGHT, 2, 0.0)
    first.end()
    first.end()
    assert book.in_flight == 1
    assert book.lets_in(10, 0.0)


# Days and months


@pytest.mark.parametrize(
    ("limits", "spent"),
    [
        ({"requests_per_day": 2}, "requests_per_day"),
        ({"requests_per_month": 2}, "requests_per_month"),
        ({"tokens_per_day": 20}, "tokens_per_day"),
        ({"tokens_per_month": 20}, "tokens_per_month"),
        ({"cost_per_day": 0.5}, "cost_per_day"),
        ({"cost_per_month": 0.5}, "cost_per_month"),
    ],
)
def test_a_day_and_a_month(limits, spent):
    """What is used up is there again on the next day, or in the next month."""
    book = opened(**limits)
    for _ in range(2):
        assert book.lets_in(10, 0.0)
        charged(book).settle(10, 0, 0.25, 0.0)
    assert not book.lets_in(10, 100.0)
    (refusal,) = book.refusals(10, 100.0)
    ends = TODAY.day_ends if spent.endswith("day") else TODAY.month_ends
    assert (refusal.limit, refusal.most, refusal.wait) == (spent, next(iter(limits.values())), ends - 100.0)
    book.turn(TOMORROW)
    assert book.lets_in(10, 90_000.0) is spent.endswith("day")
    book.turn(NEXT_MONTH)
    assert book.lets_in(10, 31 * 86_400.0)


def test_a_request_belongs_to_the_day_on_which_it_began():
    """What it generates after midnight is not taken from the new day."""
    book = opened(tokens_per_day=1000)
    charge = charged(book, 10)
    book.turn(TOMORROW)
    charge.generated(50, 90_000.0)
    charge.end()
    charge.settle(5, 40, 0.0, 90_000.0)
    assert left(book) == {"tokens_per_day": 1000}


# Settling


def test_what_was_used_takes_the_place_of_what_was_estimated():
    """In each limit, and once."""
    book = opened(tokens_per_minute=1000, tokens_per_day=1000, cost_per_day=10.0)
    charge = charged(book, 100)
    charge.generated(50, 0.0)
    charge.generated(40, 0.0)  # it doesn't take back anything
    charge.end()
    assert left(book) == {"tokens_per_minute": 850, "tokens_per_day": 850, "cost_per_day": 10}
    assert (charge.prompt, charge.completion, charge.cost) == (100, 50, 0.0)
    charge.settle(80, 60, 2.0, 0.0)
    assert left(book) == {"tokens_per_minute": 860, "tokens_per_day": 860, "cost_per_day": 8}
    charge.settle(0, 0, 0.0, 0.0)
    charge.generated(1000, 0.0)
    assert left(book) == {"tokens_per_minute": 860, "tokens_per_day": 860, "cost_per_day": 8}
    assert (charge.prompt, charge.completion, charge.cost) == (80, 60, 2.0)


def test_what_no_backend_was_sent_is_given_back():
    """But not to the minute: to ask again and again for what isn't there costs something."""
    book = opened(requests_per_minute=10, requests_per_day=10, tokens_per_minute=1000, tokens_per_day=1000)
    charge = charged(book, 100)
    charge.end()
    charge.settle(0, 0, 0.0, 0.0, sent=False)
    assert left(book) == {
        "requests_per_minute": 9,
        "tokens_per_minute": 1000,
        "requests_per_day": 10,
        "tokens_per_day": 1000,
    }


def test_all_that_is_left_is_told():
    """Of each limit, and when it is whole again."""
    book = opened(
        requests_per_minute=10, tokens_per_minute=600, max_in_flight=3, requests_per_day=20, tokens_per_day=1000,
        cost_per_day=5.0, requests_per_month=30, tokens_per_month=2000, cost_per_month=6.0,
    )  # fmt: skip
    charged(book, 100)
    day, month = TODAY.day_ends, TODAY.month_ends
    assert [(each.kind, each.limit, each.most, each.left, each.resets) for each in book.left(0.0)] == [
        (IN_FLIGHT, "max_in_flight", 3, 2, inf),
        (REQUESTS, "requests_per_minute", 10, 9, 6),
        (TOKENS, "tokens_per_minute", 600, 500, 10),
        (REQUESTS, "requests_per_day", 20, 19, day),
        (TOKENS, "tokens_per_day", 1000, 900, day),
        (COST, "cost_per_day", 5, 5, day),
        (REQUESTS, "requests_per_month", 30, 29, month),
        (TOKENS, "tokens_per_month", 2000, 1900, month),
        (COST, "cost_per_month", 6, 6, month),
    ]


def test_other_limits_keep_what_was_used():
    """A change of router.yaml takes a limit away, adds one, or moves one; the books stay."""
    book = opened(requests_per_minute=10, tokens_per_day=100)
    charged(book, 40)
    book.bound(Limits(requests_per_minute=10, tokens_per_minute=60, tokens_per_day=200, requests_per_day=5), 0.0)
    assert left(book) == {
        "requests_per_minute": 9,
        "tokens_per_minute": 60,
        "requests_per_day": 4,
        "tokens_per_day": 160,
    }
    book.bound(Limits(requests_per_minute=5), 0.0)
    assert left(book) == {"requests_per_minute": 4}


class Books(RuleBasedStateMachine):
    """A key and its team, with any requests in any order: the books balance."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.day = 1
        self.books = (
            opened(max_in_flight=3, tokens_per_minute=500, requests_per_day=20),
            opened(requests_per_minute=30, tokens_per_day=5000, cost_per_day=100.0),
        )
        self.running: list[Charge] = []
        self.ended: list[Charge] = []
        self.of_today: list[Charge] = []
        self.back = 0

    def pick(self, charges, data):
        """Take one of them."""
        return charges.pop(data.draw(st.integers(0, len(charges) - 1)))

    @rule(tokens=st.integers(0, 400))
    def begin(self, tokens):
        """A request comes."""
        before = [[each.left for each in book.left(self.now)] for book in self.books]
        if all(book.lets_in(tokens, self.now) for book in self.books):
            assert not any(book.refusals(tokens, self.now) for book in self.books)
            charge = Charge(self.books, tokens, self.now)
            self.running.append(charge)
            self.of_today.append(charge)
        else:
            assert any(book.refusals(tokens, self.now) for book in self.books)
            assert before == [[each.left for each in book.left(self.now)] for book in self.books]

    @precondition(lambda self: self.running)
    @rule(data=st.data(), tokens=st.integers(0, 300))
    def generate(self, data, tokens):
        """It has generated so many tokens."""
        data.draw(st.sampled_from(self.running)).generated(tokens, self.now)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data):
        """It ends."""
        charge = self.pick(self.running, data)
        charge.end()
        self.ended.append(charge)

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), prompt=st.integers(0, 500), completion=st.integers(0, 500), cost=st.floats(0, 2))
    def settle(self, data, prompt, completion, cost):
        """Its engine has counted them."""
        self.pick(self.ended, data).settle(prompt, completion, cost, self.now)

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def settle_nothing(self, data):
        """It was sent nowhere."""
        charge = self.pick(self.ended, data)
        charge.settle(0, 0, 0.0, self.now, sent=False)
        if charge in self.of_today:
            self.back += 1

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds):
        """Time passes."""
        self.now += seconds

    @rule()
    def next_day(self):
        """Midnight."""
        self.day += 1
        self.of_today, self.back = [], 0
        for book in self.books:
            book.turn(Today(self.day, 1, self.now + 86_400, self.now + 1e7))

    @invariant()
    def they_balance(self):
        """What the books have is what their charges say."""
        tokens = sum(each.prompt + each.completion for each in self.of_today)
        for book in self.books:
            assert book.in_flight == len(self.running)
            assert book.day.sums.tokens == tokens
            assert book.day.sums.requests == len(self.of_today) - self.back
            assert book.day.sums.cost == pytest.approx(sum(each.cost for each in self.of_today), abs=1e-6)
        minute = self.books[0].tokens
        assert minute is not None
        assert minute.level(self.now) <= minute.size


test_books_balance = Books.TestCase


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 100)), max_size=60))
def test_a_limit_is_overrun_by_no_more_than_what_is_in_flight(steps):
    """Whatever was asked: a minute's amount, what has come back since, and what one request has generated."""
    book = opened(tokens_per_minute=100)
    now, used = 0.0, 0
    for pause, tokens in steps:
        now += pause
        if book.lets_in(tokens, now):
            charge = charged(book, tokens, now)
            charge.generated(50, now)
            charge.end()
            used += tokens + 50
        assert used <= 100 + now * 100 / 60 + 50 + 1e-6
