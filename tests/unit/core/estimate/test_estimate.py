from math import inf

import pytest

from router.core.estimate.ask import Ask
from router.core.estimate.estimate import COLD, CROWD, LATE, PROVEN, Estimate
from router.core.estimate.loading import SOON
from router.core.estimate.others import FRESH
from router.core.estimate.penalty import FAILURE, FORGET, WORST
from router.core.estimate.reading import FADE, STALE, UNKNOWN, Line
from router.core.estimate.slots import LAPSE, PROOF
from router.core.load import Load

ASK = Ask(1000)


def read(estimate, size=1000, takes=0.1, now=0.0, hold=0.0, cached=0):
    """Send one prompt to an idle backend that answers it. Gives when it is over."""
    sent = estimate.sent(Ask(size), cached, now)
    estimate.first_token(sent, now + takes)
    estimate.ended(sent, now + takes + hold)
    return now + takes + hold


def known(takes=0.1, hold=0.0, parallel=None, until=100.0):
    """An estimate that is sure of itself: so many seconds a prompt of 1000 bytes."""
    estimate = Estimate(parallel)
    for number in range(40):
        read(estimate, takes=takes, hold=hold, now=until - (40 - number) * (takes + hold + 1))
    return estimate


# The reading


def test_what_is_asked_alike_is_equal():
    """By all that is known of it."""
    assert Ask(9, (1,), path="/v1/x", key=b"k") == Ask(9, (1,), path="/v1/x", key=b"k")
    assert len({Ask(9), Ask(9), Ask(8), Ask(9, (1,)), Ask(9, streams=False), Ask(9, path="p"), Ask(9, key=b"k")}) == 6
    assert Ask(9) != 9


def test_a_line_finds_base_and_slope():
    """Of exact samples, nearly what made them; the pull to the origin matters less the more sizes differ."""
    line = Line()
    for number in range(200):
        size = 500 + 7919 * number % 40_000
        line.note(size, 0.05 + size * 1e-5)
    assert line.slope == pytest.approx(1e-5, rel=0.1)
    assert line.base + line.slope * 20_000 == pytest.approx(0.25, rel=0.05)


def test_a_line_is_never_negative():
    """Where long prompts took less than short ones, size says nothing; where only long ones cost, the base is none."""
    falling, steep = Line(), Line()
    for number in range(50):
        size = 1000 + number % 2 * 9000
        falling.note(size, 2 - size * 1e-4)
        steep.note(size, 0.001 if size == 1000 else 5.0)
    assert falling.slope >= 0
    assert steep.base >= 0


def test_the_base_is_no_more_than_what_cached_prompts_take():
    """Two samples say little of it; prompts of which hardly anything was read say more, and the line turns."""
    line = Line()
    line.note(2000, 0.5)
    line.note(16_000, 0.5)
    guessed = line.base
    assert guessed > 0.3
    for _ in range(5):
        line.bound(0.04)
    assert line.base == pytest.approx(0.04)
    assert line.at(9000) == pytest.approx(0.5, rel=0.01)  # its middle stays
    line.note(9000, 0.5)
    assert line.base == pytest.approx(0.04)
    for _ in range(200):
        line.bound(60.0)  # caches that held nothing: that bounds nothing
    line.note(9000, 0.5)
    assert line.base == pytest.approx(guessed, rel=0.2)


def test_where_prompts_are_cached_a_bad_guess_of_the_base_is_put_right():
    """However seldom one comes of which all has to be read."""
    estimate = Estimate()
    for number, size in enumerate((2000, 16_000)):
        read(estimate, size, takes=0.5, now=10.0 * number)
    assert estimate.expected(Ask(9000), 8800, 30.0) > 0.3
    now = read(estimate, 9000, takes=0.04, now=40.0, cached=8800)
    assert estimate.expected(Ask(9000), 8800, now + 1) < 0.1


def test_a_stall_is_no_speed():
    """One sample beyond all measure moves the line by no more than three of the usual ones would."""
    line = Line()
    for _ in range(50):
        line.note(1000, 0.1)
    line.note(1000, 60.0)
    assert line.base + 1000 * line.slope < 0.11


def test_long_prompts_dont_condemn_a_backend():
    """After a prompt of 64,000 bytes that took its time, a short one is expected as soon as ever."""
    estimate, now = Estimate(), 0.0
    for number in range(40):
        size = 64_000 if number % 4 == 0 else 500
        now = read(estimate, size, 0.02 + size * 4e-5, now) + 1
    assert estimate.expected(Ask(500), 0, now) < 0.15
    assert estimate.expected(Ask(64_000), 0, now) == pytest.approx(2.58, rel=0.1)


