"""What requests of keys with limits are charged, without sockets: the engines' words are the test's."""

import random
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from router.core import errors
from router.core.access import Access
from router.core.ending import told_by
from router.core.keys import Key, Keys, Team, digest
from router.core.limits import Book, Limits
from router.core.progress import Passed
from router.core.usage import NONE, Meter
from router.proxy.caller import Caller
from router.proxy.charging import Charging, generated, without_theirs
from router.proxy.exchange import Exchange
from router.proxy.heads import describe_request, parse_response
from router.proxy.requests import Request, Rules
from tests.fakes.client import Client
from tests.fakes.wired import BODY, EVENT, LAST, Scene, begin_hedge

USAGE = b'data: {"usage": {"prompt_tokens": 70, "completion_tokens": 5}}\n\n'
ALL = {
    "requests_per_minute": 100, "tokens_per_minute": 1000, "max_in_flight": 5, "requests_per_day": 1000,
    "tokens_per_day": 100_000, "cost_per_day": 10.0,
}  # fmt: skip
PROMPT = len(BODY) // 4 + 1
"""Tokens that the request of a scene is taken to have, while nothing is known of its model."""


@pytest.fixture(autouse=True)
def _in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Charged(Scene):
    """A scene whose client has a key with limits."""

    def __init__(self, *names: str, limits: dict[str, Any] = ALL, hedge_after: float = 1e9, **bounds: float) -> None:
        super().__init__(*names, hedge_after=hedge_after, **bounds)
        self.meter = Meter()
        self.charging = Charging(self.plane.loop.time)
        self.charging.set_up(keys(Key("alice", limits=Limits(**limits))))
        self.caller = Caller("alice", payer=self.charging.payer("alice"))

    def go(self, **asked: Any) -> Any:
        """Ask with that key."""
        return self.ask(caller=self.caller, **asked)

    @property
    def book(self) -> Book:
        """What the key has used."""
        return self.charging.accounts.keys(self.charging.today(self.plane.loop.time()))["alice"]

    def settled(self) -> tuple[int, int]:
        """Settle all, twice; give the requests and the tokens of the day."""
        for record in self.records:
            use = NONE if record.backend is None else self.meter.use(record.model, record, told_by(record))
            for _ in range(2):
                self.charging.settle(record, use, 0.0)
        assert self.book.in_flight == 0
        return self.book.day.sums.requests, self.book.day.sums.tokens


def keys(*known: Key) -> Keys:
    return Keys({digest(each.name.encode()): each for each in known})


def whole(scene: Charged) -> None:
    """Have the engine answer, and count its tokens."""
    wire = scene.wire(0)
    wire.head()
    wire.body(EVENT * 5 + USAGE + LAST)
    wire.end()


async def test_a_request_takes_its_prompt_and_what_it_generates():
    """As estimated, and then as its engine has counted it."""
    scene = Charged("a")
    exchange, _ = scene.go()
    assert (scene.book.in_flight, scene.book.day.sums.tokens) == (1, PROMPT)
    wire = scene.wire(0)
    wire.head()
    wire.body(EVENT * 3)
    exchange.look(scene.plane.loop.time())
    assert scene.book.day.sums.tokens == PROMPT + 3
    wire.body(EVENT * 2 + USAGE + LAST)
    wire.end()
    assert scene.book.in_flight == 0
    assert scene.settled() == (1, 75)
    scene.plane.close()


async def test_what_a_models_tokens_come_to_is_learned_from_those_counts():
    """The next request's prompt is estimated by them."""
    scene = Charged("a")
    scene.go()
    whole(scene)
    scene.settled()
    scene.go()
    assert scene.book.day.sums.tokens == 75 + 70
    scene.plane.close()


async def test_an_answer_in_one_piece_is_charged_by_its_bytes_until_it_is_counted():
    """Nobody does here."""
    scene = Charged("a")
    scene.go(stream=False)
    wire = scene.wire(0)
    wire.head(stream=False)
    wire.body(b"x" * 656)
    wire.end()
    assert scene.book.day.sums.tokens == PROMPT + 100
    # Less what stands around a text.
    assert scene.settled() == (1, PROMPT + 16)
    scene.plane.close()


async def leaves(scene: Charged, exchange: Any) -> None:
    scene.wire(0).head()
    scene.wire(0).body(EVENT * 3)
    exchange.cancel()


async def leaves_before_its_answer(_: Charged, exchange: Any) -> None:
    exchange.cancel()


