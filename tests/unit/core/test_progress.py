import pytest

from router.core.progress import AnswerProgress, Found, Passed

CHAT = "/v1/chat/completions"
HEAD = b"HTTP/1.1 200 OK\r\n"
JSON = HEAD + b"content-type: application/json\r\n"
EVENT = b'data: {"a": 1}\n\n'
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"
LIMIT = 10.0


class Look:
    """A stream, or with `lines` another answer, at which is looked; its first byte came at 100.0 s."""

    def __init__(self, lines: bytes = HEAD, *, streams: bool = True, tokens_read: int = 0) -> None:
        self.passed = Passed(CHAT)
        self.passed.begin(200, lines, streams=streams)
        self.progress = AnswerProgress(100.0, tokens_read)
        self.paused = False

    def __call__(self, data: bytes = b"", at: float = 101.0, position: tuple[int, int] | None = None) -> Found:
        """Let the data come, and look at that time."""
        if data:
            self.passed.add(data)
        found = self.progress.look(self.passed, position, at, LIMIT, paused=self.paused)
        self.progress.spoken = self.progress.spoken or found is Found.CONTENT
        return found


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


# What has passed


def test_bytes_and_events_are_counted():
    """An event that begins a piece, or stands behind a line's end, is one."""
    passed = Passed(CHAT)
    passed.begin(200, HEAD, streams=True)
    for piece in (EVENT, PING + EVENT + EVENT, b'rest: {"data:": 1}'):
        passed.add(piece)
    assert (passed.size, passed.events) == (3 * len(EVENT) + len(PING) + 18, 3)


def test_events_of_what_is_no_stream_are_not_counted():
    """Its text may have anything in it."""
    passed = Passed(CHAT)
    passed.begin(200, JSON, streams=False)
    passed.add(EVENT)
    assert passed.events == 0


@pytest.mark.parametrize(
    ("status", "streams", "data", "whole"),
    [(200, True, DONE, True), (200, True, EVENT, False), (200, False, DONE, False), (500, True, DONE, False)],
)
def test_a_stream_is_whole_by_its_mark(status, streams, data, whole):
    """Of a good answer, and of a stream alone."""
    passed = Passed(CHAT)
    passed.begin(status, HEAD, streams=streams)
    passed.add(data)
    assert passed.is_whole() is whole


@pytest.mark.parametrize(
    ("path", "status", "lines", "streams", "data", "lacks"),
    [
        (CHAT, 200, HEAD, True, EVENT, True),
        (CHAT, 200, HEAD, True, EVENT + DONE, False),
        ("/v1/own", 200, HEAD, True, EVENT, False),  # an API without a mark
        (CHAT, 200, JSON, False, b'{"a": [1', True),
        (CHAT, 200, JSON, False, b'{"a": [1]}', False),
        (CHAT, 200, JSON, False, b"", False),
        (CHAT, 200, JSON + b"content-encoding: gzip\r\n", False, b'{"a": [1', False),
        (CHAT, 200, HEAD, False, b'{"a": [1', False),
        (CHAT, 500, JSON, False, b'{"a": [1', False),
    ],
)
def test_an_answer_that_ended_with_its_connection_may_lack_its_end(path, status, lines, streams, data, lacks):
    """A stream its mark, JSON its last bracket; of anything else nothing is known."""
    passed = Passed(path)
    passed.begin(status, lines, streams=streams)
    if data:
        passed.add(data)
    assert passed.lacks_its_end(status, lines, streams=streams) is lacks


@pytest.mark.parametrize(
    ("status", "streams", "data", "counts_as"),
    [
        (200, True, b'data: {"error": {"message": "no"}}\n\n', 500),
        (200, True, EVENT, 200),
        (200, False, b'{"error": {"message": "no"}}', 200),
        (400, True, b'data: {"error": {"message": "no"}}\n\n', 400),
    ],
)
def test_a_stream_that_ends_with_an_error_counts_as_one(status, streams, data, counts_as):
    """Whatever its head said."""
    passed = Passed(CHAT)
    passed.begin(status, HEAD, streams=streams)
    passed.add(data)
    assert passed.status(status) == counts_as


# What a look finds


def test_content_is_found_once():
    """The next look finds nothing new."""
    look = Look()
    assert [look(EVENT), look(), look(EVENT)] == [Found.CONTENT, Found.NOTHING, Found.CONTENT]