def test_a_backend_that_had_short_prompts_alone_is_given_a_long_one_again():
    """How long it would take there is a guess, and a guess that looks slow would never be put right."""
    estimate, now = Estimate(), 0.0
    for _ in range(40):
        now = read(estimate, 500, 0.05, now) + 1
    assert estimate.expected(Ask(64_000), 0, now) == pytest.approx(0.05)
    now = read(estimate, 64_000, 2.7, now) + 1
    assert estimate.expected(Ask(64_000), 0, now) == pytest.approx(2.7, rel=0.2)


def test_a_queue_is_not_held_against_the_speed():
    """Of ten that are sent at once, and read one after the other, each counts with its own reading."""
    estimate = known()
    sent = [estimate.sent(ASK, 0, 100.0) for _ in range(10)]
    for number, each in enumerate(sent):
        estimate.first_token(each, 100.1 + 0.1 * number)
    for each in sent:
        estimate.ended(each, 101.0)
    assert estimate.reading(1000, 0, 101.0) == pytest.approx(0.1)


def test_what_is_cached_need_not_be_read():
    """The bytes that are believed to be in the cache are saved at the speed of reading."""
    estimate, now = Estimate(), 0.0
    for number in range(40):
        size = 1000 + number % 5 * 10_000
        now = read(estimate, size, size * 1e-4, now) + 1
    assert estimate.expected(Ask(41_000), 0, now) == pytest.approx(4.1, rel=0.05)
    assert estimate.expected(Ask(41_000), 40_000, now) == pytest.approx(0.1, abs=0.1)


def test_caches_that_hold_nothing_are_found_out():
    """Where what was believed to be cached is read each time, no more is expected of it."""
    estimate, now = Estimate(), 0.0
    for number in range(40):
        size = 1000 + number % 5 * 10_000
        now = read(estimate, size, size * 1e-4, now) + 1
    for _ in range(200):
        now = read(estimate, 41_000, 4.1, now, cached=40_000) + 1
    assert estimate.expected(Ask(41_000), 40_000, now) > 3.5


def test_while_the_speed_is_unknown_the_cache_says_nothing_of_itself():
    """A first measurement of a prompt in the cache is taken for one of the line."""
    estimate = Estimate()
    read(estimate, 41_000, 1.0, cached=40_000)
    assert estimate.line.samples == 1


# The queue


def test_what_was_sent_before_is_read_before():
    """Each waiting prompt adds its reading."""
    estimate = known()
    alone = estimate.expected(ASK, 0, 100.0)
    for _ in range(5):
        estimate.sent(ASK, 0, 100.0)
    assert estimate.expected(ASK, 0, 100.0) == pytest.approx(6 * alone)
    assert estimate.in_flight == 5


def test_a_backend_that_takes_one_at_a_time_ends_it_first():
    """With room for one, the second waits for the whole first, and counts what has passed of it."""
    estimate = known(takes=0.1, hold=2.0, parallel=1)
    first = estimate.sent(ASK, 0, 100.0)
    assert estimate.expected(ASK, 0, 100.0) == pytest.approx(0.1 + 2.0 + 0.1, abs=0.01)
    estimate.first_token(first, 100.1)
    estimate.spoke(101.1)
    assert estimate.expected(ASK, 0, 101.1) == pytest.approx(1.0 + 0.1, abs=0.01)
    second = estimate.sent(ASK, 0, 101.1)
    assert estimate.expected(ASK, 0, 101.1) == pytest.approx(1.0 + 0.1 + 2.0 + 0.1, abs=0.01)
    estimate.ended(first, 102.1)
    assert estimate.expected(ASK, 0, 102.1) == pytest.approx(0.1 + 2.0 + 0.1, abs=0.01)
    estimate.first_token(second, 102.2)
    assert estimate.reading(1000, 0, 102.2) == pytest.approx(0.1)


def test_how_many_it_takes_at_once_is_found_out():
    """Of an engine of two slots nothing is told; the third's wait for an end tells it, and more at once untell it."""
    estimate, now = known(takes=0.1, hold=2.0), 100.0
    for _ in range(5):
        first, second, third = (estimate.sent(ASK, 0, now) for _ in range(3))
        estimate.first_token(first, now + 0.1)
        estimate.first_token(second, now + 0.2)
        before = estimate.expected(ASK, 0, now + 0.3)
        estimate.ended(first, now + 2.1)
        estimate.first_token(third, now + 2.2)
        estimate.ended(second, now + 2.2)
        estimate.ended(third, now + 4.2)
        now += 10.0
    assert before > 2.0
    assert estimate.reading(1000, 0, now) == pytest.approx(0.1, rel=0.2)
    for number, each in enumerate([estimate.sent(ASK, 0, now) for _ in range(3)]):
        estimate.first_token(each, now + 0.1 * (number + 1))
    assert estimate.expected(ASK, 0, now + 0.3) < 0.2


