"""Commands that start nothing."""

import json
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest

from router.cli.main import main, settle_home
from router.config.reading.files import BEGINNING
from router.config.schema import schema


@pytest.fixture
def file(tmp_path):
    return tmp_path / "router.yaml"


def test_check_says_that_a_file_can_be_used(file, capsys):
    """Exit code 0, and how much is in it."""
    file.write_text("backends: [{name: a, launch: {model: m, load: on_demand}}]\nroutes: {x: a}\n")
    assert main(["check", "--config", str(file)]) == 0
    said = capsys.readouterr()
    first, second = said.out.splitlines()
    assert first == f"{file} can be used. Backends: 1, routes: 1."
    assert second.startswith("a: m, takes what isn't known; its model is not on this disk")
    assert said.err == ""


def test_check_says_what_this_machine_lacks(file, capsys):
    """Exit code 1, as of doctor: the file itself may be right elsewhere. Each at its place, and nothing is started."""
    (file.parent / "bad.gguf").write_text("<html>")
    file.write_text(
        "backends:\n  - {name: a, launch: {model: ./gone.gguf}}\n  - {name: b, launch: {model: bad.gguf}}\n"
        "  - {name: c, launch: {model: bad.gguf, args: {port: 9999}}}\n"
    )
    assert main(["check", "--config", str(file)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert lines[0].startswith(f"{file}:2:24 backends[0].launch.model: {file.parent}/gone.gguf: there is no such file")
    assert lines[1:3] == ["      - {name: a, launch: {model: ./gone.gguf}}", " " * 27 + "^"]
    assert lines[3].startswith(f"{file}:4:48 backends[2].launch.args.port: port can't be set for llama_cpp")
    assert lines[6].startswith(f"{file}:3:24 backends[1].launch.model: {file.parent}/bad.gguf is no GGUF file: it is a")


def test_check_says_which_arguments_the_engine_lacks(file, capsys):
    """With the line and what was meant; but the engine may know better, so the file can be used."""
    (file.parent / "m.gguf").write_bytes(b"GGUF" + bytes(60))
    launch = "{model: m.gguf, engine: llama_cpp, gpus: 0, args: {n_ctx: 64, n_batsh: 8}}"
    file.write_text(f"backends:\n  - {{name: a, launch: {launch}}}\n")
    assert main(["check", "--config", str(file)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[0].startswith(f"{file} can be used.")
    assert re.fullmatch(
        re.escape(f"{file}:2:85 backends[0].launch.args.n_batsh: llama_cpp ")
        + r"\S+ lists no such option; did you mean 'n_batch'\?",
        lines[-3],
    )
    assert lines[-2:] == [f"      - {{name: a, launch: {launch}}}", " " * 88 + "^"]


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["check", "--help"]])
def test_what_can_not_be_printed_is_told_by_the_exit_code(words):
    """As of all commands."""
    command = [sys.executable, "-m", "router", *words]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) == (74, b"")


def test_check_of_a_profile_that_there_is_not(file, capsys):
    """It is a mistake of the file."""
    file.write_text("profile: tpu\nbackends: [{url: 'http://a'}]\n")
    assert main(["check", "--config", str(file)]) == 1
    assert capsys.readouterr().err.startswith(f"{file}:1:1 profile: there is no profile tpu")


def test_check_says_what_is_open(file, capsys):
    """It can be used, and perhaps by more than was meant."""
    file.write_text("backends: [{url: 'http://a'}]\nserver: {host: '::'}\nauth: {open: true}\n")
    assert main(["check", "--config", str(file)]) == 0
    _, told = capsys.readouterr().out.splitlines()
    assert told.startswith("who: everybody who reaches :: may use the models (auth.open)")


def test_check_says_all_that_is_wrong(file, capsys):
    """Exit code 2, and every problem on a line, with the line that it is about."""
    file.write_text("backends: [{url: 'http://a', wieght: 1}]\nservr: 1\n")
    assert main(["check", "--config", str(file)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        f"{file}:1:30 backends[0].wieght: unknown key; did you mean 'weight'?",
        "    backends: [{url: 'http://a', wieght: 1}]",
        "                                 ^",
        f"{file}:2:1 servr: unknown key; did you mean 'server'?",
        "    servr: 1",
        "    ^",
    ]


def test_check_of_no_file(file, capsys):
    """One sentence, which says what to do; so do the other commands."""
    for words in (["check"], [], ["plan"]):
        assert main([*words, "--config", str(file)]) == 2
        assert capsys.readouterr().err == f"{file}: there is no such file in {file.parent}; {BEGINNING}\n"


def test_no_router_yaml_in_this_folder(tmp_path, monkeypatch, capsys):
    """The folder is named, as people stand in another than they think."""
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2
    assert capsys.readouterr().err == f"router.yaml: there is no such file in {tmp_path}; {BEGINNING}\n"


def test_schema_is_printed(capsys):
    """It is the JSON Schema, and needs no file."""
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()


def test_a_router_at_work_imports_nothing_of_the_other_commands():
    """What they need would be memory that nothing uses."""
    code = "import sys, router.cli.main, router.cli.run; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "router.app" in modules
    assert [name for name in modules if name.startswith(("router.cli", "router.doctor", "router.config.schema"))] == [
        "router.cli", "router.cli.exits", "router.cli.mistakes", "router.cli.option_groups", "router.cli.slips",
        "router.cli.using_options", "router.cli.options", "router.cli.main", "router.cli.lock", "router.cli.run"
    ]  # fmt: skip


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}])
def test_an_empty_home_is_none(environ, monkeypatch):
    """Nothing is written into /, and what is written in ~ is found again."""
    settle_home(environ)
    assert environ == {"HOME": pwd.getpwuid(os.getuid()).pw_dir}

    def unknown(_):
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    nobodys: dict[str, str] = {}
    settle_home(nobodys)
    assert nobodys == {"HOME": "/"}


def test_a_home_that_is_said_stays():
    environ = {"HOME": "/somewhere"}
    settle_home(environ)
    assert environ == {"HOME": "/somewhere"}