async def breaks_off(scene: Charged, _: Any) -> None:
    scene.wire(0).head()
    scene.wire(0).body(EVENT * 3)
    scene.wire(0).fail()


async def is_retried(scene: Charged, _: Any) -> None:
    scene.wire(0).fail()
    scene.wire(1).head()
    scene.wire(1).body(EVENT * 5 + USAGE + LAST)
    scene.wire(1).end()


async def is_hedged(scene: Charged, exchange: Any) -> None:
    begin_hedge(exchange)
    scene.wire(1).head()
    scene.wire(1).body(EVENT * 5 + USAGE + LAST)
    scene.wire(1).end()


async def nobody_answers(scene: Charged, _: Any) -> None:
    for number in (0, 1, 0):
        scene.wire(number).fail()


async def is_refused(scene: Charged, _: Any) -> None:
    scene.wire(0).head(400, stream=False)
    scene.wire(0).body(b"{}")
    scene.wire(0).end()


async def goes_wrong(_: Charged, exchange: Any) -> None:
    exchange.go_wrong(ZeroDivisionError())


async def is_cancelled(_: Charged, exchange: Any) -> None:
    exchange.break_off(errors.CancelledError("an admin has ended it"), "cancelled")


async def takes_nothing(scene: Charged, exchange: Any) -> None:
    scene.wire(0).head()
    scene.wire(0).body(EVENT * 3)
    exchange.pause()
    exchange.look(scene.plane.loop.time())
    exchange.look(scene.plane.loop.time() + 1000)


async def sends_its_end_mark_alone(scene: Charged, exchange: Any) -> None:
    scene.wire(0).head()
    scene.wire(0).body(EVENT * 5 + USAGE + LAST)
    exchange.look(scene.plane.loop.time())
    exchange.look(scene.plane.loop.time())


async def router_stops(scene: Charged, _: Any) -> None:
    scene.plane.close()


# A chat's first event brings no text, which is told apart once it is over.
WAYS: dict[Callable[..., Any], int] = {
    leaves: PROMPT + 2,
    leaves_before_its_answer: PROMPT,
    breaks_off: PROMPT + 2,
    is_retried: 75,
    is_hedged: 75,
    nobody_answers: 0,
    is_refused: 0,
    goes_wrong: 0,
    is_cancelled: PROMPT,
    takes_nothing: PROMPT + 2,
    sends_its_end_mark_alone: 75,
    router_stops: 0,
}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_whatever_becomes_of_a_request_its_place_is_free_at_once_and_it_is_settled_once(way):
    """What ends in an error takes no tokens; what broke off takes what came of it."""
    scene = Charged("a", "b")
    exchange, client = scene.go()
    await way(scene, exchange)
    assert len(scene.records) == 1
    assert scene.book.in_flight == 0
    assert scene.settled() == (1, WAYS[way])
    assert client.ended or way in {leaves, leaves_before_its_answer}
    scene.plane.close()


async def test_what_is_sent_nowhere_is_given_back():
    """To the day, but not to the minute."""
    scene = Charged("a")
    _, client = scene.go(model="unknown")
    assert client.got.startswith(b"HTTP/1.1 404 ")
    assert scene.settled() == (0, 0)
    assert {each.limit: each.left for each in scene.book.left(scene.plane.loop.time())}["requests_per_minute"] < 100
    scene.plane.close()


async def test_who_waits_in_the_queue_is_in_flight_and_may_leave():
    """Its place is free then; nothing was sent."""
    scene = Charged("a")
    scene.plane.withdraw(scene.backends[0], "is started", due=1.0)
    exchange, _ = scene.go()
    assert scene.book.in_flight == 1
    exchange.cancel()
    assert scene.settled() == (0, 0)
    scene.plane.close()


async def test_a_full_queue_gives_it_back():
    """And frees its place."""
    scene = Charged("a")
    scene.plane.withdraw(scene.backends[0], "is started", due=1.0)
    bounds = scene.plane.dispatcher.admission.bounds
    scene.plane.dispatcher.admission.bounds = type(bounds)(max_queue=0, queue_timeout=bounds.queue_timeout)
    _, client = scene.go()
    assert b'"code":"queue_full"' in client.got
    assert scene.settled() == (0, 0)
    scene.plane.close()