def waited_for(estimate, now):
    """Of two that are sent at once, the second begins as the first ends. Gives when it is over."""
    first, second = estimate.sent(ASK, 0, now), estimate.sent(ASK, 0, now)
    estimate.first_token(first, now + 0.1)
    estimate.ended(first, now + 2.1)
    estimate.first_token(second, now + 2.2)
    estimate.ended(second, now + 4.2)
    return now + 5.0


def full_of_one(estimate, now):
    """Tell whether a second is expected to wait for the first that is at work."""
    first = estimate.sent(ASK, 0, now)
    estimate.first_token(first, now + 0.1)
    estimate.spoke(now + 0.3)
    waits = estimate.expected(ASK, 0, now + 0.3) > 1.0
    estimate.ended(first, now + 2.1)
    return waits


@pytest.mark.parametrize("start", [100.0, 1e6])
def test_what_may_be_by_chance_proves_little(start):
    """That one began as the only other ended: once is nothing, eight times is an engine that does one at a time.

    However long ago the clock began.
    """
    estimate = known(takes=0.1, hold=2.0, until=start)
    now = waited_for(estimate, start)
    assert not full_of_one(estimate, now)
    for _ in range(PROOF):
        now = waited_for(estimate, now + 5.0)
    assert full_of_one(estimate, now)


def test_what_nothing_proves_again_is_believed_no_more():
    """One that is taken to be full gets hardly anything: so it could never show that it isn't."""
    estimate, now = known(takes=0.1, hold=2.0), 100.0
    for _ in range(PROOF):
        now = waited_for(estimate, now)
    assert full_of_one(estimate, now)
    read(estimate, takes=0.1, now=now + LAPSE, hold=2.0)
    assert not full_of_one(estimate, now + LAPSE + 10.0)
    told = known(takes=0.1, hold=2.0, parallel=1)
    assert full_of_one(told, 100.0 + 2 * LAPSE)


def test_proofs_that_come_seldom_prove_nothing():
    """Each long after the last: by then enough have come to it, and had no need to wait, to have forgotten that."""
    estimate, now = known(takes=0.1, hold=2.0), 100.0
    for _ in range(2 * PROOF):
        now = waited_for(estimate, now) + LAPSE
    assert not full_of_one(estimate, now)


def test_what_was_said_of_how_many_it_takes_at_once_is_believed_until_more_are_seen():
    """Told one, and seen to do two, it is taken to do any number until the limit shows."""
    estimate = known(takes=0.1, hold=2.0, parallel=1)
    first = estimate.sent(ASK, 0, 100.0)
    estimate.first_token(first, 100.1)
    assert estimate.expected(ASK, 0, 100.1) == pytest.approx(2.1, abs=0.01)
    estimate.first_token(estimate.sent(ASK, 0, 100.1), 100.2)
    assert estimate.expected(ASK, 0, 100.2) == pytest.approx(0.1, abs=0.01)


def test_one_that_hangs_looks_worse_with_every_moment():
    """Whether it is reading that doesn't end, or answers that don't."""
    reading, writing = known(), known(hold=1.0, parallel=1)
    reading.sent(ASK, 0, 100.0)
    writing.first_token(writing.sent(ASK, 0, 100.0), 100.1)
    for estimate in (reading, writing):
        assert estimate.expected(ASK, 0, 110.0) > 6
        assert estimate.expected(ASK, 0, 160.0) > 50


def test_a_client_that_leaves_frees_its_place():
    """Before its first token or after; and it says nothing of the speed."""
    estimate = known()
    waits, begun = estimate.sent(ASK, 0, 100.0), estimate.sent(Ask(9000), 0, 100.0)
    estimate.first_token(begun, 100.1)
    before = estimate.line.samples
    estimate.left(waits, 130.0)
    estimate.left(begun, 130.0)
    estimate.left(begun, 131.0)
    assert (estimate.in_flight, estimate.line.samples) == (0, before)
    assert estimate.expected(ASK, 0, 130.0) == pytest.approx(estimate.reading(1000, 0, 130.0))


def test_answers_under_way_count_where_first_tokens_are_empty():
    """A backend whose first events come at once, whatever it does, isn't given everything."""
    estimate = known(takes=0.005)
    for number in range(50):
        estimate.first_token(estimate.sent(ASK, 0, 100.0 + number / 100), 100.005 + number / 100)
    assert estimate.expected(ASK, 0, 101.0) > 5 * estimate.reading(1000, 0, 101.0)


# Silence


