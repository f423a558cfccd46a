"""What is installed where, and what is said meanwhile."""

import re
import shlex
import sys
from types import SimpleNamespace

import pytest

from scripts import set_up
from scripts.set_up import LLAMA_CPP, LLAMA_SERVER, MLX, Task, choose, progress


@pytest.mark.parametrize(
    ("system", "machine", "compiler", "extra"),
    [
        ("Darwin", "arm64", True, MLX),
        ("Darwin", "arm64", False, MLX),
        ("Darwin", "x86_64", True, LLAMA_CPP),
        ("Linux", "x86_64", True, LLAMA_CPP),
        ("Linux", "aarch64", True, LLAMA_CPP),
        ("Linux", "x86_64", False, LLAMA_SERVER),
    ],
)
def test_the_engine_that_suits_the_machine(system, machine, compiler, extra):
    """The first of the platform's profile; where that would have to be compiled and can't be, a wheel."""
    assert choose(system, machine, compiler=compiler).extra == extra


def test_without_a_compiler_it_is_said_what_is_taken_and_why():
    """And what would bring a compiler."""
    why = choose("Linux", "x86_64", compiler=False).why
    assert why.startswith("llama_server, a wheel: there is no C++ compiler here")
    assert "apt install build-essential" in why
    assert "xcode-select --install" in choose("Darwin", "x86_64", compiler=False).why


def test_vllm_is_named_but_not_installed_unasked():
    """It is gigabytes."""
    choice = choose("Linux", "x86_64", compiler=True, nvidia=True)
    assert choice.extra == LLAMA_CPP
    assert "pip install vllm" in choice.why
    assert "vllm" not in choose("Linux", "x86_64", compiler=True).why


def test_a_compiler_is_one_of_c_and_one_of_cpp(tmp_path, monkeypatch):
    """One of C alone won't do; the environment may name them."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def program(name: str) -> None:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)

    assert not set_up.has_compiler({})
    program("cc")
    assert not set_up.has_compiler({})
    program("mine++")
    assert set_up.has_compiler({"CXX": "mine++ -v"})
    program("g++")
    assert set_up.has_compiler({})


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("", ""),
        ("Processing ./.\n  Preparing metadata\n", ""),
        ("Collecting aiohttp<4,>=3.14 (from router)\n", "looking for aiohttp<4,>=3.14"),
        ("Collecting a\n  Downloading a/b-1.0-py3-none-any.whl (1.9 MB)\n", "downloading b-1.0-py3-none-any.whl"),
        ("Downloading b\nInstalling collected packages: a, b\n", "installing"),
        ("Collecting llama\n  [1/83] /usr/bin/c++ -x\n  [41/83] /usr/bin/c++ -y\n", "49 % compiled"),
        ("[  7%] Building CXX object a.o\n[ 45%] Linking CXX shared library b\n", "45 % compiled"),
        ("  [83/83] : && /usr/bin/c++\n", "100 % compiled"),
    ],
)
def test_how_far_a_job_is_stands_in_its_log(log, said):
    """In pip's words, ninja's and make's."""
    assert progress(log) == said


@pytest.fixture
def venv(tmp_path, monkeypatch):
    monkeypatch.setattr(set_up, "VENV", tmp_path)
    monkeypatch.setattr(set_up, "PYTHON", tmp_path / "bin/python")
    return tmp_path


def job(name: str, program: str) -> Task:
    return Task(name, (sys.executable, "-c", program))


def test_jobs_run_beside_each_other_and_are_counted_once_they_are_done(venv, capsys):
    """Each waits for the other here."""
    meet = (
        "import pathlib, time\n"
        f"mine, other = pathlib.Path({str(venv)!r}, {{}}), pathlib.Path({str(venv)!r}, {{}})\n"
        "mine.touch()\n"
        "while not other.exists(): time.sleep(0.01)\n"
    )
    assert set_up.run(job("one", meet.format("'a'", "'b'")), job("two", meet.format("'b'", "'a'"))) == []
    assert capsys.readouterr().out.startswith("  one and two: ")


def test_a_job_that_fails_ends_the_others_and_its_last_words_are_shown(venv, capsys):
    """With the place of all of them."""
    fails, waits = job("fails", "print('no room'); raise SystemExit(3)"), job("waits", "import time; time.sleep(600)")
    assert set_up.run(fails, waits) == [fails]
    assert waits.process.poll() is not None
    set_up.tell(fails)
    said = capsys.readouterr().err
    assert "    | no room\n" in said
    assert str(venv / "fails.log") in said


def test_progress_is_shown_while_a_job_runs(venv, monkeypatch):
    """A line now and then, where no terminal is."""
    monkeypatch.setattr(set_up, "EVERY", 0.0)
    go = venv / "go"
    program = (
        "import pathlib, time\n"
        "print('[1/4] c++', flush=True)\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\n"
    )
    shown: list[str] = []

    def show(text: str, **_: object) -> None:
        shown.append(text)
        if "25 % compiled" in text:
            go.touch()

    monkeypatch.setattr(set_up, "print", show, raising=False)
    assert set_up.run(job("llama.cpp", program)) == []
    assert "  llama.cpp: 25 % compiled" in shown


