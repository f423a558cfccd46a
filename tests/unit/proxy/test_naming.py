import pytest

from router.core.errors import BadRequestError, NoModelError
from router.core.peek import peek
from router.proxy.heads import describe_request
from router.proxy.naming import addressed, completed

FORM = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\nm\r\n--b--\r\n'
IS_FORM = ((b"content-type", b"multipart/form-data; boundary=b"),)
MARK = b"\xef\xbb\xbf"


def only() -> str:
    return "only"


def put_right(body: bytes, nameless=str, kind: bytes = b"application/json") -> bytes:
    head = describe_request(b"/v1/completions", ((b"content-type", kind),), keep_alive=True)
    try:
        peek(body)
    except BadRequestError as error:
        return completed(head, body, error, nameless)
    return body


def test_a_path_names_the_model():
    """Over what the body says; a mark at the beginning is left out."""
    head = describe_request(b"/openai/deployments/m/chat/completions", (), keep_alive=True)
    assert (head.plain, head.well_addressed, head.target) == (False, True, b"/v1/chat/completions")
    for body in (b'{"model":"x"}', b"{}", MARK + b"{}"):
        assert addressed(head, body, str, beside=False) == b'{"model":"m"}'


def test_a_path_that_is_refused():
    """It names a parent folder."""
    with pytest.raises(BadRequestError, match="parent folder"):
        addressed(describe_request(b"/v1/../x", (), keep_alive=True), b"{}", only, beside=False)


def test_a_form():
    """It stays as it is, unless its path names the model, or it names none and only one can be meant."""
    head = describe_request(b"/v1/audio/transcriptions", IS_FORM, keep_alive=True)
    assert addressed(head, FORM % b"model", only, beside=False) == FORM % b"model"
    added = (FORM % b"model").removesuffix(b"--b--\r\n").replace(b"\nm\r", b"\nonly\r") + FORM % b"file"
    assert addressed(head, FORM % b"file", only, beside=False) == added
    with pytest.raises(NoModelError):
        addressed(head, FORM % b"file", str, beside=False)
    azures = describe_request(b"/openai/deployments/two/audio/transcriptions", IS_FORM, keep_alive=True)
    assert addressed(azures, FORM % b"model", str, beside=False) == (FORM % b"model").replace(b"\nm\r", b"\ntwo\r")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"x":1}', b'{"x":1,"model":"only"}'),
        (MARK + b'{"x":1}', b'{"x":1,"model":"only"}'),
        (MARK + b'{"model":"m"}', b'{"model":"m"}'),
    ],
)
def test_completed(body, expected):
    """No name where only one can be meant, and a mark that engines pass over."""
    assert put_right(body, only) == expected


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"model":1}', MARK + b"{", MARK, b"{}", MARK + b"{}"])
def test_what_stays_wrong(body):
    """The error is that of the body."""
    with pytest.raises(BadRequestError):
        put_right(body)


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (b"multipart/form-data", b"xx", "no boundary"),
        (b"application/x-www-form-urlencoded", b"a=b", "send JSON"),
        # As curl's -d says of JSON, too.
        (b"application/x-www-form-urlencoded", b"{}", "names no model"),
        (b"application/json", b"xx", "not valid JSON"),
    ],
)
def test_a_form_of_another_kind(kind, body, said):
    """The error is about that."""
    with pytest.raises(BadRequestError, match=said):
        put_right(body, kind=kind)
