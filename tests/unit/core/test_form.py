import pytest

from router.core.errors import BadRequestError, NoModelError
from router.core.form import FormOutline, boundary_of, check_model, names_as_json, names_in, peek_form, refusal, renamed
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
        (b"multipart/form-data; boundary=----WebKitFormBoundary; charset=utf-8", b"----WebKitFormBoundary"),
        (b"multipart/form-data; boundary=a; Boundary=b", b""),
        (b"multipart/form-data; boundary=a; boundary*=utf-8''b", b""),
        (b"multipart/form-data; boundary=a; boundary*0=b", b""),
        (b'multipart/form-data; boundary="a\\b"', b""),
        (b'multipart/form-data; boundary="a"b', b""),
        (b"multipart/form-data; boundary=a b", b""),
    ],
)
def test_boundary_of(kind, boundary):
    """It is said in the content's type, quoted or not, and once."""
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
    [form(SOUND), form(field("model", b"")), b"--b--"],
)
def test_a_form_without_a_model(body):
    """It has its end."""
    with pytest.raises(NoModelError, match="names no model"):
        peek_form(body, b"b")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing",
        b"--b\r\n",
        form(field("model", b"m"), end=b"")[:-2],
        form(field("model", b"m"), SOUND, end=b""),
        form(field("model", b"m"), SOUND + b"--b--", end=b""),
        form(field("model", b"m"), SOUND, end=b"--b\r\n"),
    ],
)
def test_a_form_that_breaks_off(body):
    """Another model may be in what is missing, or half of a file."""
    with pytest.raises(BadRequestError, match="breaks off"):
        peek_form(body, b"b")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (b"Multipart/Form-Data; charset=utf-8", "has no boundary"),
        (b"multipart/mixed; boundary=x", "said to be multipart/mixed"),
        (b"application/x-www-form-urlencoded", "said to be application/x-www-form-urlencoded: send JSON"),
        (b"application/json", ""),
        (b"", ""),
    ],
)
def test_forms_of_other_kinds(kind, said):
    """They aren't called JSON with a mistake."""
    error = refusal(kind)
    assert said in (error.message if error else "")
    assert bool(error) is bool(said)


def test_a_form_with_two_models():
    """Some engines take the first one, others the last: one that is named twice is one."""
    assert peek_form(form(field("model", b"m"), SOUND, field("model", b"m")), b"b")[0] == "m"
    assert peek_form(form(field("stream", b"1"), field("stream", b"true"), field("model", b"m")), b"b")[0] == "m"
    with pytest.raises(BadRequestError, match="names two models"):
        peek_form(form(field("model", b"m"), SOUND, field("model", b"n")), b"b")


@pytest.mark.parametrize("size", [7, 10_000_000])
@pytest.mark.parametrize("line", [b"--bound", b"--b-", b"--b x", b" --b"])
def test_a_line_that_begins_as_a_boundary(line, size):
    """Is the file's own, in a form of any size."""
    file = FILE + b"\r\n" + line + b"\r\n" + field("model", b"other") + b"\r\n" + b"x" * 50_000
    body = form(field("model", b"m"), file)
    assert peek_form(body, b"b")[0] == peek_form(outlined(body, size)[0], b"b")[0] == "m"
    assert peek_form(form(field("model", b"m")).replace(b"--b\r", b"--b \t\r"), b"b")[0] == "m"


@pytest.mark.parametrize("value", [b"\xff", b"x" * (MAX_NAME + 1)])
def test_a_name_that_is_none(value):
    """It is refused as in a JSON body."""
    with pytest.raises(BadRequestError, match="model's name"):
        peek_form(form(field("model", value)), b"b")


def test_renamed():
    """Only the field changes; where there is none, it is put in front."""
    assert renamed(form(SOUND, field("model", b"a")), b"b", "möd") == form(SOUND, field("model", "möd".encode()))
    assert renamed(form(SOUND), b"b", "m") == form(field("model", b"m"), SOUND)


MANY = [field("temperature", b"0")] * 1000


def outlined(body: bytes, size: int) -> tuple[bytes, FormOutline]:
    """The outline of a form that comes in pieces of this size."""
    outline = FormOutline(b"5ec4e7", b"b")
    for at in range(0, len(body), size):
        outline.feed(body[at : at + size])
    return outline.end(), outline


@pytest.mark.parametrize("size", [1, 7, 4096, 10_000_000])
@pytest.mark.parametrize("before", [b"", b"preamble\r\n"])
def test_files_are_cut_out_and_put_back(before, size):
    """However its bytes come: the outline is a small form, and filled it is the form to the last byte."""
    file = FILE + b"\r\n--\r\n--a" * 5000
    body = before + form(file, field("model", b"demo"), field("stream", b"true"), file, end=b"--b--\r\nepilogue")
    outline, outliner = outlined(body, size)
    assert outliner.pays
    assert len(outline) < 30_000
    assert peek_form(outline, b"b") == ("demo", True, None, None)
    assert b"".join(outliner.texts.filled(outline)) == body
    assert b"".join(outliner.texts.filled(renamed(outline, b"b", "other"))) == renamed(body, b"b", "other")


