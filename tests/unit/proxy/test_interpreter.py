import pytest

from router.core.catalog import Backend, Candidate
from router.core.errors import BadGatewayError, of_engine
from router.core.estimate.ask import Ask, Sent
from router.core.retry import Failure
from router.http1.bodies import CHUNKED, CLOSE, LENGTH, chunk
from router.proxy.attempt import Attempt, Between, Owner
from router.proxy.heads import ResponseHead
from router.proxy.interpreter import MOST_TOLD, Interpreter, Trial, head_of
from router.proxy.upstream import Connection, Nobody
from router.translate.speech import JSON, AnswerTranslator, ErrorTranslator

STREAM = b"text/event-stream"
ERROR = BadGatewayError("It broke.")
KINDS = {400: b"invalid_request_error", 404: b"not_found_error"}


class Told(Owner):
    """The owner of an attempt: keeps what it is told."""

    def __init__(self, *, ends_at: str = ""):
        self.told: list[tuple[object, ...]] = []
        self._ends_at = ends_at

    def _note(self, attempt: Attempt, *what: object) -> None:
        self.told.append(what)
        if what[0] == self._ends_at:
            attempt.end()

    def on_odd_head(self, attempt, head):
        """Note it."""
        self._note(attempt, "odd head", head.status)

    def on_body(self, attempt, data):
        """Note it."""
        self._note(attempt, "body", data)

    def on_remains(self, attempt, data):
        """Note it."""
        self._note(attempt, "remains", data)

    def on_end(self, attempt):
        """Note it."""
        self._note(attempt, "end")

    def on_mistake(self, attempt, error):
        """Note it."""
        self._note(attempt, "mistake", str(error))

    def on_failure(self, attempt, failure, detail):
        """Note it."""
        self._note(attempt, "failed", failure, detail)


class Transport:
    """The transport of a connection to a backend."""

    aborted = False

    def write(self, data):
        """Send nothing."""

    def abort(self):
        """Note it."""
        self.aborted = True


class Shouting(AnswerTranslator):
    """Says all in capitals; a stream is over with a full stop."""

    def feed(self, data, now):  # noqa: ARG002  (an interface)
        """Say it louder."""
        if b"?" in data:
            raise BadGatewayError("It asks.")
        self.done = self.done or b"." in data
        return data.upper()

    def ended(self, now):  # noqa: ARG002  (an interface)
        """Say that it is over."""
        return b" END" if self.done else b""

    def whole(self, body, now):  # noqa: ARG002  (an interface)
        """Say it louder."""
        if b"?" in body:
            raise BadGatewayError("It asks.")
        return body.upper()

    def error(self, status, body):
        """Name the status."""
        return b"%d: %s" % (status, body)

    @property
    def content_type(self):
        """A type of its own."""
        return b"text/loud"


class Silent(Shouting):
    """Has nothing for the client."""

    def feed(self, data, now):  # noqa: ARG002  (an interface)
        """Say nothing."""
        return b""


class Failing(Shouting):
    """Has a form for an error."""

    def fail(self, error, now):  # noqa: ARG002  (an interface)
        """Say it."""
        return error.message.encode()


class Whole(Shouting):
    """Its answers are JSON."""

    content_type = JSON


def attempt_of(owner: Owner) -> Attempt:
    """An attempt that has been sent."""
    sent = Sent(Ask(1), 0, 1.0, 0.0, 0.0, 0.0)
    attempt = Attempt(owner, Candidate(Backend("b"), "m"), sent, None)
    attempt._connection = connection_on(Transport())
    return attempt


def connection_on(transport: Transport) -> Connection:
    connection = Connection(lambda _: None, lambda _: None)
    connection.connection_made(transport)  # type: ignore[arg-type]
    return connection


def head(status=200, content_type=JSON, framing=CHUNKED, *, odd=False, headers=()) -> ResponseHead:
    return ResponseHead(status, headers, framing, True, content_type == STREAM, odd, b"HTTP/1.1 %d X\r\n" % status)


@pytest.fixture
async def transport():
    return Transport()


