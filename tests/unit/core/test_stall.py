import pytest

from router.core.estimate.reading import MEMORABLE, SLOWEST, SlowestReading
from router.core.stall import (
    Progress,
    Sight,
    Silence,
    StallVerdict,
    content,
    judge,
    progress,
)


def waiting(seconds: float, size: int = 0) -> Silence:
    return Silence(seconds, begun=False, streams=True, size=size)


def begun(seconds: float) -> Silence:
    return Silence(seconds, begun=True, streams=True, size=0)


WHOLE = Silence(1000, begun=False, streams=False, size=0)
"""An answer that doesn't stream, under way for long."""


def silent(seconds: float) -> Progress:
    """One that has given no sign for so long, until now, which is 1000; it holds a request."""
    progress = Progress()
    progress.began(0.0)
    progress.moved(1000.0 - seconds)
    return progress


NOW = 1000.0
LONG = 900.0
WORKS, QUIET, SILENT, STALLED = StallVerdict


def of(progress: Progress, *waits: Silence, speed: float = SLOWEST, **more: float) -> StallVerdict:
    """Judge, where a minute is long."""
    reading = SlowestReading()
    reading.note(MEMORABLE, MEMORABLE / speed)
    return judge(progress, waits, NOW, 60.0, reading, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("waits", "silence", "expected"),
    [
        ([], 11.9, WORKS),
        ([waiting(59)], 59, SILENT),
        ([waiting(60)], LONG, STALLED),
        ([begun(59)], 59, SILENT),
        ([begun(60)], 60, STALLED),
        ([begun(60), waiting(1)], LONG, STALLED),  # the one has stopped; the other is too new to tell
        ([begun(60), waiting(1000)], 60, STALLED),
        ([waiting(29)], LONG, QUIET),  # of those that have left, much was silence; but this one is too new to tell
        ([waiting(30)], 30, SILENT),
        # It works on one, or did until now; the others wait for their turn.
        ([begun(1), waiting(1000)], 1, WORKS),
        ([waiting(1000)], 59, SILENT),
        ([begun(1000)], 59, SILENT),
        # It may be at work on the one that is silent to its end.
        ([WHOLE], LONG, QUIET),
        ([begun(1000), WHOLE], LONG, QUIET),
        ([waiting(1000), WHOLE], LONG, QUIET),
        # A prompt takes its time: 8,000 bytes at 80 a second.
        ([waiting(119, 8000)], 119, QUIET),
        ([waiting(120, 8000)], 120, SILENT),
        ([waiting(159, 8000)], 159, SILENT),
        ([waiting(160, 8000)], LONG, STALLED),
        ([waiting(100, 8000), waiting(60, 0)], 100, QUIET),  # the short one waits for its turn
    ],
)
def test_where_answers_alone_show_anything(waits, silence, expected):
    """What has waited too long, while nobody gets anything."""
    assert of(silent(silence), *waits) is expected


def test_a_faster_reader_is_given_less_time():
    """What is known of a backend's speed counts."""
    assert of(silent(62), waiting(62, 8000), speed=4000.0) is STALLED
    assert of(silent(62), waiting(62, 8000), speed=3999.0) is SILENT


def test_silence_is_of_the_time_in_which_something_is_in_flight():
    """Whoever leaves takes nothing of it back, and nobody's absence adds to it; a sign does away with it."""
    progress = Progress()
    assert progress.silence(10.0) == 0
    progress.began(10.0)
    progress.began(12.0)
    assert progress.silence(14.0) == 4
    progress.ended(14.0)
    progress.ended(15.0)
    assert progress.silence(100.0) == 5
    progress.began(100.0)
    assert progress.silence(101.0) == 6
    progress.moved(102.0)
    assert progress.silence(103.0) == 1
    progress.ended(103.0)
    progress.moved(104.0)
    assert progress.silence(200.0) == 0


def test_what_excused_a_silence_excuses_it_when_its_client_has_left():
    """The engine may have read on for it; a sign of work does away with that."""
    progress = silent(100)
    assert of(progress, waiting(90, 8000)) is QUIET
    assert of(progress, waiting(59)) is QUIET
    progress.moved(NOW - 100)
    assert of(progress, waiting(59)) is STALLED


def test_cpu_time_is_work():
    """As much as an engine that works uses; pings and probes use some, too."""
    for used, at_work in ((2.9, False), (3.0, True)):
        progress = silent(60)
        progress.cpu(5.0, NOW - 60, stopped=False, tells=False)
        progress.cpu(5.0 + used, NOW, stopped=False, tells=False)
        assert (progress.silence(NOW) == 0) is at_work