@pytest.mark.parametrize("end", [b"--b--", b"", b"\r", b"--b"])
def test_the_outline_of_a_form_that_is_not_whole(end):
    """It is as little of a form as what came."""
    body = form(field("model", b"demo"), field("file", b"x" * 50_000), end=b"")[:-2] + end
    outline, outliner = outlined(body, 1000)
    assert len(outline) < 20_000
    assert b"".join(outliner.texts.filled(outline)) == body


def test_a_form_has_a_bounded_number_of_parts():
    """To look at each takes time."""
    assert peek_form(form(field("model", b"m"), *MANY[1:]), b"b")[0] == "m"
    for body in (form(field("model", b"m"), *MANY), outlined(form(field("model", b"m"), *MANY * 9), 10_000)[0]):
        with pytest.raises(BadRequestError, match="more than 1000 parts"):
            peek_form(body, b"b")
    assert len(outlined(form(*MANY * 100), 10_000)[0]) < 100_000


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (form(field("model", b"m"), SOUND), 6),
        (form(SOUND, field("model", b"m"), end=b"--b--" + b" " * 20), 93),
        (form(SOUND, field("model", b"m")), -1),
    ],
)
def test_where_a_form_goes_is_known_once_its_model_is(body, says):
    """The part has to be whole, and what is behind it must have begun, but no other."""
    outline = FormOutline(b"5ec4e7", b"b")
    told = []
    for at in range(0, len(body), 10):
        outline.feed(body[at : at + 10])
        told.append(outline.says_where)
    assert told == [says >= 0 and at >= says for at in range(len(told))]


DISPOSED = b"Content-Disposition: form-data; "


def test_the_names_of_a_forms_fields():
    """In their order, as far as the form has come."""
    body = form(field("model", b"demo"), SOUND, DISPOSED + b"name=tag[]\r\n\r\nx", DISPOSED + b'name=""\r\n\r\nx')
    assert names_in(body, b"b") == ["model", "file", "tag[]", ""]
    assert names_in(body[: body.index(b"tag")], b"b") == ["model", "file"]
    assert names_in(b"preamble\r\n" + form(field("a", b""), end=b""), b"b") == ["a"]
    assert names_in(b"no form", b"b") == []
    assert names_as_json(body, b"b") == b'{"model":"","file":"","tag":"","":""}'


@pytest.mark.parametrize(
    "head",
    [
        b"X: y",
        b"Content-Disposition: form-data",
        DISPOSED + b"name*=utf-8''vllm_xargs",
        DISPOSED + b"name=a; name=vllm_xargs",
        DISPOSED + b"name=a; filename=b; name=vllm_xargs",
        DISPOSED + b'name="a\\"; name=\\"vllm_xargs"',
        DISPOSED + b'name="vllm%5Fxargs"',
        DISPOSED + b"name=a\r\n" + DISPOSED + b"name=vllm_xargs",
        b"Content-Disposition: form-data;\r\n name=vllm_xargs",
        b"--b\r\n" + DISPOSED + b"name=vllm_xargs",
        DISPOSED + b"name=a\r\nX: " + b"x" * 9000,
        DISPOSED + b"name=a\r\n\r\n--b\r\n" + DISPOSED + b"name=vllm_xargs",
        DISPOSED + b"name=a\r\n; name=vllm_xargs",
        DISPOSED + b"name=a\r\n ; name=vllm_xargs",
        DISPOSED + b"name=a\nContent-Disposition: form-data; name=vllm_xargs",
        DISPOSED + b"name=a\r\nContent-Disposition : form-data; name=vllm_xargs",
        DISPOSED + b'name = "vllm_xargs"',
        DISPOSED + b'name="vllm\\_xargs"',
        DISPOSED + b'name="vllm_xargs\0"',
        DISPOSED + b"name=<vllm_xargs>",
        DISPOSED + b'name=a; filename="b\\"; filename="; name=vllm_xargs; c="',
        DISPOSED + b"name*0=vllm; name*1=_xargs",
        b"form-data; name=vllm_xargs\r\n" + DISPOSED + b"name=a",
        DISPOSED + b"name=a\r\n\r\n" + b"x" * 20_000 + b"\n--b\n" + DISPOSED + b"name=vllm_xargs\n\nx",
        DISPOSED + b"name=a\r\n\r\n\r\n--b\n" + DISPOSED + b"name=vllm_xargs\n\nx",
        DISPOSED + b"name=a\r\n\r\n" + b"x" * 20_000 + b"\r--b\r" + DISPOSED + b"name=vllm_xargs\r\rx",
    ],
)
@pytest.mark.parametrize("size", [0, 1, 5, 1000])
def test_a_name_that_may_be_read_in_two_ways(head, size):
    """An engine's parser may find another name there than ours, in forms of all sizes, however they come."""
    body = form(field("model", b"demo"), head + b"\r\n\r\nx")
    with pytest.raises(BadRequestError, match="one plain name"):
        names_in(outlined(body, size)[0] if size else body, b"b")


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_boundary_in_the_midst_of_a_file(size):
    """It stays in the outline, and what is there is put back to the last byte."""
    body = form(field("model", b"m"), FILE + b"x" * 20_000 + b"\n--b" + b"--b" * 9000)
    outline, outliner = outlined(body, size)
    assert len(outline) < 20_000
    assert b"".join(outliner.texts.filled(outline)) == body
    with pytest.raises(BadRequestError, match="one plain name"):
        names_in(b"x\n--b\n" + body, b"b")