@pytest.fixture
async def scene(transport):
    """Give (owner, attempt, interpreter) for a translator, whose owner may end its attempt at some moment."""

    def make(translator=None, ends_at=""):
        owner = Told(ends_at=ends_at)
        attempt = attempt_of(owner)
        attempt._connection = connection_on(transport)
        interpreter = Interpreter(attempt, translator or Shouting(), lambda: 5.0)
        attempt.between = interpreter
        return owner, attempt, interpreter

    return make


# Interpreter


async def test_a_stream_passes_as_it_comes(scene):
    """The client's head comes with the engine's, each piece with its own, and the end with what the client lacks."""
    owner, attempt, interpreter = scene()
    interpreter.on_head(head(content_type=STREAM), 0)
    assert attempt.head is not None
    assert (attempt.head.is_event_stream, attempt.head.framing) == (True, CLOSE)
    assert b"content-type: text/loud\r\n" in attempt.head.lines
    interpreter.on_body(b"a")
    assert owner.told == [("body", b"A")]
    interpreter.on_body(b"b.")
    interpreter.on_end()
    assert owner.told[1:] == [("body", b"B."), ("body", b" END"), ("end",)]


async def test_how_far_an_engine_has_read_the_prompt(scene):
    """Is noted, even if the client's form has no comments to tell it in."""
    owner, attempt, interpreter = scene(Silent())
    interpreter.on_head(head(content_type=STREAM), 0)
    interpreter.on_body(b": keepalive 512/2048\n\n")
    assert (attempt.told_read, owner.told) == (512, [])


async def test_a_stream_without_its_end_has_failed(scene):
    """Whatever its framing says."""
    owner, _, interpreter = scene()
    interpreter.on_head(head(content_type=STREAM), 0)
    interpreter.on_body(b"a")
    interpreter.on_end()
    assert owner.told[1:] == [("failed", Failure.BROKEN, "an answer without its end")]


async def test_a_stream_that_was_not_asked_for(scene):
    """Is gathered: the client gets one piece."""
    owner, attempt, interpreter = scene(Whole())
    interpreter.on_head(head(content_type=STREAM), 0)
    interpreter.on_body(b"a")
    interpreter.on_body(b"b")
    assert owner.told == []
    interpreter.on_end()
    assert (attempt.head.is_event_stream, attempt.length) == (False, 2)
    assert owner.told == [("body", b"AB"), ("end",)]


REFUSED = b'data: {"error":{"message":"Unknown."}}\n\n'


class Rewriter:
    """Makes attempts again, or not; notes the errors."""

    def __init__(self, attempt: Attempt, *, makes: bool):
        self.heard: list[tuple[int, bytes, bool]] = []
        self._attempt, self._makes = attempt, makes

    def __call__(self, status: int, said: bytes, *, whole: bool) -> bool:
        """Note it."""
        self.heard.append((status, said, whole))
        if self._makes:
            self._attempt.end()
        return self._makes


@pytest.fixture
async def rewritten(scene):
    """Give (owner, interpreter, rewriter) of an attempt that may be made again."""

    def make(translator=None, *, makes=True):
        owner, attempt, _ = scene()
        rewriter = Rewriter(attempt, makes=makes)
        return owner, Interpreter(attempt, translator or Shouting(), lambda: 5.0, rewrite=rewriter), rewriter

    return make


async def test_a_first_event_that_refuses_a_field(rewritten, transport):
    """Has the attempt made again, on another connection: nothing of it has been told."""
    owner, interpreter, rewriter = rewritten()
    interpreter.on_head(head(content_type=STREAM), 0)
    interpreter.on_body(REFUSED[:9])
    interpreter.on_body(REFUSED[9:] + b"data: [DONE]\n\n")
    assert (owner.told, transport.aborted) == ([], True)
    assert rewriter.heard == [(200, REFUSED[6:-2], False)]


