import pytest

from router.cli.options import parser


@pytest.mark.parametrize(
    ("arguments", "command", "config"),
    [
        ((), None, "router.yaml"),
        (("--config", "a.yaml"), None, "a.yaml"),
        (("doctor",), "doctor", "router.yaml"),
        (("doctor", "--config", "a.yaml"), "doctor", "a.yaml"),
        (("--config", "a.yaml", "doctor"), "doctor", "a.yaml"),
    ],
)
def test_the_command_line(arguments, command, config):
    """The router is started without a command, as ever."""
    options = parser().parse_args(arguments)
    assert (options.command, str(options.config)) == (command, config)


@pytest.mark.parametrize("words", ["scale demo many", "logs -n 1.5", "requests --limit x", "explain demo --size x"])
def test_a_number_that_is_none_is_told_plainly(words, capsys):
    """Not as Python calls it."""
    with pytest.raises(SystemExit):
        parser().parse_args(words.split())
    assert f"{words.split()[-1]!r} is no whole number" in capsys.readouterr().err