def speaking(estimate, since=100.0, until=110.0, every=0.05):
    """Begin an answer that brings something so often. Gives it, and when it last did."""
    sent = estimate.sent(ASK, 0, since)
    estimate.first_token(sent, since + 0.1)
    for number in range(int((until - since - 0.1) / every)):
        estimate.spoke(since + 0.1 + (number + 1) * every)
    return sent, since + 0.1 + int((until - since - 0.1) / every) * every


def test_one_that_falls_silent_in_its_answers_is_avoided_before_anybody_waits_there():
    """A few times longer than usual is enough; with its next word all is well again."""
    estimate = known()
    _, last = speaking(estimate)
    usual = estimate.expected(ASK, 0, last)
    assert estimate.expected(ASK, 0, last + 0.05) == usual
    assert estimate.expected(ASK, 0, last + 0.5) > usual + LATE * 0.3
    assert estimate.expected(ASK, 0, last + 2.0) > usual + LATE * 1.8
    estimate.spoke(last + 2.0)
    assert estimate.expected(ASK, 0, last + 2.05) == usual


def test_one_that_speaks_seldom_is_not_silent():
    """What counts as silence is learned: a slow engine, or one that sends a second's words at a time."""
    estimate = known()
    _, last = speaking(estimate, until=200.0, every=1.0)
    assert estimate.expected(ASK, 0, last + 0.95) < 0.2
    assert estimate.expected(ASK, 0, last + 4.0) > 5


def test_a_prompt_that_is_being_read_is_a_reason_for_silence():
    """Answers pause meanwhile. One that waits for a slot isn't being read."""
    roomy, full = known(), known(parallel=1)
    for estimate in (roomy, full):
        _, last = speaking(estimate)
        estimate.sent(Ask(1000), 0, last)
        estimate.spoke(last)
    assert roomy.queue(last + 0.1) < 0.2
    assert full.queue(last + 2.0) - full.queue(last) > LATE * 1.5
    before = roomy.queue(last + 30.0)
    roomy.spoke(last + 30.0)  # and says nothing of how long answers pause usually
    assert roomy.queue(last + 30.0) == before


def test_one_that_nobody_reads_is_not_silent():
    """A slow client holds its answer up; from when it reads on, the silence counts anew."""
    estimate = known()
    sent, last = speaking(estimate)
    usual = estimate.expected(ASK, 0, last)
    for _ in range(2):
        estimate.muted(sent, last, muted=True)
    assert estimate.expected(ASK, 0, last + 30.0) == usual
    estimate.muted(sent, last + 30.0, muted=False)
    assert estimate.expected(ASK, 0, last + 30.05) == usual
    assert estimate.expected(ASK, 0, last + 32.0) > usual + 5
    estimate.ended(sent, last + 32.0)
    estimate.muted(sent, last + 32.0, muted=False)
    assert estimate.expected(ASK, 0, last + 50.0) < 0.2


def test_what_answers_in_one_piece_leave_between_them_is_no_pause():
    """Where none of them shows its pieces there is nothing to be heard, however seldom they come."""
    estimate, now = known(takes=0.1, hold=2.0), 100.0
    for _ in range(20):
        estimate.ended(estimate.sent(Ask(1000, streams=False), 0, now), now + 2.0)
        estimate.spoke(now + 2.0)
        now += 60.0
    sent = estimate.sent(ASK, 0, now)
    estimate.first_token(sent, now + 0.1)
    estimate.spoke(now + 0.1)
    assert estimate.queue(now + 5.1) > 10


def test_answers_that_show_nothing_until_they_end_are_not_silent():
    """Of those nobody hears."""
    estimate = known()
    sent = estimate.sent(Ask(1000, (), streams=False), 0, 100.0)
    estimate.muted(sent, 100.0, muted=False)
    estimate.expected(ASK, 0, 100.2)
    speaker, last = speaking(estimate, since=100.2)
    estimate.left(speaker, last)
    assert estimate.expected(ASK, 0, last + 5.0) < 0.2


def test_what_comes_to_wait_behind_grows_with_what_is_busy():
    """As in a queue: little while there is room, much where there is hardly any, and never without end."""
    estimate = known(parallel=10)
    assert estimate.behind == 0
    sent = [estimate.sent(ASK, 0, 100.0) for _ in range(30)]
    assert estimate.behind == pytest.approx(0.9**2 / 0.1)
    for each in sent[5:]:
        estimate.left(each, 100.0)
    assert estimate.behind == pytest.approx(0.5)
    assert Estimate().behind == 0


# What others have there