@pytest.mark.parametrize(
    "first",
    [
        REFUSED,
        b'data: {"choices":[]}\n\n',
        b'data: {"error":null}\n\n',
        b'data: "error" {\n\n',
        b": ping\n\n",
        b"x" * 70000,
    ],
)
async def test_any_other_beginning_of_a_stream(rewritten, first):
    """Passes when it is known to be one, and all that follows as it comes."""
    owner, interpreter, rewriter = rewritten(makes=False)
    interpreter.on_head(head(content_type=STREAM), 0)
    interpreter.on_body(first)
    interpreter.on_body(b"b")
    interpreter.on_body(REFUSED)
    assert owner.told == [("body", each.upper()) for each in (first, b"b", REFUSED)]
    assert len(rewriter.heard) == (first == REFUSED)


async def test_a_stream_that_ends_before_its_first_event(rewritten):
    """Has what it said looked at, whole or broken off."""
    owner, interpreter, _ = rewritten()
    interpreter.on_head(head(content_type=STREAM), 0)
    interpreter.on_body(b"data: .")
    interpreter.on_end()
    assert owner.told == [("body", b"DATA: ."), ("body", b" END"), ("end",)]
    owner, interpreter, _ = rewritten()
    interpreter.on_head(head(content_type=STREAM), 0)
    interpreter.on_body(b"data: ")
    interpreter.on_remains(b"x")
    interpreter.on_failure(Failure.BROKEN, "gone")
    assert owner.told == [("failed", Failure.BROKEN, "gone")]


async def test_an_error_in_the_place_of_an_answer(rewritten, monkeypatch):
    """May have the attempt made again, too."""

    def fails(*_):
        raise of_engine(500, b'{"error": {"message": "I fail."}}')

    monkeypatch.setattr(Whole, "whole", fails)
    owner, interpreter, rewriter = rewritten(Whole())
    interpreter.on_head(head(), 0)
    interpreter.on_body(b"no")
    interpreter.on_end()
    assert (owner.told, rewriter.heard) == ([], [(200, b"no", True)])


async def test_a_piece_that_can_not_be_read(scene, transport):
    """Ends the attempt, and frees the engine at once."""
    owner, attempt, interpreter = scene()
    interpreter.on_head(head(content_type=STREAM), 0)
    interpreter.on_body(b"a?")
    assert owner.told == [("failed", Failure.NONSENSE, "It asks.")]
    assert transport.aborted
    assert not attempt.listens


async def test_an_answer_in_one_piece(scene):
    """Is told of when it is whole, with its own length."""
    owner, attempt, interpreter = scene(Whole())
    interpreter.on_head(head(framing=LENGTH), 4)
    interpreter.on_body(b"ab")
    interpreter.on_body(b"cd")
    assert (owner.told, attempt.head) == ([], None)
    interpreter.on_end()
    assert (attempt.head.framing, attempt.length, attempt.head.is_event_stream) == (LENGTH, 4, False)
    assert owner.told == [("body", b"ABCD"), ("end",)]


async def test_an_answer_in_one_piece_that_becomes_a_stream(scene):
    """As the client asked for one."""
    _, attempt, interpreter = scene()
    interpreter.on_head(head(), 0)
    interpreter.on_body(b"a.")
    interpreter.on_end()
    assert (attempt.head.is_event_stream, attempt.head.framing) == (True, CLOSE)


async def test_an_answer_in_one_piece_that_can_not_be_read(scene, transport):
    """Fails; its connection is the pool's again by then, and stays open."""
    owner, _, interpreter = scene(Whole())
    interpreter.on_head(head(), 0)
    interpreter.on_body(b"?")
    interpreter.on_end()
    assert owner.told == [("failed", Failure.NONSENSE, "It asks.")]
    assert not transport.aborted


async def test_an_error_that_says_200(scene, monkeypatch):
    """Is an error with its words: it may be the request's fault."""

    def fails(*_):
        raise of_engine(500, b'{"error": {"message": "I fail."}}')

    monkeypatch.setattr(Whole, "whole", fails)
    owner, _, interpreter = scene(Whole())
    interpreter.on_head(head(), 0)
    interpreter.on_body(b"no")
    interpreter.on_end()
    assert owner.told[0] == ("odd head", 500)
    assert b'"message":"I fail."' in owner.told[1][1]
    assert owner.told[2:] == [("end",)]


