"""`python -m router doctor` as a person meets it: what it says, and its exit code."""

import os
import socket

from tests.fakes.engine import FakeEngine
from tests.running import RunningRouter


async def doctor(folder, config: str, *, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Run it on a router.yaml of these words; give its exit code and its words."""
    async with RunningRouter(folder, config, "doctor", "--config", str(folder / "router.yaml"), env=env) as router:
        code = await router.exit_code()
        assert not router.engines
    assert "Traceback" not in router.said
    return code, router.said


async def test_a_router_yaml_that_is_right(tmp_path):
    """Facts, profile, engines, models, servers elsewhere and the port; nothing is started or written."""
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + b"x" * 1_500_000)
    async with FakeEngine() as fake:
        code, said = await doctor(
            tmp_path,
            "server: {port: 0}\nprofile: cpu\nbackends:\n"
            "  - {name: here, launch: {model: m.gguf, engine: llama_cpp, replicas: 2}}\n"
            f"  - {{name: there, url: '{fake.url}'}}\n",
        )
    assert code == 0
    for words in (
        "This machine\n",
        "\n  ok  cpu ",
        " router.yaml names it\n",
        "\n  ok  llama_cpp ",
        f"  {tmp_path}/m.gguf, 2 x 1.4 MiB, fits\n",
        f"  {fake.url} answers\n",
        "  any that is free\n",
    ):
        assert words in said
    assert said.endswith("The router can start, and nothing is in its way.\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf", "router.yaml"]


async def test_what_only_hampers_is_no_failure(tmp_path):
    """A server that is down, a model that must be fetched first."""
    code, said = await doctor(
        tmp_path,
        "server: {port: 0}\nbackends:\n"
        "  - {name: far, launch: {model: 'org/name:*Q4_K_M.gguf', engine: llama_cpp}}\n"
        "  - {name: down, url: 'http://127.0.0.1:1'}\n",
        env={**os.environ, "HF_HOME": str(tmp_path)},
    )
    assert code == 0
    assert "org/name:*Q4_K_M.gguf: not on this disk" in said
    assert "http://127.0.0.1:1: can't be reached" in said
    assert "what is marked ! deserves a look (2 of it)." in said


async def test_an_argument_that_the_engine_lacks(tmp_path):
    """It deserves a look, with its place and what was meant; the engine may know better."""
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    launch = "{model: m.gguf, engine: llama_cpp, args: {n_ctx: 64, llama_cpp: {n_batsh: 8}}}"
    code, said = await doctor(tmp_path, f"server: {{port: 0}}\nbackends:\n  - {{name: good, launch: {launch}}}\n")
    assert code == 0
    (line,) = [each for each in said.splitlines() if "!   argument" in each]
    assert "router.yaml:3:91 backends[0].launch.args.llama_cpp.n_batsh: llama_cpp " in line
    assert line.endswith("lists no such option; did you mean 'n_batch'?")


async def test_everything_that_would_stop_the_router(tmp_path):
    """All in one go; and what is right is looked at all the same."""
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + b"x" * 60)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = await doctor(
            tmp_path,
            f"server: {{port: {port}}}\nbackends:\n"
            "  - {name: good, launch: {model: m.gguf, engine: llama_cpp}}\n"
            "  - {name: gone, launch: {model: ./gone.gguf, engine: llama_cpp}}\n",
        )
    assert code == 1
    assert "m.gguf, 0.1 KiB, fits" in said
    assert f"backends[1] (gone): {tmp_path}/gone.gguf: there is no such file" in said
    assert f"{port} is in use" in said
    assert "put right what is marked ✗ first (2 of it)." in said


async def test_mistakes_in_router_yaml(tmp_path):
    """They are told as at a start, below what the machine is."""
    code, said = await doctor(tmp_path, "server: {port: many}\nbackends: [{url: 'http://127.0.0.1:1'}]\n")
    assert code == 1
    assert "This machine\n" in said
    assert "router.yaml:1:10 server.port: expected a whole number, got 'many'" in said


async def test_no_router_yaml(tmp_path):
    """The file that was looked for is named."""
    async with RunningRouter(tmp_path, "", "doctor", "--config", str(tmp_path / "nowhere.yaml")) as router:
        assert await router.exit_code() == 1
    assert "nowhere.yaml" in router.said
    assert "Traceback" not in router.said


async def test_a_profile_that_there_is_not(tmp_path):
    """Said once."""
    code, said = await doctor(tmp_path, "server: {port: 0}\nprofile: tpu\nbackends: [{name: a, launch: {model: m}}]\n")
    assert code == 1
    assert said.count("there is no profile tpu") == 1


async def test_a_terminal_without_the_marks(tmp_path):
    """What it can't show is replaced."""
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    code, said = await doctor(tmp_path, "server: {port: 0}\nprofile: tpu\nbackends: [{url: 'http://a'}]\n", env=env)
    assert code == 1
    assert "  ?   profile " in said
