"""`import`: what is printed, what is written, and what stays as it is."""

import re
from pathlib import Path

import pytest

from router.cli.main import main
from router.config import load
from tests.running import REPOSITORY

SWAP = """\
models:
  qwen:
    cmd: llama-server --port ${PORT} -m models/qwen.gguf
    ttl: 300
    aliases: [gpt-4o-mini]
    unlisted: true
peers:
  far: {proxy: "https://far.example/api", apiKey: sk-secret-of-far, models: [big]}
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "swap.yaml"
    path.write_text(SWAP)
    return path


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(["import", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.usefixtures("file")
def test_without_an_output_it_is_printed(capsys):
    """And what is left out, beside it."""
    code, out, err = run(capsys, "swap.yaml")
    assert code == 0
    assert set(load(Path("router.yaml"), {}, out.encode()).config.routes) == {"gpt-4o-mini", "big"}
    assert "models.qwen.unlisted (line 6)" in err
    assert "FAR_API_KEY" in err
    assert "sk-secret-of-far" not in out + err
    assert [each.name for each in Path().iterdir()] == ["swap.yaml"]


def test_it_is_written_once(file, capsys):
    """What is there stays, unless --force says otherwise; then it stays beside."""
    assert run(capsys, "swap.yaml", "--output", "router.yaml")[0] == 0
    first = Path("router.yaml").read_bytes()
    code, out, err = run(capsys, "swap.yaml", "--output", "router.yaml")
    assert (code, out) == (2, "")
    assert "--force" in err
    assert Path("router.yaml").read_bytes() == first
    file.write_text(SWAP.replace("300", "600"))
    assert run(capsys, "swap.yaml", "--output", "router.yaml", "--force")[0] == 0
    assert "unload_after: 10m" in Path("router.yaml").read_text()
    assert Path("router.yaml.bak").read_bytes() == first


@pytest.mark.usefixtures("file")
def test_what_is_written_is_what_check_accepts(capsys):
    """It says how to check it, and that does."""
    _, out, _ = run(capsys, "swap.yaml", "--output", "new.yaml")
    (command,) = re.findall(r"python -m router (check --config new\.yaml)", out)
    assert main(command.split()) == 0
    assert "can be used" in capsys.readouterr().out


@pytest.mark.usefixtures("file")
def test_a_variable_that_is_set_is_not_asked_for(capsys, monkeypatch):
    monkeypatch.setenv("FAR_API_KEY", "x")
    assert "Set before the start" not in run(capsys, "swap.yaml")[2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("backends: []\n", "no configuration that is known here"),
        ("FROM llama3.2\nPARAMETER temperature 1\n", "For Ollama's models say --ollama"),
        ("models: [\n", "no valid YAML"),
        ("- a\n", "at the top of the file"),
        ("healthCheckTimeout: 5\nmodels:\n  a: {cmd: some-server}\n", "nothing of it can be used here"),
    ],
)
def test_what_can_not_be_read_is_said(tmp_path, monkeypatch, capsys, text, said):
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(text)
    code, out, err = run(capsys, "a.yaml", "--output", "router.yaml")
    assert (code, out) == (2, "")
    assert said in err
    assert not Path("router.yaml").exists()


def test_a_file_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    said = run(capsys, "a.yaml")[2]
    assert said.rstrip().endswith(f"there is no such file in {tmp_path}")


@pytest.mark.usefixtures("file")
def test_check_and_start_name_the_command(capsys):
    """Given such a file."""
    for arguments in (["check", "--config", "swap.yaml"], ["--config", "swap.yaml"]):
        assert main(arguments) == 2
        assert "python -m router import" in capsys.readouterr().err


def test_our_own_configuration_is_none_of_others(capsys):
    assert run(capsys, str(REPOSITORY / "router.yaml"))[0] == 2