async def test_a_limit_refuses_before_anything_is_sent():
    """It takes nothing, and says so."""
    scene = Charged("a", limits={"max_in_flight": 1, "requests_per_minute": 60})
    scene.go()
    _, client = scene.go()
    head, _, body = client.got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nretry-after: 1\r\n" in head + b"\r\n"
    assert b"\r\nx-ratelimit-remaining-requests: 59\r\n" in head + b"\r\n"
    assert b"max_in_flight" in body
    assert scene.asked() == [1]
    (record,) = scene.records
    assert (record.status, record.charge, record.key) == (429, None, "alice")
    scene.charging.settle(record, NONE, 0.0)
    assert (scene.book.in_flight, scene.book.day.sums.requests) == (1, 1)
    scene.plane.close()


async def test_an_answer_tells_what_is_left():
    """The backend's own words of this kind are the router's, and don't pass."""
    scene = Charged("a", limits={"requests_per_minute": 60, "tokens_per_minute": 1000})
    _, client = scene.go()
    parsed = parse_response(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nX-RateLimit-Limit-Requests: 7\r\n"
        b"anthropic-ratelimit-tokens-reset: x\r\nx-theirs: 1\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    assert parsed is not None
    receiver = scene.wire(0).receiver
    assert receiver is not None
    receiver.on_head(parsed[0].head, 0)
    scene.wire(0).body(EVENT)
    head = client.got.partition(b"\r\n\r\n")[0].lower()
    assert head.count(b"ratelimit") == 6
    for line in (
        b"x-ratelimit-limit-requests: 60",
        b"x-ratelimit-remaining-requests: 59",
        b"x-ratelimit-reset-requests: ",
        b"x-ratelimit-limit-tokens: 1000",
        b"x-ratelimit-remaining-tokens: %d" % (1000 - PROMPT),
        b"x-theirs: 1",
    ):
        assert b"\r\n" + line in head
    scene.plane.close()


async def test_a_key_without_limits_has_no_charge_and_no_such_lines():
    """Its answers are what they were, what the backend says of its own limits included."""
    scene = Scene("a")
    _, client = scene.ask(caller=Caller("bob"))
    wire = scene.wire(0)
    wire.head()
    wire.body(EVENT + LAST)
    wire.end()
    (record,) = scene.records
    assert record.charge is None
    assert b"ratelimit" not in client.got
    charging = Charging(scene.plane.loop.time)
    charging.settle(record, NONE, 0.0)
    assert charging.payer("bob") is None
    scene.plane.close()


def at(scene_time: float, wall: Callable[[], float], **limits: Any) -> Charging:
    charging = Charging(lambda: scene_time, wall)
    charging.set_up(keys(Key("alice", limits=Limits(**limits))))
    return charging


def unix(*when: int) -> float:
    return datetime(*when).timestamp()  # type: ignore[arg-type]  # noqa: DTZ001  (the machine's own time)


@pytest.mark.parametrize(
    ("when", "day_ends", "month_ends"),
    [
        ((2026, 11, 30, 23, 0), 3600, 3600),
        ((2026, 12, 1, 0, 0), 86_400, 31 * 86_400),
        ((2026, 3, 29, 0, 0), 23 * 3600, 3 * 86_400 - 3600),  # the clocks go forward
        ((2026, 10, 25, 0, 0), 25 * 3600, 7 * 86_400 + 3600),
        ((2028, 2, 28, 12, 0), 12 * 3600, 12 * 3600 + 86_400),
    ],
)
def test_days_and_months_are_the_machines_own(when, day_ends, month_ends):
    """By its calendar, also where a day hasn't 24 hours."""
    today = at(50.0, lambda: unix(*when)).today(50.0)
    assert (today.day_ends - 50, today.month_ends - 50) == (day_ends, month_ends)


def test_a_new_day_is_noticed_and_a_clock_that_is_set():
    """With the next request, at once."""
    wall = [unix(2026, 11, 30, 23, 59, 59)]
    charging = at(0.0, lambda: wall[0], requests_per_day=5)
    first = charging.today(0.0)
    assert charging.today(0.5) is first
    wall[0] += 2
    second = charging.today(2.0)
    assert (second.day - first.day, second.month - first.month) == (1, 1)
    wall[0] = unix(2026, 12, 24)
    assert charging.today(3.0).day == first.day + 24


def test_what_was_used_before_the_start():
    """Is added to today's sums."""
    charging = at(0.0, lambda: unix(2026, 11, 30), requests_per_day=5)
    charging.restore({"alice": ((3, 100, 0.5), (4, 200, 0.75))})
    book = charging.accounts.keys(charging.today(0.0))["alice"]
    assert (book.day.sums.requests, book.month.sums.tokens) == (3, 200)


def test_anthropics_clients_are_told_in_their_own_form():
    """Beside OpenAI's; a page may read both."""
    charging = at(0.0, lambda: 1_000_000.25, requests_per_minute=60, tokens_per_day=5)
    payer = charging.payer("alice")
    assert payer is not None
    charge = payer.begin("m", 40, 0.0, learns=True)
    lines = payer.lines("/v1/messages", b"access-control-allow-origin: x\r\n", 0.0).decode().splitlines()
    said = dict(line.split(": ", 1) for line in lines)
    assert said["anthropic-ratelimit-requests-limit"] == "60"
    assert said["anthropic-ratelimit-requests-remaining"] == "59"
    assert said["anthropic-ratelimit-requests-reset"] == "1970-01-12T13:46:42Z"
    assert said["anthropic-ratelimit-tokens-remaining"] == "0"  # it is overdrawn
    exposed = set(said["access-control-expose-headers"].split(", "))
    assert exposed == {name for name in said if "ratelimit" in name}
    assert b"anthropic" not in payer.lines("/v1/chat/completions", b"", 0.0)
    charge.end()


def test_the_rules_give_each_caller_its_payer():
    """Looked up once for a connection, until the next change of router.yaml."""
    rules = Rules(random.Random(1))  # noqa: S311 -- for ids, which are no secrets
    rules.charging = Charging(lambda: 0.0)
    team = Team("family", Limits(max_in_flight=3))
    rules.set_up(keys=keys(Key("alice", team=team), Key("bob")), access=Access())
    alice = rules.admit(((b"authorization", b"Bearer alice"),), "/v1/x")
    assert alice.payer is not None
    assert [book.whose for book in alice.payer.account.books] == ["team 'family'"]
    assert rules.admit(((b"authorization", b"Bearer bob"),), "/v1/x").payer is None


@pytest.mark.parametrize(
    ("path", "streams", "tokens"),
    [
        ("/v1/chat/completions", True, 4),
        ("/v1/messages", True, 2),
        ("/v1/chat/completions", False, 100),
        ("/v1/embeddings", False, 0),
        ("/v1/images/generations", False, 0),
    ],
)
def test_what_an_answer_has_brought(path, streams, tokens):
    """About: a picture is no text."""
    passed = Passed(path)
    passed.begin(200, b"", streams=streams)
    passed.add(EVENT * 4 if streams else b"x" * 656)
    assert generated(path, passed) == tokens


def test_a_head_without_such_lines_is_left_alone():
    """Nothing is copied."""
    parsed = parse_response(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert parsed is not None
    assert without_theirs(parsed[0].head) is parsed[0].head


async def test_a_forms_files_are_no_text():
    """A sound of a megabyte is not a quarter of a million tokens; but the request needs some that are left."""
    scene = Charged("a")
    head = describe_request(
        b"/v1/audio/transcriptions", ((b"content-type", b"multipart/form-data; boundary=x"),), keep_alive=True
    )
    request = Request(head, "id-1", "m", scene.caller, 0, stream=False, credentials=b"", http11=True, keep_alive=True)
    exchange = Exchange(scene.plane, request, b"--x" + b"\x00\x01" * 100_000, Client())
    exchange.charge(b"--x" + b"\x00\x01" * 100_000)
    assert (scene.book.day.sums.requests, scene.book.day.sums.tokens) == (1, 1)
    scene.plane.close()


async def test_a_count_of_tokens_uses_none():
    """Whatever it counts."""
    scene = Charged("a")
    head = describe_request(b"/v1/messages/count_tokens", (), keep_alive=True)
    request = Request(head, "id-1", "m", scene.caller, 0, stream=False, credentials=b"", http11=True, keep_alive=True)
    Exchange(scene.plane, request, BODY, Client()).charge(BODY)
    assert (scene.book.day.sums.requests, scene.book.day.sums.tokens) == (1, 0)
    scene.plane.close()


async def test_how_many_choices_a_request_asks_for_is_noted():
    """Some engines count one of them."""
    scene = Charged("a")
    head = describe_request(b"/v1/chat/completions", (), keep_alive=True)
    request = Request(head, "id-1", "m", scene.caller, 0, stream=False, credentials=b"", http11=True, keep_alive=True)
    body = b'{"n":3}'
    Exchange(scene.plane, request, body, Client()).charge(body)
    assert request.choices == 3
    scene.plane.close()
