"""Walks through the pages, each by somebody else: every command as it is written, in its order, in a folder of its own.

`make test-walks` runs them; what a page's commands do one by one is part of `make test` (test_commands).
"""

import json
import sqlite3

import pytest

from tests.fakes import gpu
from tests.walk.walking import Walk, model_of_a_megabyte

pytestmark = pytest.mark.long

LAYERS = {
    "model_type": "qwen2", "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 8192, "vocab_size": 742,
    "torch_dtype": "bfloat16",
}  # fmt: skip


def content(said: str) -> str:
    """Give the words of a chat's answer."""
    return str(json.loads(said)["choices"][0]["message"]["content"])


def test_a_machine_with_a_cpu_alone(tmp_path):
    """What was found is listed, and what is written by hand answers while the router runs."""
    model_of_a_megabyte(tmp_path / "models/found.gguf")
    # Before there is a router.yaml, doctor says that there is none.
    with Walk(tmp_path, fails=["router doctor"]) as walk:
        walk.follow("docs/start-cpu.md")
        assert "the command init" in walk.said["router doctor"]
        assert "found" in walk.answer("/v1/models")
        assert "unloaded" in walk.said["router ps"]
        assert content(walk.answer("/v1/chat/completions"))
        assert "qwen is unloaded" in walk.said["router unload qwen"]


def test_the_owner_of_a_mac(tmp_path):
    """MLX answers, here on a CPU; what only a Mac has is left out."""
    model_of_a_megabyte(tmp_path / "models/found.gguf")
    with Walk(tmp_path, fails=["router doctor"]) as walk:
        walk.follow("docs/start-macos.md")
        assert content(walk.answer("/v1/chat/completions"))
        assert "mlx" in walk.said["router ps"]
        assert "would" not in walk.answer("service install")
        assert not (tmp_path / ".config").exists()


def test_a_box_with_a_gpu(tmp_path):
    """One H200, whose vllm is a fake that treats memory as the real one does: the two models share it."""

    def model(path):
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.json").write_text(json.dumps(LAYERS))
        with (path / "model.safetensors").open("wb") as file:
            file.truncate(1 << 20)

    machine = tmp_path / "gpu"
    variables = gpu.install(machine, 143771)
    with Walk(tmp_path, variables=variables, needs=["on NVIDIA"], fails=["router doctor"], model=model) as walk:
        walk.follow("docs/start-nvidia.md")
        assert "H200" in walk.said["nvidia-smi"] + walk.said["router doctor"]
        assert content(walk.answer("/v1/chat/completions"))
        assert "qwen" in walk.said["router status"]
        walk.until(lambda: {"qwen", "tiny"} <= {str(each["name"]) for each in gpu.starts(machine) if "cache" in each})


def test_a_team_of_ten(tmp_path):
    """Who has a key is let in, and who has none isn't; what was used is counted, and saved."""
    keys = {name: f"sk-router-{name.lower()}" for name in ("ALICE_KEY", "BOB_KEY", "NIGHTLY_KEY", "OPS_KEY")}
    with Walk(tmp_path, variables=keys) as walk:
        walk.follow("docs/team.md")
        assert "HTTP/1.1 401" in walk.answer("curl -i")
        assert '"qwen"' in walk.answer('/v1/models -H "authorization')
        assert content(walk.answer("/v1/chat/completions"))
        usage = "router usage --by key,model"

        def is_counted() -> bool:
            walk.type(usage)
            return "alice" in walk.said[usage]

        walk.until(is_counted)
        assert "research" in walk.said["router keys"]
        assert walk.answer("key new --name ops").count("sk-router-") == 1
        walk.until((tmp_path / "state/usage.db").exists)
        walk.follow("docs/operations.md", "Backup")
        with sqlite3.connect(tmp_path / "backup/usage.db") as saved:
            assert saved.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,)
        saved.close()