@pytest.fixture
def ran(venv, monkeypatch):
    """What would be installed: names of jobs and their words; `fails` names one that goes wrong."""
    seen = SimpleNamespace(jobs=[], fails="")

    def run(*jobs: Task) -> list[Task]:
        seen.jobs += [(each.name, [str(word) for word in each.command]) for each in jobs]
        for each in jobs:
            each.log = venv / "log"
            each.log.write_text("why\n")
        return [each for each in jobs if each.name == seen.fails]

    monkeypatch.setattr(set_up, "run", run)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr(set_up, "has_compiler", lambda _: seen.compiler)
    seen.compiler = True
    return seen


def words(ran: SimpleNamespace, name: str) -> list[list[str]]:
    return [command for job, command in ran.jobs if job == name]


def test_running_needs_no_linters_no_mlx_and_no_second_engine(ran):
    """They are what tests need."""
    assert set_up.set_up(dev=False) == 0
    named = {re.split(r"[^\w-]", word)[0] for _, command in ran.jobs for text in command for word in shlex.split(text)}
    assert not named & {"ruff", "mypy", "pytest", "mlx", "mlx-lm", "xllamacpp"}
    assert {"aiohttp", "llama-cpp-python", "numpy"} <= named
    assert [name for name, _ in ran.jobs] == ["llama.cpp", "packages", "the router"]
    assert words(ran, "llama.cpp")[0][0] == sys.executable
    assert f" -m venv {set_up.VENV} && " in words(ran, "packages")[0][-1]
    assert words(ran, "the router")[0][-2:] == ["-e", ".[llama-cpp]"]


def test_a_python_without_pip_makes_the_environment_first(ran, monkeypatch):
    """Whose pip does the rest."""
    monkeypatch.setattr(set_up, "find_spec", lambda _: None)
    assert set_up.set_up(dev=False) == 0
    assert [name for name, _ in ran.jobs] == ["an environment", "llama.cpp", "packages", "the router"]
    assert words(ran, "llama.cpp")[0][0] == words(ran, "packages")[0][0] == str(set_up.PYTHON)


@pytest.mark.usefixtures("venv")
def test_jobs_after_one_another():
    """The second doesn't begin where the first fails."""
    good, bad = job("good", "print('good')"), job("bad", "raise SystemExit('bad')")
    both = set_up.after(good, job("x y", "print('it\\'s done')"))
    assert set_up.run(both) == []
    assert both.said() == "good\nit's done\n"
    failing = set_up.after(bad, good)
    assert set_up.run(failing) == [failing]
    assert failing.said() == "bad\n"


def test_tests_get_all_of_it_at_once(ran):
    """Also those engines that the platform wouldn't take."""
    assert set_up.set_up(dev=True) == 0
    assert words(ran, "the router")[0][-2:] == ["-e", ".[llama-cpp,dev]"]
    assert "ruff" in words(ran, "packages")[0][-1]


def test_what_is_compiled_already_is_not_compiled_again(ran, venv):
    """A change of pyproject.toml costs seconds."""
    version = next(
        line.partition("==")[2].strip()
        for line in (set_up.CHECKOUT / "constraints.txt").read_text().splitlines()
        if line.startswith("llama_cpp_python==")
    )
    (venv / f"lib/python3.11/site-packages/llama_cpp_python-{version}.dist-info").mkdir(parents=True)
    assert set_up.set_up(dev=False) == 0
    assert not words(ran, "llama.cpp")


def test_a_compiler_that_can_not_compile_is_none(ran, capsys):
    """The wheel takes llama_cpp's place, and the reason is shown."""
    ran.fails = "llama.cpp"
    assert set_up.set_up(dev=False) == 0
    assert words(ran, "the router")[0][-2:] == ["-e", ".[llama-server]"]
    said = capsys.readouterr()
    assert "    | why" in said.err
    assert "llama_server, a wheel, takes its place" in said.out


@pytest.mark.parametrize("fails", ["an environment", "packages", "the router"])
def test_what_can_not_be_installed_ends_it(ran, capsys, fails, monkeypatch):
    """With its last words."""
    if fails == "an environment":
        monkeypatch.setattr(set_up, "find_spec", lambda _: None)
    ran.fails = fails
    assert set_up.set_up(dev=False) == 2
    assert "    | why" in capsys.readouterr().err


def test_tests_without_a_compiler(ran, capsys):
    """They are about what it makes, too."""
    ran.compiler = False
    assert set_up.set_up(dev=True) == 2
    assert "apt install build-essential" in capsys.readouterr().err
    assert not ran.jobs
