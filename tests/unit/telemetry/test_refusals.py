import pytest
from structlog.testing import capture_logs

from router.core.errors import BodyTooLargeError, ForbiddenError, UnauthorizedError
from router.telemetry.refusals import MOST_LINES, MOST_OF_A_CAUSE, WINDOW, RefusalLog

NO_KEY = UnauthorizedError("No valid API key.")
TOO_LARGE = BodyTooLargeError("Send less.")


def test_a_refusal_is_logged_with_its_sender():
    """And its id, if a request has come."""
    with capture_logs() as said:
        RefusalLog().note(NO_KEY, "10.0.0.7", "/v1/models", 0.0, "id-1")
        RefusalLog().note(NO_KEY, "10.0.0.7", "", 0.0)
    assert said == [
        {
            "event": "refused: No valid API key.",
            "status": 401,
            "client": "10.0.0.7",
            "path": "/v1/models",
            "request_id": "id-1",
            "log_level": "warning",
        },
        {
            "event": "refused: No valid API key.",
            "status": 401,
            "client": "10.0.0.7",
            "path": "-",
            "log_level": "warning",
        },
    ]


@pytest.mark.parametrize("ends", ["another refusal", "a look"])
def test_what_comes_again_is_counted(ends):
    """Each kind and each sender has one line within a minute; then the others' number is told, and it begins anew."""
    log = RefusalLog()
    with capture_logs() as said:
        for _ in range(5):
            log.note(NO_KEY, "a", "/v1/x", 100.0)
        log.note(NO_KEY, "b", "/v1/x", 101.0)
        for _ in range(3):
            log.note(TOO_LARGE, "b", "/v1/x", 101.0)
        log.tell(100.0 + WINDOW - 1)
        assert [each["client"] for each in said] == ["a", "b", "b"]
        if ends == "a look":
            log.tell(100.0 + WINDOW)
        log.note(NO_KEY, "a", "/v1/x", 100.0 + WINDOW)
    assert said[3]["event"] == "refused 6 more requests within 60 s"
    assert said[3]["causes"] == f"401 invalid_api_key: 4, 413 {TOO_LARGE.code}: 2"
    assert [each.get("client") for each in said[4:]] == ["a"]


def test_nothing_is_told_of_nothing():
    log = RefusalLog()
    with capture_logs() as said:
        log.tell(1000.0)
        log.note(NO_KEY, "a", "/", 1000.0)
        log.tell(5000.0)
    assert len(said) == 1


def test_lines_are_bounded():
    """Clients choose paths, hosts and, with IPv6, addresses."""
    log = RefusalLog()
    with capture_logs() as said:
        for number in range(1000):
            log.note(ForbiddenError(f"The Host 'evil{number}.test\x7f' isn't one."), "", "/" + "x" * 9000, 5.0)
        log.tell(5.0 + WINDOW)
    assert len(said) == MOST_OF_A_CAUSE + 1
    assert said[-1]["causes"] == f"403 not_allowed: {1000 - MOST_OF_A_CAUSE}"
    assert "\x7f" not in said[0]["event"]
    assert (len(said[0]["path"]) < 300, said[0]["client"]) == (True, "-")


def test_one_cause_hides_no_other():
    """Nor do all together have more lines than there may be."""
    log = RefusalLog()
    with capture_logs() as said:
        for number in range(100_000):
            log.note(NO_KEY, f"10.0.{number >> 8}.{number & 255}", "/v1/models", 5.0)
        log.note(TOO_LARGE, "10.0.0.7", "/v1/x", 5.0)
        assert [each["status"] for each in said] == [*[401] * MOST_OF_A_CAUSE, 413]
        for status in range(600, 700):
            error = type("Odd", (ForbiddenError,), {"status": status})(f"No. {status}")
            log.note(error, "a", "/", 5.0)
            log.note(error, "b", "/", 5.0)
    assert len(said) == MOST_LINES
    # What it keeps doesn't grow with those who ask.
    assert len(log._kinds) == MOST_LINES
    assert len(log._counted) <= 101