def test_what_came_from_here_is_no_load_of_others():
    """Not even what was in flight when the page was asked for, or might have been: nothing at all is added."""
    told, untold = known(hold=1.0), known(hold=1.0)
    for estimate in (told, untold):
        begun = estimate.sent(ASK, 0, 100.0)
        estimate.first_token(begun, 100.1)
        estimate.sent(ASK, 0, 100.1)
    for running, waiting, ours in ((1, 1, 2), (2, 0, 3), (0, 0, 2)):
        told.published(Load(running, waiting), ours, 100.2)
        assert told.queue(100.3) == untold.queue(100.3)
        assert told.others(100.3) == 0


def test_answers_that_others_get_count_as_ours_do():
    """Each a little; half as many as were published a second ago, and soon none."""
    estimate = known()
    alone = estimate.queue(100.0)
    estimate.published(Load(12, 0), 2, 100.0)
    assert estimate.others(100.0) == 10
    assert estimate.queue(100.0) == pytest.approx(alone + 10 * CROWD)
    assert estimate.queue(100.0 + FRESH) == pytest.approx(alone + 5 * CROWD)
    assert estimate.queue(130.0) == pytest.approx(alone, abs=1e-9)


def test_prompts_of_others_that_wait_are_read_before():
    """As if they were of the usual size; what has passed since they were published they have been read in."""
    estimate = known(takes=0.1)
    estimate.sent(ASK, 0, 100.0)
    alone = estimate.queue(100.0)
    estimate.published(Load(0, 4), 1, 99.0)
    assert estimate.queue(100.0) == pytest.approx(alone, abs=0.01)  # a step of the engine may be all that they wait for
    estimate.published(Load(0, 4), 1, 100.0)
    assert estimate.queue(100.0) == pytest.approx(alone + 3 * 0.1, abs=0.01)
    assert estimate.queue(100.2) == pytest.approx(known_with_one_sent().queue(100.2) + 0.1, abs=0.01)
    assert estimate.queue(101.0) == pytest.approx(known_with_one_sent().queue(101.0), abs=0.01)


def known_with_one_sent():
    estimate = known(takes=0.1)
    estimate.sent(ASK, 0, 100.0)
    return estimate


def test_slots_that_others_take_are_waited_for():
    """Of an engine that works on one at a time: the next begins when theirs ends."""
    estimate = known(takes=0.1, hold=2.0, parallel=1)
    estimate.published(Load(1, 0), 0, 100.0)
    assert estimate.expected(ASK, 0, 100.0) == pytest.approx(2.1, abs=0.01)
    estimate.published(Load(1, 3), 0, 100.1)
    assert estimate.expected(ASK, 0, 100.1) == pytest.approx(8.1, abs=0.01)


def test_how_many_an_engine_works_on_is_learned_of_what_it_publishes():
    """While some wait for longer than a moment it can't do more; and when it does, that is known for wrong."""
    estimate = known(takes=0.1, hold=2.0)
    estimate.published(Load(4, 1), 0, 100.0)
    assert estimate.queue(100.0) < 0.2
    estimate.published(Load(4, 1), 0, 101.0)
    assert estimate.queue(101.0) == pytest.approx((5 - 4 + 1) * 2.0 / 4)
    estimate.published(Load(2, 2), 0, 102.0)  # soon after it has done four, it isn't believed that only two fit
    assert estimate.queue(102.0) == pytest.approx((4 - 3.75 + 1) * 2.0 / 3.75)
    estimate.published(Load(8, 0), 0, 103.0)
    assert estimate.queue(103.0) < 0.1
    for now in (104.0, 105.0):
        estimate.published(Load(0, 5), 0, now)  # it works on none of those that wait
    assert estimate.queue(105.0) == pytest.approx(5 * 2.0)


def test_an_engine_that_says_nothing_more_has_no_others():
    """As one that was restarted hasn't."""
    estimate = known()
    for end in (lambda: estimate.published(None, 0, 100.0), lambda: estimate.restarted(100.0)):
        estimate.published(Load(9, 9), 0, 100.0)
        assert estimate.load == Load(9, 9)
        end()
        assert (estimate.load, estimate.others(100.0)) == (None, 0.0)


# Errors


def test_a_backend_that_fails_fast_does_not_look_fast():
    """Each failure in a row doubles what it is taken to cost; with time it is forgotten."""
    estimate, well = known(), known()
    for number in range(4):
        estimate.failed(estimate.sent(ASK, 0, 100.0 + number / 100), 100.001 + number / 100)
        assert estimate.cost(100.001 + number / 100) == pytest.approx(FAILURE * 2**number, rel=0.01)
    assert estimate.expected(ASK, 0, 100.1) > 70 * well.expected(ASK, 0, 100.1)
    assert estimate.cost(100.031 + 3 * FORGET) == pytest.approx(FAILURE, rel=0.01)
    assert estimate.in_flight == 0