@pytest.mark.parametrize("cut", range(1, len(PING + EVENT) - 2))
def test_content_is_found_however_it_is_cut(cut):
    """Pings are none, and an event is one as soon as anything of its data is there."""
    look, data = Look(), PING + EVENT
    found = [look(data[:cut]), look(data[cut:])]
    first = Found.CONTENT if data[:cut].startswith(PING + b"d") else Found.NOTHING
    assert found == [first, Found.CONTENT]


def test_content_in_the_engines_own_chunks_is_found():
    """Their sizes are none, wherever the look before has cut them."""
    look, data = Look(), chunk(PING)
    found = [look(data[:5], position=(len(PING) - 2, 0)), look(data[5:], position=(0, 0))]
    assert found == [Found.NOTHING] * 2
    assert look(chunk(b'"more"}\n\n'), position=(0, 0)) is Found.CONTENT


def test_pings_in_chunks_behind_content_are_none():
    """What is known of the line before a ping may be lost, and is read from what is kept."""
    look = Look()
    assert look(chunk(EVENT), position=(0, 0)) is Found.CONTENT
    assert [look(chunk(PING), position=(0, 0)) for _ in range(3)] == [Found.NOTHING] * 3


def test_what_is_no_stream_has_content_but_for_white_space():
    """Some engines send spaces while they work."""
    look = Look(JSON, streams=False)
    assert [look(b"  \n"), look(b'{"a'), look(b" ")] == [Found.NOTHING, Found.CONTENT, Found.NOTHING]


def test_what_can_not_be_read_is_content():
    """A compressed body, and more than is kept."""
    look = Look(HEAD + b"content-encoding: gzip\r\n")
    assert look(b"\x1f\x8b") is Found.CONTENT
    assert Look()(b"x" * 5000) is Found.CONTENT


def test_pings_behind_the_end_mark_end_the_message():
    """They would go on for ever."""
    look = Look()
    assert [look(EVENT + DONE), look(PING)] == [Found.CONTENT, Found.WHOLE]


def test_silence_behind_the_end_mark_ends_the_message():
    """It is looked for once, at the first look that finds no bytes."""
    look = Look()
    assert [look(EVENT + DONE), look()] == [Found.CONTENT, Found.WHOLE]
    look = Look()
    assert [look(EVENT), look(), look()] == [Found.CONTENT, Found.NOTHING, Found.NOTHING]


def test_a_slow_client_has_not_got_the_message_yet():
    """So it isn't over."""
    look = Look()
    look.paused = True
    assert [look(EVENT + DONE), look(), look(PING)] == [Found.CONTENT, Found.NOTHING, Found.NOTHING]


def test_pings_that_count_the_prompts_tokens_are_work():
    """While they count on, and no content has come."""
    look = Look(tokens_read=10)
    said = [b": keepalive %d/100\n\n" % tokens for tokens in (10, 20, 20, 30)]
    assert [look(each) for each in said] == [Found.NOTHING, Found.READING, Found.NOTHING, Found.READING]
    assert [look(EVENT), look(b": keepalive 99/100\n\n")] == [Found.CONTENT, Found.NOTHING]


def test_what_is_no_stream_counts_no_tokens():
    """White space is all that comes before it."""
    assert Look(JSON, streams=False)(b"  ") is Found.NOTHING


def test_an_engine_may_be_idle_for_so_long():
    """Since its last bytes; those of its beginning are the first."""
    look = Look()
    assert look(at=100.0 + LIMIT - 0.1) is Found.NOTHING
    assert look(at=100.0 + LIMIT) is Found.ENGINE_IDLE
    assert look(EVENT, at=200.0) is Found.CONTENT
    assert [look(at=199.9 + LIMIT), look(at=200.0 + LIMIT)] == [Found.NOTHING, Found.ENGINE_IDLE]


def test_a_client_may_be_idle_for_so_long():
    """One that takes anything from one look to the next is not."""
    look = Look()
    look.paused = True
    assert look(at=100.0 + LIMIT) is Found.CLIENT_IDLE
    look.progress.note_client(5000, 111.0)
    look.progress.note_client(5000, 112.0)
    assert [look(at=110.9 + LIMIT), look(at=111.0 + LIMIT)] == [Found.NOTHING, Found.CLIENT_IDLE]
    look.progress.note_client(4999, 130.0)
    assert [look(at=129.9 + LIMIT), look(at=130.0 + LIMIT)] == [Found.NOTHING, Found.CLIENT_IDLE]


def test_lines_are_events():
    """Each counts."""
    passed = Passed("/api/chat")
    passed.begin(200, b"", streams=True)
    passed.add(b'{"done":false}\n{"done":false}\n')
    passed.add(b'{"done":true,"eval_count":6}\n')
    assert (passed.events, passed.is_whole()) == (3, True)