async def test_a_bug_at_the_end(scene, monkeypatch):
    """Is told: the client would wait for ever."""
    monkeypatch.setattr(Whole, "whole", lambda *_: next(iter([][1:2])))
    owner, _, interpreter = scene(Whole())
    interpreter.on_head(head(), 0)
    interpreter.on_end()
    assert owner.told == [("mistake", "")]


async def test_an_answer_that_is_too_long(scene, monkeypatch):
    """Ends the attempt."""
    monkeypatch.setattr("router.proxy.interpreter.MOST_WHOLE", 5)
    owner, _, interpreter = scene(Whole())
    interpreter.on_head(head(), 0)
    interpreter.on_body(b"123")
    interpreter.on_body(b"456")
    assert owner.told == [("failed", Failure.NONSENSE, "an answer of more than 5 bytes")]


@pytest.mark.parametrize(("status", "told"), [(400, 400), (503, 503), (302, 502), (204, 502)])
async def test_an_error_is_told_of_at_once(scene, status, told):
    """So that another backend can be asked; its words follow, translated. What is no answer is an error."""
    owner, attempt, interpreter = scene(Whole())
    interpreter.on_head(head(status, odd=True, headers=((b"retry-after", b"7"), (b"x", b"y"))), 9)
    assert owner.told == [("odd head", told)]
    assert b"retry-after: 7\r\n" in attempt.head.lines
    assert (b"retry-after", b"7") in attempt.head.headers
    interpreter.on_body(b"no")
    interpreter.on_end()
    words = b"502: The backend answered 302, a redirection, instead of an answer: check its url."
    said = words if status == 302 else b"%d: no" % status
    assert owner.told[1:] == [("body", said), ("end",)]
    assert attempt.length == len(said)


async def test_an_engine_that_can_not_answer(scene):
    """Is answered for, if somebody does; the client hears nothing of it."""
    owner, attempt, _ = scene()
    asked: list[int] = []
    interpreter = Interpreter(attempt, Whole(), lambda: 5.0, lambda: asked.append(1))
    interpreter.on_head(head(501, odd=True), 0)
    interpreter.on_body(b"can't")
    interpreter.on_end()
    assert (owner.told, asked, attempt.listens) == ([], [1], False)


@pytest.mark.parametrize(
    ("status", "said", "told", "words"),
    [
        (404, b'{"detail":"Not Found"}', 400, b"no /v1/embeddings"),
        (501, b"", 400, b"no /v1/embeddings"),
        (404, b'{"error":"no model m"}', 404, b'{"error":"no model m"}'),
    ],
)
async def test_an_engine_that_lacks_what_it_is_asked(scene, status, said, told, words):
    """Is no 404 unless it speaks of the model: its words tell, so its head waits for them."""
    owner, attempt, _ = scene()
    interpreter = Interpreter(attempt, Whole(), lambda: 5.0, target="/v1/embeddings")
    interpreter.on_head(head(status, odd=True, headers=((b"retry-after", b"7"),)), 9)
    assert owner.told == []
    interpreter.on_body(said)
    interpreter.on_end()
    (kind, odd), (_, body), end = owner.told
    assert (kind, odd, end) == ("odd head", told, ("end",))
    assert body.startswith(b"%d: " % told)
    assert words in body
    assert b"retry-after: 7\r\n" in attempt.head.lines


async def test_an_attempt_that_is_ended_by_its_head(scene):
    """Hears no more."""
    owner, _, interpreter = scene(Whole(), ends_at="odd head")
    interpreter.on_head(head(500, odd=True), 0)
    interpreter.on_end()
    assert owner.told == [("odd head", 500)]


async def test_an_attempt_that_is_ended_by_the_body(scene):
    """Hears no end: another backend is asked."""
    owner, _, interpreter = scene(Whole(), ends_at="body")
    interpreter.on_head(head(), 0)
    interpreter.on_body(b"x")
    interpreter.on_end()
    assert owner.told == [("body", b"X")]


