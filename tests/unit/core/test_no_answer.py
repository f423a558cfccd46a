import pytest

from router.core.no_answer import instead, own_failure

PAGE = b"<!DOCTYPE html><html><head><title>Log in</title></head><body><h1>Log in</h1> first</body></html>"


@pytest.mark.parametrize(
    ("status", "said", "told", "words"),
    [
        (502, PAGE, 502, "Log in first"),
        (503, b"loading", 503, "loading"),
        (503, b"", 503, "The engine answered 503, and nothing more."),
        (404, b"Not Found", 404, "Not Found"),
        (302, b"", 502, "The backend answered 302, a redirection, instead of an answer: check its url."),
        (307, b'{"detail":"moved"}', 502, "The backend answered 307, a redirection"),
        (200, b" \n", 502, "The backend answered 200, and nothing more."),
        (204, b"", 502, "The backend answered 204, and nothing more."),
        (200, b"\n" + PAGE, 502, "The backend answered 200 with a web page instead of an answer: Log in first"),
    ],
)
def test_what_is_no_answer_is_told_as_an_error(status, said, told, words):
    """With what came, and the status of an error."""
    error = instead(status, said)
    assert error is not None
    assert error.status == told
    assert error.message.startswith(words)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (500, b'{"error":{"message":"no"}}'),
        (404, b' {"detail":"Not Found"}'),
        (400, b'[{"error":{"code":400}}]'),
        (200, b"What was heard, as whisper.cpp says it."),
    ],
)
def test_what_is_an_answer_stays(status, said):
    """An error in JSON is the server's own."""
    assert instead(status, said) is None


def test_an_engines_own_failure_is_told_without_its_words():
    """Which engine it was, and where they stand."""
    error = own_failure(503, "qwen", "demo-2")
    assert (error.status, error.code) == (503, "engine_unavailable")
    assert error.message.startswith("The engine 'demo-2' of the model 'qwen' failed with status 503.")
    assert error.message.endswith("python -m router logs demo-2")
