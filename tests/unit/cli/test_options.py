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