@pytest.mark.parametrize(("content_type", "told"), [(STREAM, [("remains", b"A")]), (JSON, [])])
async def test_what_came_before_a_mistake_in_the_framing(scene, content_type, told):
    """Of a stream it is translated, too."""
    owner, _, interpreter = scene()
    interpreter.on_head(head(content_type=content_type), 0)
    interpreter.on_remains(b"a")
    interpreter.on_remains(b"?")
    interpreter.on_failure(Failure.GARBLED, "a bad chunk")
    assert owner.told == [*told, ("failed", Failure.GARBLED, "a bad chunk")]


async def test_words_behind_a_translated_stream(scene):
    """Need no framing: the router frames that stream itself."""
    _, attempt, _ = scene()
    assert attempt.interrupt(b"It broke.") == b"It broke."


async def test_the_head_of_an_answer_of_our_own():
    """Has the length as its framing, unless it is a stream."""
    made = head_of(200, JSON, lines=b"x-router-estimate: 1\r\n")
    assert (
        made.lines == b"HTTP/1.1 200 OK\r\nserver: router\r\ncontent-type: application/json\r\nx-router-estimate: 1\r\n"
    )
    assert (made.odd, made.framing) == (False, LENGTH)


# Trial


class Trying:
    """A trial, and what it teaches and asks for."""

    def __init__(self, ends_at=""):
        self.owner = Told(ends_at=ends_at)
        self.attempt = attempt_of(self.owner)
        self.learned: list[bool] = []
        self.again = 0
        self.trial = self.of(None)

    def of(self, answer, *, mends=False) -> Trial:
        """Make a trial that has an answer translated."""
        return Trial(self.attempt, self._learn, self._again, lambda: 0.0, answer, mends=mends)

    def _learn(self, *, speaks):
        self.learned.append(speaks)

    def _again(self):
        self.again += 1


async def test_a_good_answer_passes_and_teaches():
    """The backend has the API."""
    it = Trying()
    it.trial.on_head(head(), 0)
    it.trial.on_body(b"x")
    it.trial.on_remains(b"y")
    it.trial.on_end()
    assert (it.learned, it.again) == ([True], 0)
    assert it.owner.told == [("body", b"x"), ("remains", b"y"), ("end",)]


@pytest.mark.parametrize(
    ("status", "length", "body"),
    [
        (404, 22, b'{"detail":"Not Found"}'),
        (405, 0, b""),
        (501, 0, b""),
        (200, 60, b'{"error":"Unexpected endpoint or method. (POST /v1/messages)"}'),
    ],
)
async def test_no_such_path(status, length, body):
    """The client hears nothing of it: the attempt is made again."""
    it = Trying()
    it.trial.on_head(head(status, framing=LENGTH, odd=status != 200), length)
    if body:
        it.trial.on_body(body)
    it.trial.on_end()
    assert (it.learned, it.again, it.owner.told) == ([False], 1, [])
    assert not it.attempt.listens


async def test_no_such_path_in_chunks_that_pass_as_they_are():
    """The words are read without their framing."""
    it = Trying()
    connection = connection_on(Transport())
    connection.send(b"", Nobody(), raw=True)
    connection.data_received(b"HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n")
    it.attempt._connection = connection
    it.trial.on_head(head(404, odd=True), 0)
    it.trial.on_body(chunk(b'{"detail":"Not F') + chunk(b'ound"}'))
    it.trial.on_end()
    assert (it.learned, it.again) == ([False], 1)


@pytest.mark.parametrize(("status", "learned"), [(404, []), (200, [True])])
async def test_other_words_pass_on(status, learned):
    """An error about the model, or a short good answer."""
    it = Trying()
    said = b'{"error":"model m not found"}' if status == 404 else b'{"input_tokens":3}'
    it.trial.on_head(head(status, framing=LENGTH, odd=status != 200), len(said))
    it.trial.on_body(said)
    it.trial.on_end()
    heads = [("odd head", 404)] if status == 404 else []
    assert it.owner.told == [*heads, ("body", said), ("end",)]
    assert (it.learned, it.again) == (learned, 0)


