from dataclasses import replace

import pytest

from launchers.gpus import StartVerdict
from launchers.states import State, Supervision
from launchers.status import Status, is_coming, progressed, waiting_report

STARTING = Status("demo", State.STARTING, None, None, "starting", (), 0.0)
LACKS = StartVerdict("GPU 0 has 1.0 of 80.0 GiB free", lacks=True)


def waiting(detail, *, lacks=False):
    return replace(STARTING, state=State.WAITING, detail=detail, lacks=lacks)


@pytest.mark.parametrize(
    ("before", "verdict", "report"),
    [
        (STARTING, StartVerdict(share=0.5), ""),
        (STARTING, LACKS, LACKS.why),
        (replace(STARTING, detail=LACKS.why), LACKS, LACKS.why),
        (waiting(LACKS.why, lacks=True), LACKS, ""),
        (waiting("GPU 0 has 7.5 of 80.0 GiB free", lacks=True), LACKS, ""),
        (waiting("waits until a has started"), LACKS, LACKS.why),
        (waiting(LACKS.why, lacks=True), StartVerdict("waits until a has started"), ""),
    ],
    ids=["its turn", "new", "another state's words", "the same", "other numbers", "another reason", "lacks still"],
)
def test_a_reason_to_wait_is_told_once(before, verdict, report):
    assert waiting_report(before, verdict, 0, "") == report


def test_failed_starts_are_told_with_the_reason_to_wait():
    assert waiting_report(STARTING, LACKS, 2, "no memory") == (
        LACKS.why + ", after 2 failed starts in a row; the last: no memory"
    )


@pytest.mark.parametrize(
    ("state", "then", "lacks", "start_asked", "coming"),
    [
        (State.STARTING, State.STOPPED, False, False, True),
        (State.BACKOFF, State.STOPPED, False, False, True),
        (State.WAITING, State.STOPPED, False, False, True),
        (State.WAITING, State.STOPPED, True, True, False),
        (State.STOPPING, State.STOPPED, False, False, False),
        (State.STOPPING, State.STOPPED, False, True, True),
        (State.STOPPING, State.STARTING, False, False, True),
        (State.STOPPING, State.BACKOFF, False, False, True),
        (State.STOPPED, State.STOPPED, False, False, False),
        (State.STOPPED, State.STOPPED, False, True, True),
        (State.RUNNING, State.STOPPED, False, True, False),
        (State.FATAL, State.STOPPED, False, True, False),
    ],
)
def test_requests_wait_for_what_starts_or_is_going_to(state, then, lacks, start_asked, coming):
    now = Supervision(60.0, 10.0, state=state, then=then)
    assert is_coming(now, lacks=lacks, start_asked=start_asked) is coming


def test_progress_is_dated_while_something_starts():
    start = Supervision(60.0, 10.0, state=State.STARTING, since=5.0, deadline=65.0)
    assert progressed(start) == 5.0
    assert progressed(replace(start, deadline=100.0)) == 40.0
    assert progressed(replace(start, state=State.RUNNING, deadline=None)) is None
    assert progressed(replace(start, state=State.BACKOFF)) is None