def test_failures_cost_the_time_that_was_lost_and_no_more_than_the_worst():
    """A time-out of 20 s counts for 21; those that were under way together count once."""
    estimate = known()
    together = [estimate.sent(ASK, 0, 100.0) for _ in range(30)]
    for each in together:
        estimate.failed(each, 120.0)
    assert estimate.cost(120.0) == FAILURE + 20.0
    estimate.failed(together[0], 121.0)
    assert estimate.cost(120.0) == FAILURE + 20.0
    for number in range(9):
        estimate.failed(estimate.sent(ASK, 0, 120.1 + number / 10), 120.1 + number / 10)
    assert estimate.cost(121.0) == pytest.approx(WORST, rel=0.02)


def test_an_answer_that_breaks_off_costs_and_frees():
    """After its first token, too."""
    estimate = known()
    sent = estimate.sent(ASK, 0, 100.0)
    estimate.first_token(sent, 100.1)
    estimate.failed(sent, 105.0)
    assert estimate.in_flight == 0
    assert estimate.cost(105.0) == FAILURE


def test_what_another_has_answered_costs_as_a_failure_does():
    """Though the attempt is long over: each time again costs more."""
    estimate = known()
    for number in range(3):
        sent = estimate.sent(ASK, 0, 100.0 + number / 100)
        estimate.left(sent, 100.001 + number / 100)
        estimate.disproved(sent, 100.002 + number / 100)
        assert estimate.cost(100.002 + number / 100) == pytest.approx(FAILURE * 2**number, rel=0.01)
    assert estimate.in_flight == 0


def test_success_halves_the_cost_of_failures():
    """So that one that is well again is soon believed."""
    estimate = known()
    estimate.failed(estimate.sent(ASK, 0, 100.0), 100.0)
    read(estimate, now=100.0)
    assert estimate.cost(100.1) == pytest.approx(FAILURE / 2, rel=0.01)


# What is let go of before it began


def test_one_that_hangs_is_known_by_those_that_were_let_go_of():
    """It costs what was lost with each; each again doubles that, and it is forgotten as errors are."""
    estimate, well = known(), known()
    estimate.lost(estimate.sent(ASK, 0, 100.0), 102.0)
    assert (estimate.cost(102.0), estimate.unheard, estimate.in_flight) == (2.0, 1, 0)
    assert estimate.expected(ASK, 0, 102.0) > 20 * well.expected(ASK, 0, 102.0)
    estimate.lost(estimate.sent(ASK, 0, 102.0 + FORGET), 104.0 + FORGET)
    assert estimate.cost(104.0 + FORGET) == pytest.approx(2.0, rel=0.15)
    for number in range(20):
        estimate.lost(estimate.sent(ASK, 0, 120.0 + number), 120.5 + number)
    assert estimate.cost(140.0) == pytest.approx(WORST, rel=0.1)
    assert estimate.unheard == 22


def test_those_that_were_let_go_of_together_count_once():
    """A hedge's rivals, say, or all clients of a program that ends."""
    estimate = known()
    together = [estimate.sent(ASK, 0, 100.0) for _ in range(3)]
    for each in together:
        estimate.lost(each, 105.0)
        estimate.lost(each, 106.0)
    assert (estimate.cost(105.0), estimate.unheard) == (5.0, 3)


def test_a_first_token_clears_the_suspicion():
    """And halves the cost, as of errors."""
    estimate = known()
    estimate.lost(estimate.sent(ASK, 0, 100.0), 102.0)
    estimate.first_token(estimate.sent(ASK, 0, 102.0), 102.1)
    assert estimate.unheard == 0
    assert estimate.cost(102.1) == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("idle", [0.0, STALE + 5 * FADE])
def test_who_leaves_early_condemns_nobody(idle):
    """Also where what was believed has faded: it may be as fast as it was, and no faster."""
    estimate = known()
    estimate.lost(estimate.sent(ASK, 0, 100.0 + idle), 100.2 + idle)
    assert (estimate.cost(100.2 + idle), estimate.unheard) == (0.0, 0)


def test_who_leaves_an_honest_queue_condemns_nobody():
    """Of fifty prompts before it, none of them late."""
    estimate = known()
    for _ in range(50):
        estimate.sent(ASK, 0, 100.0)
    estimate.lost(estimate.sent(ASK, 0, 100.0), 110.0)
    assert (estimate.cost(110.0), estimate.unheard) == (0.0, 0)


def test_what_errors_cost_is_no_time_to_wait():
    """One that has failed, and hangs now, is late as soon as any."""
    estimate = known()
    estimate.failed(estimate.sent(ASK, 0, 90.0), 100.0)
    estimate.lost(estimate.sent(ASK, 0, 100.0), 101.0)
    assert estimate.unheard == 1