def test_a_moment_of_cpu_time_is_none():
    """Systems count in hundredths of a second; and a process that has ended takes its time with it."""
    progress = silent(60)
    for seconds in (5.0, 5.02, 1.0, 1.02):
        progress.cpu(seconds, NOW - 1, stopped=False, tells=False)
    assert progress.silence(NOW) == 60
    progress.cpu(1.03, NOW - 1, stopped=False, tells=False)
    progress.cpu(1.05, NOW - 1, stopped=False, tells=False)
    assert progress.silence(NOW) == 1
    progress.cpu(1.08, NOW, stopped=False, tells=False)  # counted from the last that was a sign
    assert progress.silence(NOW) == 0


@pytest.mark.parametrize(
    ("silence", "expected"), [(11.9, WORKS), (19.9, QUIET), (20, SILENT), (59, SILENT), (60, STALLED)]
)
@pytest.mark.parametrize("waits", [(), (WHOLE,), (waiting(5, 100_000),), (begun(1), WHOLE)])
def test_where_no_cpu_time_tells_nothing_excuses(silence, expected, waits):
    """Whatever is in flight, and if it is a token alone."""
    progress = silent(silence)
    progress.cpu(5.0, NOW - 10, stopped=False, tells=True)
    assert progress.sight(NOW, 60.0) is Sight.NOTHING  # one reading shows nothing
    progress.cpu(5.01, NOW - 5, stopped=False, tells=True)
    assert progress.sight(NOW, 60.0) is Sight.ALL
    assert of(progress, *waits) is expected
    assert progress.why(NOW, 60.0) == "no CPU time"
    assert progress.sight(NOW + 14, 60.0) is Sight.NOTHING  # that was long ago


def test_a_stopped_process_is_no_work():
    """Until it is found to go on."""
    progress = silent(60)
    progress.cpu(0.0, NOW, stopped=True, tells=False)
    assert of(progress, WHOLE, waiting(1, 100_000)) is STALLED
    assert progress.why(NOW, 60.0) == "a process of it is stopped"
    progress.cpu(0.0, NOW, stopped=False, tells=False)
    assert of(progress, WHOLE) is QUIET


def test_counters_that_grow_are_work():
    """Those that grow with an answer's end alone, too; only the others tell that there is none."""
    for tells in (False, True):
        progress = silent(60)
        progress.counted(7.0, NOW - 30, tells=tells)
        progress.counted(8.0, NOW - 20, tells=tells)
        assert progress.silence(NOW) == 20
        progress.counted(8.0, NOW - 10, tells=tells)
        assert progress.sight(NOW, 60.0) is (Sight.COUNTED if tells else Sight.NOTHING)
        progress.counted(2.0, NOW, tells=tells)  # it was restarted
        assert progress.silence(NOW) == 20


@pytest.mark.parametrize(
    ("waits", "silence", "expected"),
    [
        ([WHOLE], 59, SILENT),
        ([WHOLE], 60, STALLED),
        ([], 60, STALLED),
        ([waiting(1), WHOLE], 60, STALLED),
        ([waiting(100, 8000)], 159, SILENT),  # a step of it may be this one's reading
        ([waiting(100, 8000)], 160, STALLED),
    ],
)
def test_where_counters_stand_still_whole_answers_are_no_excuse(waits, silence, expected):
    """Each step would have shown."""
    progress = silent(silence)
    for _ in range(2):
        progress.counted(7.0, NOW - 1, tells=True)
    assert of(progress, *waits) is expected
    assert progress.why(NOW, 60.0) == "its own counters stand still"


def deaf(silence: float, *, probes: int = 2, busy: bool = True) -> Progress:
    progress = silent(silence)
    if busy:
        progress.probed(0.0, answered=True)
    for number in range(probes):
        progress.probed(NOW - silence + number, answered=False)
    return progress


def test_probes_without_an_answer_tell_where_there_were_some():
    """It has answered some while it worked; two in a row, none between them."""
    assert of(deaf(60), WHOLE, waiting(1, 100_000)) is STALLED
    assert deaf(60).why(NOW, 60.0) == "no answer to probes"
    assert of(deaf(60, probes=1), WHOLE) is QUIET
    progress = deaf(60)
    progress.probed(NOW - 1, answered=True)
    progress.probed(NOW, answered=False)
    assert of(progress, WHOLE) is QUIET


def test_one_that_was_never_heard_at_work_is_given_more_time():
    """Some answer nothing while they work."""
    assert of(deaf(179, busy=False), WHOLE) is QUIET
    assert of(deaf(180, busy=False), WHOLE) is STALLED
    idle = Progress()
    idle.probed(0.0, answered=True)
    assert not idle.answers_busy


