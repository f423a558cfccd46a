"""Bodies that aren't whole: by a clock and bytes alone."""

from functools import partial

import pytest

from router.core.errors import BadRequestError, RequestTimeoutError, UnavailableError
from router.core.form import FormOutline
from router.core.outline import LARGE, Outline
from router.proxy.uploads import BODY_TIMEOUT, LEAST_RATE, SOON, STEP, WHILE_SENT, WITHIN, Upload, Uploads


class Scene:
    """Some uploads, and whom of them was told what."""

    def __init__(self, budget=100_000):
        self.uploads = Uploads(b"5ec4e7")
        self.uploads.budget = budget
        self.told = {}

    def begin(self, name, now=0.0):
        """Begin one."""
        return Upload(self.uploads, lambda error: self.told.__setitem__(name, error), now)


def test_a_body_is_whole_however_it_is_cut():
    scene = Scene()
    upload = scene.begin("a")
    pieces = [b"a", b"bc", b"d" * 5000, b"e", b"f" * 4096, b"g" * 8000, b"h"]
    for piece in pieces:
        upload.add(piece, 0.0)
    assert scene.uploads.held == upload.size
    assert upload.whole(b"!") == (b"".join(pieces) + b"!", None)
    upload.close()
    assert (scene.uploads.held, scene.uploads.under_way, scene.told) == (0, set(), {})


@pytest.mark.parametrize("size", [1000, 5000, 200_000])
def test_a_large_body_becomes_its_outline(size):
    """Where it may: from when it is large, however it is cut; crumbs are joined to pieces first."""
    scene = Scene(budget=10 * LARGE)
    body = b'{"model":"m","prompt":"%s"}' % (b"x" * 2 * LARGE)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    for outlines in (True, False):
        outliner = partial(Outline, b"5ec4e7") if outlines else None
        upload = Upload(scene.uploads, lambda error: pytest.fail(error.message), 0.0, outliner)
        for piece in pieces[:-1]:
            upload.add(piece, 0.0)
        outline, texts = upload.whole(pieces[-1])
        assert (texts is not None, len(outline) < 1000) == (outlines, outlines)
        assert body == (outline if texts is None else b"".join(texts.filled(outline)))
    assert scene.uploads.held == 0


def test_crumbs_are_no_move():
    """A step is."""
    scene = Scene()
    upload = scene.begin("a")
    upload.add(b"x" * (STEP - 1), BODY_TIMEOUT)
    assert not upload.overdue(BODY_TIMEOUT)
    assert upload.overdue(BODY_TIMEOUT + 1)
    upload.add(b"x", BODY_TIMEOUT)
    assert not upload.overdue(2 * BODY_TIMEOUT)
    scene.uploads.sweep(2 * BODY_TIMEOUT)
    assert not scene.told
    scene.uploads.sweep(2 * BODY_TIMEOUT + 1)
    assert isinstance(scene.told["a"], RequestTimeoutError)
    assert not scene.uploads.under_way


def test_it_is_bounded_in_all():
    """However steadily it moves; a longer one may take longer."""
    scene = Scene(budget=10 * STEP)
    upload = scene.begin("a")
    upload.add(b"x" * STEP, WITHIN)
    most = WITHIN + STEP / LEAST_RATE
    assert [upload.overdue(most), upload.overdue(most + 0.1)] == [False, True]


def test_who_stands_still_makes_room():
    """Those that moved longest ago, and no more of them than it takes; one that has just begun isn't slow."""
    scene = Scene()
    for now, name in enumerate("abc"):
        scene.begin(name, now).add(b"x" * 33_000, float(now))
    assert not scene.told
    scene.begin("d", 9.0).add(b"x" * 5000, 9.0)
    assert scene.told.keys() == {"a"}
    assert isinstance(scene.told["a"], UnavailableError)
    assert scene.uploads.held == 71_000


