"""How many prompts an engine reads side by side: learned from those that overtake others."""

import pytest

from router.core.estimate.ask import Ask, Sent
from router.core.estimate.estimate import LATE, Estimate
from router.core.estimate.readers import CLEARLY, LAPSE, Readers


def sent(readers, at, *, streams=True):
    """A prompt that is sent."""
    made = Sent(Ask(1000, streams=streams), 0, 1000.0, at, at, at)
    readers.add(made, at)
    return made


def begins(readers, one, now):
    """Its first token comes."""
    readers.learn(one, now)
    readers.begun(one, now)


def overtaken(readers, at, after=1.0):
    """A prompt that is sent and overtaken by another, sent later, and that begins some time after it."""
    first, second = sent(readers, at), sent(readers, at + 1.0)
    begins(readers, second, at + 2.0)
    begins(readers, first, at + 2.0 + after)


def test_who_is_overtaken_was_read_at_the_same_time():
    """Each prompt that clearly overtakes as many as there are readers shows one more."""
    readers = Readers()
    overtaken(readers, 100.0)
    assert readers.count == 2
    overtaken(readers, 200.0)
    assert readers.count == 2
    first, second, third, fourth = (sent(readers, 300.0 + number) for number in range(4))
    begins(readers, third, 304.0)
    begins(readers, first, 305.0)
    assert (readers.count, fourth.turn) == (3, 303.0)
    begins(readers, second, 306.0)
    begins(readers, fourth, 307.0)
    assert (readers.count, readers.unread, readers.work) == (3, [], 0.0)


@pytest.mark.parametrize(("apart", "after"), [(CLEARLY / 2, 1.0), (1.0, CLEARLY / 2)])
def test_what_comes_at_once_comes_in_any_order(apart, after):
    """Prompts that were sent together, and first tokens of prompts that were read together, show nothing."""
    readers = Readers()
    first, second = sent(readers, 100.0), sent(readers, 100.0 + apart)
    begins(readers, second, 102.0)
    begins(readers, first, 102.0 + after)
    assert readers.count == 1


@pytest.mark.parametrize("streaming", [(True, False), (False, True)])
def test_what_shows_no_first_token_shows_no_order(streaming):
    """An answer in one piece begins before it is seen."""
    readers = Readers()
    first, second = (sent(readers, 100.0 + number, streams=streams) for number, streams in enumerate(streaming))
    begins(readers, second, 102.0)
    begins(readers, first, 103.0)
    assert readers.count == 1


def test_who_was_overtaken_twice_counts_once():
    """The first to overtake it says how long it was read on."""
    readers = Readers()
    first, second, third = sent(readers, 100.0), sent(readers, 101.0), sent(readers, 102.0)
    begins(readers, second, 103.0)
    begins(readers, third, 104.0)
    assert first.overtaken_at == 103.0
    begins(readers, first, 105.0)
    assert readers.count == 2


def test_what_nothing_needs_any_more_is_believed_no_more():
    """A reader that nothing has shown for some time isn't believed in; what shows it again lets it be."""
    readers = Readers()
    overtaken(readers, 100.0)
    for at in (200.0, 400.0):
        first, second = sent(readers, at), sent(readers, at + 1)
        begins(readers, second, at + 2)
        begins(readers, first, at + 2)
    begins(readers, sent(readers, 402.0 + LAPSE), 402.0 + LAPSE)
    assert readers.count == 2
    begins(readers, sent(readers, 403.0 + LAPSE), 403.0 + LAPSE)
    assert readers.count == 1


def test_whose_turn_it_is():
    """A prompt is read once there is a reader for it: from its sending on, or since another was let go."""
    readers = Readers()
    readers.count = 2
    first, second, third = sent(readers, 100.0), sent(readers, 101.0), sent(readers, 102.0)
    assert (first.turn, second.turn) == (100.0, 101.0)
    begins(readers, second, 103.0)
    assert third.turn == 103.0
    readers.drop(third, third.turn)
    fourth = sent(readers, 104.0)
    readers.drop(first, first.turn)
    assert fourth.turn == 104.0


