import pytest

from router.core.errors import BadRequestError, NoModelError
from router.core.form import boundary_of, peek_form, renamed
from router.core.peek import MAX_NAME

FILE = b'Content-Disposition: form-data; name="file"; filename="name=model.wav"\r\nContent-Type: audio/wav\r\n\r\n'
SOUND = FILE + bytes(range(256)) * 3


def form(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join([b"--b\r\n" + part + b"\r\n" for part in parts]) + end


def field(name: str, value: bytes) -> bytes:
    return b'Content-Disposition: form-data; name="%s"\r\n\r\n%s' % (name.encode(), value)


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        (b"multipart/form-data; boundary=----x1", b"----x1"),
        (b'Multipart/Form-Data; charset=utf-8; boundary="a b"', b"a b"),
        (b"multipart/form-data", b""),
        (b"multipart/mixed; boundary=x", b""),
        (b"application/json", b""),
    ],
)
def test_boundary_of(kind, boundary):
    """It is said in the content's type, quoted or not."""
    assert boundary_of(kind) == boundary


@pytest.mark.parametrize(
    "body",
    [
        form(field("model", b"demo"), SOUND),
        form(SOUND, field("model", b"demo")),
        form(b"content-type: text/plain\r\ncontent-disposition: form-data; name=model\r\n\r\ndemo", SOUND),
        b"preamble\r\n" + form(SOUND, field("model", b"demo")),
        form(b"X: y\r\n\r\nno name", field("model", b"demo")),
    ],
)
def test_a_forms_model(body):
    """It is found wherever it stands."""
    assert peek_form(body, b"b") == ("demo", False, None, None)


def test_a_form_asks_for_a_stream():
    """As a JSON body does."""
    assert peek_form(form(field("stream", b"True"), field("model", b"m")), b"b")[1]


@pytest.mark.parametrize(
    "body",
    [b"", b"nothing", form(SOUND), form(field("model", b"")), b"--b\r\n", form(field("model", b"m"), end=b"")[:-2]],
)
def test_a_form_without_a_model(body):
    """Even one that is no whole form."""
    with pytest.raises(NoModelError, match="names no model"):
        peek_form(body, b"b")


@pytest.mark.parametrize("value", [b"\xff", b"x" * (MAX_NAME + 1)])
def test_a_name_that_is_none(value):
    """It is refused as in a JSON body."""
    with pytest.raises(BadRequestError, match="model's name"):
        peek_form(form(field("model", value)), b"b")


def test_renamed():
    """Only the field changes; where there is none, it is put in front."""
    assert renamed(form(SOUND, field("model", b"a")), b"b", "möd") == form(SOUND, field("model", "möd".encode()))
    assert renamed(form(SOUND), b"b", "m") == form(field("model", b"m"), SOUND)