@pytest.mark.parametrize("over", ["lost", "left"])
def test_who_leaves_an_answer_that_has_begun_says_nothing_of_its_beginning(over):
    """However long it took."""
    estimate = known()
    sent = estimate.sent(ASK, 0, 100.0)
    estimate.first_token(sent, 100.1)
    getattr(estimate, over)(sent, 160.0)
    assert (estimate.cost(160.0), estimate.unheard, estimate.in_flight) == (0.0, 0, 0)
    assert estimate.hold > 0


def test_who_leaves_an_answer_that_does_not_stream_says_nothing():
    """Where others stream: it is taken to have begun, and how long it is isn't known."""
    estimate = known(hold=5.0)
    estimate.lost(estimate.sent(Ask(1000, streams=False), 0, 100.0), 130.0)
    assert (estimate.cost(130.0), estimate.unheard) == (0.0, 0)


# The beginning, and what is old


def test_nothing_known_is_little_expected():
    """So that it soon is."""
    assert not Estimate().measured
    assert Estimate().expected(ASK, 0, 0.0) == UNKNOWN


@pytest.mark.parametrize("fresh", [Estimate, known])
def test_a_backend_just_started_gets_load_gently(fresh):
    """One prompt at a time waits there, then one more with each that has been read, until it has proven itself."""
    estimate, now = fresh(), 100.0
    estimate.restarted(now)
    for room in range(1, PROVEN):
        sent = [estimate.sent(ASK, 0, now) for _ in range(room - 1)]
        before = estimate.queue(now)
        sent.append(estimate.sent(ASK, 0, now))
        assert before < 0.11 * room
        assert estimate.queue(now) > before + COLD
        estimate.first_token(sent[0], now + 0.1)
        for each in sent:
            estimate.left(each, now + 0.1)
        now += 1.0
    estimate.ended(estimate.sent(ASK, 0, now), now + 0.1)
    for _ in range(2 * PROVEN):
        estimate.sent(ASK, 0, now + 1)
    assert estimate.expected(ASK, 0, now + 1) < 0.11 * (2 * PROVEN + 1)


def test_a_restart_leaves_what_is_in_flight_counted():
    """Each attempt's end is told by itself; errors from before are forgotten."""
    estimate = known()
    sent = estimate.sent(ASK, 0, 100.0)
    estimate.failed(estimate.sent(ASK, 0, 100.0), 100.0)
    estimate.lost(estimate.sent(ASK, 0, 100.0), 104.0)
    estimate.restarted(105.0)
    assert (estimate.in_flight, estimate.cost(105.0), estimate.unheard) == (1, 0.0, 0)
    estimate.failed(sent, 106.0)
    assert estimate.in_flight == 0


def test_stale_measurements_fade_and_what_waits_does_not():
    """An idle backend is expected to be faster than it was, until it is looked at again; one that hangs isn't."""
    estimate, last = known(takes=8.0), 100.0
    heard = last - 1  # what it last answered
    assert estimate.expected(ASK, 0, heard + STALE) == pytest.approx(8.0)
    assert estimate.expected(ASK, 0, heard + STALE + FADE) == pytest.approx(4.0)
    estimate.sent(ASK, 0, 200.0)
    assert estimate.expected(ASK, 0, 2000.0) > 1700
    assert Estimate().expected(ASK, 0, inf) == UNKNOWN


# What is told at odd moments


def test_a_first_token_counts_once_and_not_after_the_end():
    """An empty event that passed for it is all that it is taken for; what comes too late changes nothing."""
    estimate = known()
    sent, over = estimate.sent(ASK, 0, 100.0), estimate.sent(ASK, 0, 100.0)
    estimate.left(over, 100.0)
    estimate.first_token(over, 100.05)
    estimate.first_token(sent, 100.1)
    estimate.first_token(sent, 109.0)
    assert (estimate.in_flight, estimate.begun) == (1, 1)
    assert estimate.reading(1000, 0, 109.0) == pytest.approx(0.1)
    estimate.ended(sent, 110.0)
    estimate.ended(sent, 111.0)
    assert estimate.in_flight == 0


def test_an_end_without_a_first_token_is_both():
    """An answer of one piece."""
    estimate = Estimate()
    estimate.ended(estimate.sent(ASK, 0, 1.0), 1.5)
    assert estimate.measured
    assert estimate.response == 0.5
    assert estimate.in_flight == 0


# Answers that don't stream


def test_where_nothing_streams_the_whole_answer_is_what_is_expected():
    """As of embeddings: so the slower of two is still known."""
    estimate, now = Estimate(), 0.0
    for _ in range(40):
        estimate.ended(estimate.sent(Ask(1000, streams=False), 0, now), now + 2.0)
        now += 3.0
    assert estimate.expected(ASK, 0, now) == pytest.approx(2.0, rel=0.05)


