import pytest

from launchers.output import KEPT_LINES, MAX_LINE, Output, secrets_of, without
from launchers.spec import LaunchSpec


def spec(env=None, args=None):
    return LaunchSpec("a", "command", "", "a", args or {}, env or {}, 1.0)


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
    """Neither in its last lines nor in the reason."""
    env = {"HF_TOKEN": "hf_abcdef", "API_KEY": "hf_abcdef-longer", "HF_HOME": "/models/here", "X_KEY": "abc"}
    hidden = secrets_of(spec(env), "0123456789", {})
    assert sorted(hidden) == ["0123456789", "hf_abcdef", "hf_abcdef-longer"]
    output = Output(hidden)
    output.feed(b"ERROR: 0123456789 hf_abcdef-longer at /models/here, abc\nbehind hf_abcdef")
    assert output.last_lines == ("ERROR: (hidden) (hidden) at /models/here, abc", "behind (hidden)")
    assert output.reason.endswith("(hidden) (hidden) at /models/here, abc")


@pytest.mark.parametrize(
    ("env", "args", "inherited", "hidden"),
    [
        ({"SEC": "FAILSECRET11"}, {}, {}, ["FAILSECRET11"]),
        ({"SEC": "correct horse"}, {}, {}, ["correct horse"]),
        ({"A": "10.3.0", "B": "FLASH_ATTN", "C": "~/models/x.gguf", "D": "False", "E": "0, 1, 2"}, {}, {}, []),
        ({"CUDA_VISIBLE_DEVICES": "GPU-1b2c3d4e"}, {}, {}, []),
        ({"A_TOKEN": "/looks/like-a-path"}, {}, {}, ["/looks/like-a-path"]),
        ({"TLS": "---a---\nline one\nline two\n"}, {}, {}, ["---a---", "line one", "line two"]),
        ({"A": 'with "quotes"'}, {}, {}, ['with "quotes"', 'with \\"quotes\\"']),
        ({}, {"api-key": "sk-abcdef", "port": "123456", "more": {"hf_token": "hf_abc"}}, {}, ["hf_abc", "sk-abcdef"]),
        ({}, {"cmd": ["run", "--api-key", "sk-abc", "--token=tk-abc", "--model", "abcdef"]}, {}, ["sk-abc", "tk-abc"]),
        ({}, {}, {"OPS_KEY": "ops-secret", "SSH_AUTH_SOCK": "/run/x/agent.1", "LANG": "en_US.UTF-8"}, ["ops-secret"]),
    ],
)  # fmt: skip
def test_what_an_engine_knows_that_is_secret(env, args, inherited, hidden):
    """All that a variable of its own says but plain words, and what is named like a secret."""
    assert sorted(secrets_of(spec(env, args), "", inherited)) == hidden


def test_the_beginning_of_a_secret_is_not_told_either():
    """Of a line that was cut, or that isn't whole yet."""
    output = Output(["s3cr3t-words"])
    output.feed(b"x" * (MAX_LINE - 6) + b"s3cr3t-words\nit is s3cr3t")
    assert output.last_lines == ("x" * (MAX_LINE - 6) + "(hidden)", "it is (hidden)")
    assert output.reason == "it is (hidden)"
    assert without(["s3cr3t-words"], "it is s3cr3t") == "it is s3cr3t"