async def test_an_error_of_another_kind_teaches_nothing():
    """It passes at once."""
    it = Trying()
    it.trial.on_head(head(500, odd=True), 0)
    assert (it.owner.told, it.learned) == ([("odd head", 500)], [])


async def test_many_words_are_not_kept():
    """They are no "not found"."""
    it = Trying()
    it.trial.on_head(head(404, odd=True), 0)
    it.trial.on_body(b"x" * (MOST_TOLD + 1))
    it.trial.on_body(b"y")
    assert [what[0] for what in it.owner.told] == ["odd head", "body", "body"]


async def test_an_attempt_that_is_ended_by_a_kept_head():
    """Hears no more: another backend is asked."""
    it = Trying(ends_at="odd head")
    it.trial.on_head(head(404, odd=True), 0)
    it.trial.on_body(b"no model m")
    it.trial.on_end()
    assert it.owner.told == [("odd head", 404)]


@pytest.mark.parametrize("moment", ["failure", "remains"])
async def test_a_failure_among_the_words(moment):
    """What was kept is told first."""
    it = Trying()
    it.trial.on_head(head(404, odd=True), 0)
    it.trial.on_body(b"no")
    if moment == "remains":
        it.trial.on_remains(b"pe")
    it.trial.on_failure(Failure.BROKEN, "gone")
    assert [what[0] for what in it.owner.told][:2] == ["odd head", "body"]
    assert it.owner.told[-1] == ("failed", Failure.BROKEN, "gone")


@pytest.mark.parametrize("chunks", [False, True])
@pytest.mark.parametrize("status", [400, 404])
async def test_errors_of_another_form_are_reworded(chunks, status):
    """Some engines speak the API, but not in their errors; however their bodies come."""
    it = Trying()
    it.trial = it.of(ErrorTranslator("/v1/messages"))
    said = b'{"error":{"code":400,"message":"no such model: m"}}'
    if chunks:
        connection = connection_on(Transport())
        connection.send(b"", Nobody(), raw=True)
        connection.data_received(b"HTTP/1.1 400 X\r\ntransfer-encoding: chunked\r\n\r\n")
        it.attempt._connection = connection
        said = chunk(said)
    it.trial.on_head(head(status, framing=CHUNKED if chunks else LENGTH, odd=True), len(said))
    it.trial.on_body(said)
    it.trial.on_end()
    body = b'{"type":"error","error":{"type":"%s","message":"no such model: m"}}' % KINDS[status]
    assert it.owner.told == [("odd head", status), ("body", body), ("end",)]
    assert (it.attempt.length, it.again) == (len(body), 0)


async def test_a_trial_that_completes_a_stream():
    """What breaks off ends as the client's API does; before anything came, there is nothing to end."""
    it = Trying()
    it.trial = it.of(Failing(), mends=True)
    assert not it.trial.takes_chunks
    assert it.trial.last_words(ERROR) == b""
    it.trial.on_head(head(content_type=STREAM), 0)
    it.trial.on_body(b"ab")
    it.trial.on_remains(b"c")
    assert it.trial.last_words(ERROR) == b"It broke."
    it.trial.on_body(b".")
    assert it.trial.last_words(ERROR) == b""
    it.trial.on_end()
    assert [told[:2] for told in it.owner.told] == [
        ("body", b"AB"), ("remains", b"C"), ("body", b"."), ("body", b" END"), ("end",),
    ]  # fmt: skip
    assert it.learned == [True]


async def test_a_trial_of_what_is_completed_finds_no_such_path():
    """An older version of the engine: it is asked again, translated."""
    it = Trying()
    it.trial = it.of(Failing(), mends=True)
    it.trial.on_head(head(404, odd=True), 0)
    it.trial.on_body(b"{}")
    it.trial.on_end()
    assert (it.learned, it.again, it.owner.told) == ([False], 1, [])


def test_what_stands_between_has_no_words_of_its_own():
    assert Between().last_words(ERROR) == b""
