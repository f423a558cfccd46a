import argparse

import pytest

from scripts.instruments.client import LoadTarget
from scripts.stress import options
from scripts.stress.distribution import Distribution
from scripts.stress.prompts import ChatTurn
from scripts.stress.tally import Slo


@pytest.fixture
def asked():
    """What flags come to."""
    return lambda *flags: options.parser("About.", "its own")[0].parse_args(flags)


def test_the_defaults_suit_make_run(asked):
    """The router's own address and its demo model, streamed."""
    plain = asked()
    assert options.targets(plain) == {LoadTarget("base", "http://127.0.0.1:8001"): "demo"}
    shape = options.shape(plain)
    assert (shape.stream, shape.leave, shape.shared, shape.unique) == (1.0, 0.0, 0.0, False)
    assert (plain.slo, plain.max_p99_ttft, plain.max_failures, plain.max_drift, plain.rounds) == (None,) * 5


def test_each_flag(asked, tmp_path):
    """Is read into what it means."""
    file = tmp_path / "prompts.txt"
    file.write_text("What?\nWhy?\n")
    flags = (
        "--base-url http://h:1/v1 --model m --api-key k --compare other=http://h:2#n --prompt 9 --answer normal:8:2"
        " --turns uniform:1:4 --shared 50%:30 --stream 0.5 --leave 10% --think exponential:2s --unique"
        " --slo ttft=2s,tpot=100ms --max-p99-ttft 1500ms --max-failures 0 --endpoint completions --timeout 5s"
    )
    it = asked(*flags.split(), "--prompts", str(file), "--extra", '{"ignore_eos": true}')
    assert options.targets(it) == {
        LoadTarget("base", "http://h:1/v1", "k"): "m",
        LoadTarget("other", "http://h:2", "k"): "n",
    }
    shape = options.shape(it)
    assert (shape.shared, shape.shared_words, shape.stream, shape.leave, shape.unique) == (0.5, 30, 0.5, 0.1, True)
    assert (shape.answer, shape.think) == (Distribution("normal", 8, 2), Distribution("exponential", 2))
    assert shape.conversations == ((ChatTurn("What?"),), (ChatTurn("Why?"),))
    assert (it.slo, it.max_p99_ttft, it.max_failures) == (Slo(ttft=2, tpot=0.1), 1.5, 0)
    asking = options.asking(it, "m")
    assert (asking.endpoint, asking.extra, asking.timeout) == ("completions", {"ignore_eos": True}, 5)


WRONG = [
    ("--compare", "http://h:2", "expected NAME=URL"),
    ("--compare", "x=ftp://h", "expected a URL"),
    ("--slo", "speed=3s", "ttft, tpot, whole"),
    ("--slo", "ttft=3", "needs a unit"),
    ("--prompt", "zipf:3", "lognormal"),
    ("--stream", "2", "from 0 to 1"),
    ("--prompts", "/nowhere", "No such file"),
    ("--extra", "[1]", "JSON object"),
    ("--max-p99-ttft", "2", "2"),
]


@pytest.mark.parametrize(("flag", "value", "says"), WRONG)
def test_what_is_wrong_is_said(asked, capsys, flag, value, says):
    """In a sentence, with exit code 2."""
    with pytest.raises(SystemExit, match="2"):
        asked(flag, value)
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("names", [["base"], ["x", "x"]])
def test_targets_have_names_of_their_own(asked, names):
    """Else their figures would be mixed up."""
    flags = [word for name in names for word in ("--compare", f"{name}=http://h")]
    with pytest.raises(ValueError, match="names that differ"):
        options.targets(asked(*flags))


def test_the_key_is_not_told(asked):
    """Neither among the options nor in the command line that stand in the report."""
    assert "secret" not in str(options.shown(asked("--api-key", "secret")))
    assert options.command(["x.py", "--api-key", "secret", "--seed", "1"]) == "x.py --api-key … --seed 1"
    assert options.command(["x.py", "--api-key=secret"]) == "x.py --api-key=…"


@pytest.mark.parametrize("read", [options.count, options.counts, options.rates])
@pytest.mark.parametrize("text", ["", "0", "1,-1", "a", "1,,2"])
def test_numbers_are_above_0(read, text):
    """Or it is said what was expected."""
    with pytest.raises(argparse.ArgumentTypeError, match=r".+"):
        read(text)


def test_numbers():
    """Whole ones of clients, any of rates."""
    assert (options.count("3"), options.counts("1,8"), options.rates("0.5,2")) == (3, [1, 8], [0.5, 2.0])
    with pytest.raises(argparse.ArgumentTypeError):
        options.counts("0.5")
