import pytest

from router.cli.options import parse, parser
from router.cli.slips import slip

PORT = "there is no option --port: server.port in router.yaml says it, or ROUTER_SERVER__PORT=9000 before the command"
LEVEL = "there is no option -v: logging.level in router.yaml says it, or ROUTER_LOGGING__LEVEL=debug before the command"
START = "the router starts without one: python -m router --config router.yaml"


ALL = (
    "doctor, check, schema, plan, ps, load, unload, status, requests, usage, keys, cancel, explain, logs, events, top, "
    "restart, drain, undrain, scale, pin, unpin, models, init, import, pull, run, connect, key and service"
)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--port 9000", PORT),
        ("--port=9000", PORT),
        ("check --port 9000", PORT),
        ("-v", LEVEL),
        ("--model x", "there is no option --model: backends[].launch.model in router.yaml says it"),
        ("--confg x", "there is no option --confg; did you mean --config?"),
        ("check --confg x", "there is no option --confg; did you mean --config?"),
        ("-c x", "there is no option -c; did you mean --config?"),
        ("ps --jsn", "there is no option --jsn; did you mean --json?"),
        ("--wibble", "there is no option --wibble; `python -m router --help` lists all"),
        ("start", f"there is no command start: {START}"),
        ("serve --port 1", f"there is no command serve: {START}"),
        ("chekc", "there is no command chekc; did you mean check?"),
        ("validate", "there is no command validate; did you mean check?"),
        ("wibble", f"there is no command wibble; there are {ALL}"),
        ("my.yaml", "my.yaml is no command; to start the router with this file: python -m router --config my.yaml"),
        ("check -1", "there is no option -1; `python -m router check --help` lists all"),
        ("scale -x", "there is no option -x; `python -m router scale --help` lists all"),
        ("check my.yaml", "my.yaml: name the file with --config my.yaml"),
    ],
)
def test_a_slip_is_told_with_what_was_meant(words, said, capsys):
    """In one sentence; and nothing is started."""
    with pytest.raises(SystemExit) as left:
        parse(words.split())
    assert left.value.code == 2
    assert capsys.readouterr().err == f"python -m router: {said}\n"


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--config start",
        "--conf x",
        "check --config=x",
        "--config x check",
        "plan --config new.yaml --running old.yaml",
        "load a b --url http://h --key k",
        "unload --all",
        "load -- --odd",
        "scale demo -1",
        "scale demo -.5",
        "--version",
        "doctor -h",
    ],
)
def test_what_is_right_is_no_slip(words):
    """Values of options are no commands, and options may be given by their beginnings."""
    assert slip(parser(), words.split()) == ""