def read(estimate, at, takes, size=1000, cached=0):
    """One prompt that an idle backend reads."""
    one = estimate.sent(Ask(size), cached, at)
    estimate.first_token(one, at + takes)
    estimate.ended(one, at + takes)


def four_readers(takes=0.1):
    """A backend that reads four prompts of 1000 bytes side by side, in this time each, and is known to."""
    estimate = Estimate()
    for number in range(40):
        read(estimate, number * 1.0, takes)
    estimate.readers.count = 4
    return estimate


def test_who_is_read_at_once_waits_for_nobody():
    """With a reader to spare there is no queue; where all are busy, the soonest of them is waited for."""
    estimate = four_readers()
    idle = estimate.queue(500.0)
    for _ in range(3):
        estimate.sent(Ask(1000), 0, 500.0)
        assert estimate.queue(500.0) == idle
    estimate.sent(Ask(1000), 0, 500.0)
    one = estimate.queue(500.0)
    assert one == pytest.approx(0.1 / 4, rel=0.01)
    for _ in range(4):
        estimate.sent(Ask(1000), 0, 500.0)
    assert estimate.queue(500.0) == pytest.approx(5 * one, rel=0.01)


def test_how_long_others_take_is_not_held_against_the_speed():
    """Prompts that are read side by side take as long as each alone."""
    estimate = four_readers()
    for number in range(40):
        at = 100.0 + number
        both = [estimate.sent(Ask(1000), 0, at), estimate.sent(Ask(1000), 0, at + 0.05)]
        for one, begun in zip(both, (at + 0.1, at + 0.15), strict=True):
            estimate.first_token(one, begun)
            estimate.ended(one, begun)
    assert estimate.prompts.line.at(1000) == pytest.approx(0.1, rel=0.01)


def test_who_has_overtaken_others_was_read_all_the_time():
    """It can't have waited for them."""
    estimate = Estimate()
    first, second = estimate.sent(Ask(9000), 0, 100.0), estimate.sent(Ask(1000), 0, 100.5)
    estimate.first_token(second, 100.6)
    assert estimate.prompts.line.at(1000) == pytest.approx(0.1)
    estimate.first_token(first, 101.0)
    assert estimate.readers.count == 2


def learned(missing):
    """A backend of which every prompt is believed to be cached, of which so many of ten are not."""
    estimate = Estimate()
    for number in range(40):
        read(estimate, number * 10.0, 1.0 + number % 2, 10_000 * (1 + number % 2))
    for number in range(200):
        read(estimate, 1000.0 + number * 10, 1.0 if number % 10 < missing else 0.1, 10_000, 9_000)
    estimate.sent(Ask(10_000), 9_000, 4000.0)
    return estimate


def test_where_caches_miss_a_late_prompt_may_be_one_that_is_read_whole():
    """It will be read when a whole prompt is; only then is something wrong."""
    reliable, missing = learned(0), learned(2)
    assert (reliable.prompts.doubt, missing.prompts.doubt) == (pytest.approx(0.0, abs=0.01), 1.0)
    late = 0.5
    assert reliable.queue(4000.0 + late) > LATE * (late - 0.2)
    assert missing.queue(4000.0 + late) < 1.0 - late + 0.2
    assert missing.queue(4003.0) > LATE * (2.0 - 0.2)


def test_until_a_cache_is_seen_to_hold_anything_that_is_a_mere_belief():
    """The first prompt that is believed to be cached may well not be; where none is, nothing is in doubt."""
    estimate = four_readers()
    assert estimate.prompts.doubt == 0.0
    estimate.sent(Ask(5000), 100, 500.0)
    assert estimate.prompts.doubt == 0.0
    estimate.sent(Ask(5000), 4000, 500.0)
    assert estimate.prompts.doubt == 1.0