def test_one_that_works_while_it_answers_no_probe_is_not_judged_by_it():
    """Until it answers one at work again."""
    progress = deaf(200)
    progress.moved(NOW - 200)
    for _ in range(2):
        progress.probed(NOW - 199, answered=False)
    assert of(progress, WHOLE) is QUIET
    progress.probed(NOW - 100, answered=True)
    for _ in range(2):
        progress.probed(NOW - 99, answered=False)
    assert of(progress, WHOLE) is STALLED


def test_one_that_answered_no_probe_while_it_had_nothing_to_do_is_judged_by_them():
    """That is no sign of how it works."""
    progress = Progress()
    for at in (1.0, 2.0):
        progress.probed(at, answered=False)
    progress.began(700.0)
    progress.moved(800.0)
    for at in (801.0, 802.0):
        progress.probed(at, answered=False)
    assert of(progress, WHOLE) is STALLED


def test_one_that_is_back_is_judged_by_its_probes_as_before():
    """What it didn't answer while it was stuck is no sign that it never does."""
    progress = deaf(200)
    progress.back(NOW - 100)
    for _ in range(2):
        progress.probed(NOW - 99, answered=False)
    assert of(progress, WHOLE) is STALLED


@pytest.mark.parametrize(
    ("silence", "token", "room", "expected"),
    [
        (60, 29, True, QUIET),
        (60, 30, True, STALLED),
        (59, 30, True, QUIET),
        (60, 0, True, QUIET),
        (900, 900, False, QUIET),  # it may wait behind the answer
    ],
)
def test_beside_an_answer_in_one_piece_a_token_tells(silence, token, room, expected):
    """Where there is room for it."""
    progress, reading = silent(silence), SlowestReading()
    reading.whole(100, 10.0)
    assert judge(progress, (WHOLE, begun(silence)), NOW, 60.0, reading, token, room=room) is expected


@pytest.mark.parametrize(("took", "most"), [(10.0, 90), (0.0, 240)])
@pytest.mark.parametrize(("token", "expected"), [(40, STALLED), (39, QUIET), (29, QUIET)])
def test_a_token_that_was_asked_for_first_tells_too(took, most, token, expected):
    """But that the engine may go on for clients that have left: three times as long as it takes, or a while."""
    reading = SlowestReading()
    reading.whole(100, took)
    young = Silence(40, begun=False, streams=False, size=0)
    assert judge(silent(most), (young,), NOW, 60.0, reading, token) is expected
    assert judge(silent(most - 1), (young,), NOW, 60.0, reading, token) is QUIET
    assert judge(silent(60), (), NOW, 60.0, reading, 30) is STALLED  # where nothing is in flight, it tells at once
    assert silent(60).why(NOW, 60.0) == "no content"


@pytest.mark.parametrize(
    ("tail", "read"),
    [
        (b": keepalive 512/4000\n\n", 512),
        (b"16\r\n: keepalive 512/4000\n\n\r\n18\r\n: keepalive 1024/4000\n\n\r\n", 1024),
        (b":keepalive 5/6\r\n\r\n", 5),
        (b": ping\n\n", 0),
        (b": keepalive 5", 0),
        (b'data: {"content": ": keepalive 5/6"}\n\n', 0),
        (b"", 0),
    ],
)
def test_progress(tail, read):
    """The last that the engine said, whole, and as a comment of its own."""
    assert progress(tail) == read


EVENTS = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'


@pytest.mark.parametrize(
    ("data", "line", "found"),
    [
        (b"", b"", False),
        (b": ping\n\n", b"", False),
        (b":\r\n\r\n", b"", False),
        (b"\n\n", b"d", False),
        (EVENTS, b"", True),
        (b"dat", b"", True),
        (b"a: x", b"d", True),
        (b"x", b"d", True),
        (b":1}", b"d", True),  # inside a line a colon begins no comment
        (b"ng\n: pi", b":", False),
        (b"ng\ndata: x", b":", True),
        (b"event: ping\nid: 1\nretry: 5\n\n", b"", False),
        (b"event: x\r\ndata: 1\r\n\r\n", b"", True),
        (b": a\rdata: 1\r\r", b"", True),  # a CR alone ends a line, too
        (b'{"response": "a"}\n', b"", True),
    ],
)
def test_content(data, line, found):
    """What is in a line of data, and neither comments nor other fields."""
    assert content(data, line)[0] is found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 11])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_content_however_it_is_cut(size, end):
    """Each piece that has a byte of a line of data but its end is content, and none of pings."""
    for stream, expected in ((EVENTS * 3, True), (b": ping\n\n:\n\nevent: ping\n\n" * 3, False)):
        line, found = b"", []
        said = stream.replace(b"\n", end)
        for at in range(0, len(said), size):
            one, line = content(said[at : at + size], line)
            found.append(one)
        assert any(found) is expected
        if expected and size == 11:
            assert all(found[:-1])  # the last is of line ends alone
