from launchers.output import KEPT_LINES, MAX_LINE, Output, secrets_of


def test_what_is_said_is_kept():
    output = Output()
    for piece in (b"one\ntw", b"o\n\n", b"three"):
        output.feed(piece)
    assert output.last_lines == ("one", "two", "three")


def test_only_the_last_lines_are_kept():
    output = Output()
    output.feed(b"".join(b"%d\n" % n for n in range(1000)))
    assert output.last_lines == tuple(str(n) for n in range(1000 - KEPT_LINES, 1000))


def test_a_line_without_end_is_cut():
    output = Output()
    for _ in range(100):
        output.feed(b"x" * 1000)
    assert list(output.last_lines) == ["x" * MAX_LINE]
    output.feed(b"\nnext\n")
    assert list(output.last_lines) == ["x" * MAX_LINE, "next"]


def test_the_steps_of_a_progress_bar_are_lines():
    output = Output()
    output.feed(b" 10%\r 20%\r\n")
    assert output.last_lines == (" 10%", " 20%")


def test_bytes_that_are_no_text_do_no_harm():
    output = Output()
    output.feed(b"\xff\xfe ok\n")
    assert output.last_lines[0].endswith(" ok")


def test_the_first_error_is_known_however_much_is_said_after_it():
    output = Output()
    output.feed(b"loading\nValueError: no room\n" + b"cleaning up\n" * 1000 + b"RuntimeError: see above")
    assert output.reason == "ValueError: no room"
    assert len(output.last_lines) == KEPT_LINES


def test_last_words_without_a_line_end_are_a_reason_too():
    output = Output()
    output.feed(b"loading\nno such model")
    assert output.reason == output.reason == "no such model"


def test_secrets_are_not_told():
    """Neither in its last lines nor in the reason; short ones and other variables are words as any."""
    env = {"HF_TOKEN": "hf_abcdef", "API_KEY": "hf_abcdef-longer", "HF_HOME": "/models/here", "X_KEY": "abc"}
    hidden = secrets_of(env, "0123456789")
    assert sorted(hidden) == ["0123456789", "hf_abcdef", "hf_abcdef-longer"]
    output = Output(hidden)
    output.feed(b"ERROR: 0123456789 hf_abcdef-longer at /models/here, abc\nbehind hf_abcdef")
    assert output.last_lines == ("ERROR: (hidden) (hidden) at /models/here, abc", "behind (hidden)")
    assert output.reason.endswith("(hidden) (hidden) at /models/here, abc")
