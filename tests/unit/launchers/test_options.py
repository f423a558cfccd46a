"""Which options the installed engines have."""

import sys
from dataclasses import replace
from importlib.util import find_spec

import pytest

from launchers.engines import ENGINES, flags
from launchers.engines.base import Options
from launchers.engines.command import AnyCommand
from launchers.options import options_of

KNOWN = {
    "llama_cpp": {"n_ctx", "embedding", "type_k"},
    "llama_server": {"ctx-size", "parallel", "metrics", "n-gpu-layers", "temp"},
    "mlx": {"max-tokens", "decode-concurrency", "pipeline"},
    "vllm": {"max-num-seqs"},
}


@pytest.mark.parametrize("name", ENGINES)
def test_the_options_of_an_installed_engine(name):
    """Those that its own command names are among them; of one that isn't installed, nothing is known."""
    engine = ENGINES[name]
    known = options_of(engine, sys.executable)
    if find_spec(engine.module) is None:
        assert known == frozenset()
    else:
        assert known >= KNOWN[name] | {"port"}
        assert "nosuch" not in known


def test_a_program_is_asked(tmp_path):
    """It prints them; one that hasn't the option of every engine isn't one that was meant."""
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\necho '-c, --ctx-size N  see --port'; echo '--no-mmap' >&2")
    program.chmod(0o755)
    assert options_of(ENGINES["llama_server"], str(program)) == {"ctx-size", "port"}
    program = tmp_path / "llama-server-2"
    program.write_text("#!/bin/sh\necho --ctx-size")
    program.chmod(0o755)
    assert options_of(ENGINES["llama_server"], str(program)) == frozenset()


def test_what_can_not_be_asked():
    """A program that is gone, a file that isn't there, a command of which nothing is known."""
    engine = ENGINES["mlx"]
    assert options_of(ENGINES["llama_server"], "/gone/llama-server") == frozenset()
    assert options_of(AnyCommand(), "/bin/true") == frozenset()
    gone = Options(engine.options.pattern, files=("gone.py",))  # type: ignore[union-attr]
    assert options_of(replace(engine, options=gone), sys.executable) == frozenset()  # type: ignore[type-var]
    assert options_of(replace(engine, module="no_such_module"), sys.executable) == frozenset()  # type: ignore[type-var]


@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed")
def test_names_that_stand_for_others_are_known():
    """Or an argument would be doubted that the server takes."""
    known = options_of(ENGINES["llama_server"], sys.executable)
    wrapper = {"ctx-size", "batch-size", "ubatch-size", "threads", "flash-attn", "mmproj", "cache-type-k"}
    assert wrapper <= known
    assert {flags.LONG[each] for each in ("ngl", "c", "np", "fa")} <= known


@pytest.mark.skipif(find_spec("vllm") is not None, reason="the router's own Python has vllm")
def test_a_program_of_another_environment(tmp_path):
    """Its package is beside it, whatever link leads to it."""
    package = tmp_path / "env/lib/python3.12/site-packages/vllm"
    for file, text in {
        "engine/arg_utils.py": 'class EngineArgs:\n    max_model_len: int = 1\n    def f():\n        add("--model")\n',
        "entrypoints/launchers/cli_args.py": "class FrontendArgs:\n    port: int = 8000\n",
    }.items():
        (package / file).parent.mkdir(parents=True)
        (package / file).write_text(text)
    (tmp_path / "env/bin").mkdir()
    (tmp_path / "env/bin/vllm").touch()
    link = tmp_path / "vllm"
    link.symlink_to("env/bin/vllm")
    assert options_of(ENGINES["vllm"], str(link)) == {"max_model_len", "model", "port"}