def test_where_others_stream_one_that_does_not_says_nothing_of_the_reading():
    """Its end is long after its first token; and it isn't taken for a stall meanwhile."""
    estimate = known(takes=0.1, hold=5.0)
    silent = estimate.sent(Ask(1000, streams=False), 0, 100.0)
    assert estimate.expected(ASK, 0, 105.0) < 0.3
    assert estimate.expected(ASK, 0, 120.0) > 5
    estimate.ended(silent, 108.0)
    assert estimate.reading(1000, 0, 108.0) == pytest.approx(0.1)


def test_whole_answers_say_nothing_of_their_beginnings_once_one_streams():
    """What was believed while nothing streamed is dropped with the first token that is seen."""
    estimate, now = Estimate(), 0.0
    for _ in range(40):
        estimate.ended(estimate.sent(Ask(1000, streams=False), 0, now), now + 6.0)
        now += 10.0
    assert estimate.expected(ASK, 0, now) == pytest.approx(6.0, rel=0.05)
    now = read(estimate, now=now)
    assert estimate.expected(ASK, 0, now) == pytest.approx(0.1)


def test_a_few_whole_answers_are_no_measurement():
    """Others may stream yet."""
    estimate = Estimate()
    estimate.ended(estimate.sent(Ask(1000, streams=False), 0, 0.0), 6.0)
    assert not estimate.measured


def test_one_that_does_not_stream_has_begun_when_it_was_due():
    """From then on it is no prompt that has to be read before others, but one of those that are answered."""
    estimate = known(takes=0.1, hold=5.0)
    silent = [estimate.sent(Ask(1000, streams=False), 0, 100.0) for _ in range(2)]
    later = estimate.sent(ASK, 0, 100.15)
    assert estimate.begun == 1
    assert estimate.expected(ASK, 0, 100.15) == pytest.approx(0.3, abs=0.06)
    estimate.left(later, 100.3)
    assert estimate.begun == 2
    for each in silent:
        estimate.ended(each, 105.0)
    assert estimate.in_flight == 0
    assert estimate.hold == pytest.approx(5.0, rel=0.02)


def test_one_that_does_not_stream_may_end_before_it_was_due():
    """It says nothing of the reading, be it over sooner than a reading takes."""
    estimate = known(takes=0.1)
    estimate.ended(estimate.sent(Ask(1000, streams=False), 0, 100.0), 100.01)
    assert estimate.reading(1000, 0, 100.01) == pytest.approx(0.1)
    assert estimate.in_flight == 0


def test_one_that_does_not_stream_has_begun_when_a_later_one_has():
    """Engines begin in order, be it sooner than was expected."""
    early = known(takes=0.1, hold=5.0)
    silent, streams = early.sent(Ask(1000, streams=False), 0, 100.0), early.sent(ASK, 0, 100.0)
    early.first_token(streams, 100.05)
    assert (early.begun, silent.begun) == (2, 100.05)
    estimate = known(takes=0.1, hold=5.0)
    silent, streams = estimate.sent(Ask(1000, streams=False), 0, 100.0), estimate.sent(ASK, 0, 100.0)
    estimate.first_token(streams, 100.05)
    assert estimate.begun == 2
    estimate.ended(streams, 103.0)
    estimate.ended(silent, 104.0)
    assert estimate.in_flight == 0


# A model that a peer has yet to load


def test_a_load_elsewhere_is_waited_for():
    """Its seconds are added; they run down once it is being loaded, and one that is overdue takes a moment yet."""
    estimate = known(takes=0.1)
    estimate.loads(20.0, 100.0, runs=False)
    assert estimate.expected(ASK, 0, 110.0) == pytest.approx(20.1, abs=0.1)
    estimate.loads(20.0, 110.0, runs=True)
    assert (estimate.unloaded, estimate.loading) == (True, True)
    assert estimate.queue(115.0) == pytest.approx(15.0, abs=0.1)
    assert estimate.queue(140.0) == SOON
    estimate.loaded(140.0)
    assert estimate.expected(ASK, 0, 140.0) == pytest.approx(0.1, abs=0.1)


def test_what_waits_for_a_load_is_not_late():
    """It is neither held against the backend nor taken for slow reading: its time begins when the model is there."""
    estimate = known(takes=0.1)
    estimate.loads(20.0, 100.0, runs=True)
    sent = estimate.sent(ASK, 0, 100.0)
    assert estimate.queue(119.0) < 2
    assert (sent.due, sent.late > 150) == (pytest.approx(120.1, abs=0.1), True)
    estimate.loaded(125.0)
    estimate.first_token(sent, 125.1)
    assert estimate.line.at(1000) == pytest.approx(0.1, abs=0.02)
