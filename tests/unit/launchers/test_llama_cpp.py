import json
from dataclasses import dataclass

import pytest
from llama_cpp.server.settings import ConfigFileSettings, Settings

from launchers.engines import ENGINES
from launchers.engines.llama_cpp import SCRIPT, SETTINGS
from launchers.errors import ArgumentError, ModelNotFoundError
from launchers.spec import LaunchSpec

ENGINE = ENGINES["llama_cpp"]


@dataclass(frozen=True)
class Folders:
    """A disk that is a table: folder → names."""

    folders: dict[str, list[str]]
    home: str = "/home/me"

    def is_dir(self, path):
        """See launchers.engines.Files."""
        return path.rstrip("/") in self.folders

    def is_file(self, path):
        """See launchers.engines.Files."""
        folder, _, name = path.rpartition("/")
        return name in self.folders.get(folder, [])

    def list(self, folder):
        """See launchers.engines.Files."""
        return sorted(self.folders[folder.rstrip("/")])


DISK = Folders({
    "models/demo": ["ready", "demo.gguf"],
    "models/vision": ["mmproj-F16.gguf", "vision.GGUF"],
    "models/split": ["big-00001-of-00002.gguf", "big-00002-of-00002.gguf"],
    "models/many": ["a.gguf", "b.gguf"],
    "models/none": ["config.json"],
    "/home/me/models": ["mine.gguf"],
    "org": ["name:b.gguf"],
    "./org": ["name:b.gguf"],
})  # fmt: skip


def spec(model="demo.gguf", args=None, env=None):
    return LaunchSpec("demo-1", "llama_cpp", model, "demo", args or {}, env or {}, start_timeout=60)


def flags(**args):
    """The command line as a dict, flag → values."""
    found: dict[str, list[str]] = {}
    flag = ""
    for word in ENGINE.command(spec(args=args), 1234, "python").argv[3:]:
        if word.startswith("--"):
            flag = word
            found[flag] = []
        else:
            found[flag].append(word)
    return found


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("models/demo/demo.gguf", "models/demo/demo.gguf"),
        ("models/demo", "models/demo/demo.gguf"),
        ("models/demo/", "models/demo/demo.gguf"),
        ("models/vision", "models/vision/vision.GGUF"),
        ("models/split", "models/split/big-00001-of-00002.gguf"),
        ("org/name:b.gguf", "./org/name:b.gguf"),
        ("~/models", "/home/me/models/mine.gguf"),
        ("Qwen/Qwen2.5-0.5B-Instruct-GGUF:*q4_k_m.gguf", "Qwen/Qwen2.5-0.5B-Instruct-GGUF:*q4_k_m.gguf"),
    ],
)
def test_a_model_is_a_file_a_folder_or_a_file_of_a_hub(model, found):
    assert ENGINE.find_model(model, DISK) == found
    assert ENGINE.find_model(found, DISK) == found


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("models/gone.gguf", r"models/gone\.gguf: there is no such file or folder"),
        ("models/none", r"models/none: the folder holds no \*\.gguf"),
        ("models/many", r"name one of them: a\.gguf, b\.gguf"),
        ("Qwen/Qwen2.5-0.5B-GGUF", r"named too, as Qwen/Qwen2\.5-0\.5B-GGUF:\*Q4_K_M\.gguf"),
        ("~/gone.gguf", r"/home/me/gone\.gguf: there is no such file"),
        ("", "there is no such file"),
    ],
)
def test_a_model_that_is_not_there_says_what_to_do(model, message):
    with pytest.raises(ModelNotFoundError, match=message):
        ENGINE.find_model(model, DISK)


def test_the_command_line():
    command = ENGINE.command(spec("models/demo/demo.gguf"), 1234, "/usr/bin/python3")
    assert " ".join(command.argv) == (
        f"/usr/bin/python3 -P {SCRIPT} --verbose false --model models/demo/demo.gguf"
        " --host 127.0.0.1 --port 1234 --model_alias demo --interrupt_requests false"
    )


def test_a_hubs_file_becomes_a_repository_and_a_pattern():
    argv = ENGINE.command(spec("org/name:*Q4_K_M.gguf"), 1, "python").argv
    assert argv[argv.index("--hf_model_repo_id") + 1] == "org/name"
    assert argv[argv.index("--model") + 1] == "*Q4_K_M.gguf"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (4096, ["4096"]),
        (-1, ["-1"]),
        (0.5, ["0.5"]),
        (True, ["true"]),
        (False, ["false"]),
        ("chatml", ["chatml"]),
        ([0.5, 0.5], ["0.5", "0.5"]),
        ({"enable_thinking": False}, [json.dumps({"enable_thinking": False})]),
    ],
)
def test_an_argument_is_written_as_the_server_reads_it(value, words):
    assert flags(name=value)["--name"] == words


def test_none_leaves_an_argument_out():
    assert "--n_ctx" not in flags(n_ctx=None)
    assert "--verbose" not in flags(verbose=None)


def test_the_users_arguments_go_over_ours():
    assert flags(verbose=True)["--verbose"] == ["true"]


@pytest.mark.parametrize("name", ["host", "port", "model", "interrupt_requests", "interrupt-requests", "api_key"])
def test_what_is_the_routers_can_not_be_set(name):
    with pytest.raises(ArgumentError, match=rf"launch\.args: {name} can't be set for llama_cpp: \w+"):
        ENGINE.command(spec(args={name: "x"}), 1, "python")


def test_nor_by_a_variable():
    with pytest.raises(ArgumentError, match=r"launch\.env: PORT can't be set"):
        ENGINE.command(spec(env={"PORT": "1"}), 1, "python")


def test_nothing_of_the_environment_gets_into_the_servers_settings():
    command = ENGINE.command(spec(env={"OMP_NUM_THREADS": "1"}), 1, "python")
    shell = {"PATH": "/bin", "LD_LIBRARY_PATH": "/lib", "Seed": "1", "PORT": "80", "CONFIG_FILE": "c"}
    environment = command.environment({**shell, "WEB_CONCURRENCY": "4"})
    assert set(environment) == {
        "PATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "PYTHONUNBUFFERED", "PYTHONSAFEPATH", "PYTHONUTF8",
    }  # fmt: skip


def test_every_setting_of_the_installed_server_is_known():
    assert set(SETTINGS) >= {*Settings.model_fields, *ConfigFileSettings.model_fields}