@pytest.mark.parametrize("name", ["model", "Model", " model", "model[]", "MODEL[a]"])
def test_a_form_with_one_model(name):
    """A key of certain models names no second one, whichever parser reads the form."""
    check_model(form(field("model", b"m"), field("models", b"n"), SOUND), b"b")
    with pytest.raises(BadRequestError, match="has to name its model once"):
        check_model(form(field("model", b"m"), SOUND, field(name, b"m")), b"b")


def test_a_form_without_the_models_plain_name():
    """As the model's name was put into it, another parser finds none but in what is alike."""
    with pytest.raises(BadRequestError, match="has to name its model once"):
        check_model(form(field("Model", b"m")), b"b")
    with pytest.raises(BadRequestError, match="has to name its model once"):
        check_model(form(DISPOSED + b'name=a; filename="b; name=model"\r\n\r\nm'), b"b")
    with pytest.raises(BadRequestError, match="one plain name"):
        check_model(form(DISPOSED + b'name = "model"\r\n\r\nm', field("model", b"m")), b"b")


@pytest.mark.parametrize("name", ["model", "Model"])
def test_a_form_that_was_sent_on_has_one_model(name):
    """Where its key may use certain models; else it may repeat itself."""
    body = form(field("model", b"m"), FILE + b"x" * 50_000, field(name, b"m"))
    for is_bound in (False, True):
        outline = FormOutline(b"5ec4e7", b"b")
        outline.texts.names_one_model = is_bound
        outline.feed(body[:30_000])
        outline.end()
        if is_bound:
            with pytest.raises(BadRequestError, match="has to name its model once"):
                outline.check(body[30_000:])
        else:
            outline.check(body[30_000:])


def test_names_of_forms_are_bounded():
    """Both what may come behind their end, and how many there are."""
    with pytest.raises(BadRequestError, match="behind its end"):
        names_in(form(field("a", b"")) + form(field("vllm_xargs", b"")), b"b")
    with pytest.raises(BadRequestError, match="more than 1000 parts"):
        names_in(form(*[field("a", b"")] * 1001), b"b")


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(
    ("rest", "flaw"),
    [
        (b"\r\n--b--\r\n", ""),
        (b"\r\n--b\r\n" + field("model", b"m") + b"\r\n--b--", ""),
        (b"\r\n--b\r\n" + field("model", b"n") + b"\r\n--b--", "two models"),
        (b"\r\n", "breaks off"),
        (b"\r\n--b\r\n", "breaks off"),
    ],
)
@pytest.mark.parametrize("parted_at", [30, 200])
def test_the_rest_of_a_form_that_was_sent_on(size, rest, flaw, parted_at):
    """Is looked at to its end, and nothing of it is kept."""
    first = form(field("model", b"m"), end=b"")
    body = first + b"--b\r\n" + FILE + b"x" * 50_000 + rest
    outline, at = FormOutline(b"5ec4e7", b"b"), len(first) + parted_at
    outline.feed(body[:at])
    assert outline.says_where
    assert body[:at] == b"".join(outline.texts.filled(outline.end()))
    last = max(at, len(body) - size)
    for begin in range(at, last, size):
        outline.feed(body[begin : min(begin + size, last)])
    if flaw:
        with pytest.raises(BadRequestError, match=flaw):
            outline.check(body[last:])
    else:
        outline.check(body[last:])
    assert outline.texts.size == 0


def test_a_form_that_was_sent_on_is_judged_before_its_end():
    """By all of its fields."""
    outline = FormOutline(b"5ec4e7", b"b")
    body = form(field("model", b"demo"), SOUND, field("vllm_xargs", b"1"))
    outline.feed(body[:300])
    outline.end()
    seen: list[bytes] = []
    outline.texts.judge = lambda whole: seen.extend(names_as_json(whole, b"b").split(b","))
    outline.check(body[300:])
    assert seen == [b'{"model":""', b'"file":""', b'"vllm_xargs":""}']