@pytest.mark.parametrize("error", [UnavailableError("no")])
def test_all_are_refused(error):
    scene = Scene()
    for name in "ab":
        scene.begin(name).add(b"x", 0.0)
    scene.uploads.refuse_all(error)
    assert scene.told == {"a": error, "b": error}
    assert scene.uploads.held == 0


def large_form(seconds=0.0):
    """An upload of a form of 2 MiB in so many seconds."""
    begins = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b\r\n\r\n'
    scene = Scene(budget=10 * LARGE)
    upload = Upload(scene.uploads, lambda error: pytest.fail(error.message), 0.0, partial(FormOutline, b"5ec4e7", b"b"))
    upload.add(begins, 0.0)
    upload.add(b"x" * 2 * LARGE, seconds)
    return scene, upload, begins + b"x" * 2 * LARGE


def test_a_large_form_goes_on_before_its_end():
    """What follows goes to who takes it, and is kept for others; small pieces are joined."""
    scene, upload, body = large_form()
    assert upload.goes_on(300_000, 0.0)
    outline, texts = upload.go_on(300_000, 0.0, lambda: False)
    assert not upload.goes_on(300_000, 0.0)
    taken: list[bytes] = []
    texts.takers.append(taken.append)
    rest = [b"y" * 199_000, b"z" * 1000, b"!" * 100_000]
    for piece in rest[:-1]:
        upload.add(piece, 0.0)
    assert taken == rest[:1]
    assert scene.uploads.held == upload.size == len(body) + 200_000
    with pytest.raises(BadRequestError, match="breaks off"):
        upload.check(rest[-1])
    upload.whole(rest[-1])
    assert (b"".join(taken), texts.missing, scene.uploads.held) == (b"".join(rest), 0, 0)
    assert b"".join(texts.filled(outline)) == body + b"".join(rest)


@pytest.mark.parametrize("gives", [True, False])
def test_a_form_that_comes_slowly_once_it_is_sent_on(gives: bool):
    """Gives its place back, if it can: the rest is gathered, and all of it is given at the end."""
    scene, upload, body = large_form()
    asked: list[int] = []

    def take_back() -> bool:
        asked.append(1)
        return gives

    _, texts = upload.go_on(300_000, 0.0, take_back)
    taken: list[bytes] = []
    texts.takers.append(taken.append)
    scene.uploads.sweep(WHILE_SENT)
    assert not asked
    for _ in range(2):
        scene.uploads.sweep(WHILE_SENT + 1)
    assert len(asked) == (1 if gives else 2)
    upload.add(b"y" * 200_000, WHILE_SENT)
    last = b"z" * 99_995 + b"\r\n--b--\r\n"
    upload.check(last)
    outline, told = upload.whole(last)
    assert told is texts
    assert len(b"".join(taken)) == (0 if gives else 300_004)
    assert b"".join(texts.filled(outline)) == body + b"y" * 200_000 + last


@pytest.mark.parametrize(("seconds", "goes_on"), [(SOON, True), (SOON + 0.1, False)])
def test_a_form_goes_on_if_the_rest_comes_soon(seconds, goes_on):
    """By the pace of what has come. It is asked again with each MiB."""
    _, upload, body = large_form(seconds)
    assert upload.goes_on(len(body), seconds) is goes_on
    assert not upload.goes_on(0, seconds)
    upload.add(b"x" * LARGE, seconds)
    assert upload.goes_on(0, seconds)


def test_a_body_that_is_no_large_form_does_not_go_on():
    scene = Scene(budget=10 * LARGE)
    upload = Upload(scene.uploads, lambda error: pytest.fail(error.message), 0.0, partial(Outline, b"5ec4e7"))
    assert not upload.goes_on(0, 0.0)
    upload.add(b'{"model":"m","prompt":"%s' % (b"x" * 2 * LARGE), 0.0)
    assert not upload.goes_on(0, 0.0)
