"""`pull` before a hub: what it chooses, says, refuses, fetches, and offers for router.yaml."""

import asyncio
import io
import os
import shutil
import signal
import sys
from collections import namedtuple
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from router.cli import pull
from router.cli.main import main
from router.config import load
from router.hub import fetching
from scripts import make_demo_model
from tests.fakes.hub import COMMIT, FakeHub
from tests.models import GIB
from tests.running import REPOSITORY, eventually

DEMO = "org/demo-GGUF"
Command = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture(scope="session")
def demo() -> dict[str, bytes]:
    """Give the demo model's files."""
    return {str(name): content for name, content in make_demo_model.build_files().items()}


@pytest_asyncio.fixture
async def hub(demo, tmp_path, monkeypatch) -> AsyncIterator[FakeHub]:
    """Give a hub, which the environment names, with the demo model in three quantisations, and in safetensors."""
    gguf = demo["demo.gguf"]
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "HF_TOKEN", "HF_HUB_OFFLINE", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # What is behind the weights is nobody's.
    quantisations = {f"demo-{what}.gguf": gguf + what.encode() for what in ("Q4_K_M", "Q8_0", "F16")}
    plain = {name: content for name, content in demo.items() if not name.endswith(".gguf")} | {"demo.bin": b""}
    async with FakeHub({DEMO: quantisations, "org/demo": plain}) as fake:
        monkeypatch.setenv("HF_ENDPOINT", fake.url)
        yield fake


@pytest.fixture
def command(capsys) -> Command:
    """Give a function that runs a command beside the hub: its exit code, and what it says."""

    async def run(*words: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, words)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return run


def cached(tmp_path: Path, name: str = DEMO) -> Path:
    return tmp_path / f"home/.cache/huggingface/hub/models--{name.replace('/', '--')}/snapshots/{COMMIT}"


async def test_a_model_is_fetched(hub, command, tmp_path, demo):
    """The usual quantisation, into the hub's cache; its entry is printed, and is one that router.yaml takes."""
    code, out, err = await command("pull", DEMO)
    assert code == 0, err
    assert err.startswith(f"{DEMO}, Q4_K_M:\nFILE                   SIZE\ndemo-Q4_K_M.gguf  682.4 KiB\n")
    assert "\nIt fits this machine, in llama_" in err
    place = cached(tmp_path) / "demo-Q4_K_M.gguf"
    assert place.read_bytes() == demo["demo.gguf"] + b"Q4_K_M"
    assert [each.name for each in place.parent.iterdir()] == [place.name]
    assert (place.parents[2] / "refs/main").read_text() == COMMIT
    assert out.startswith("# for router.yaml, below `backends:`; --write adds it there\n")
    (tmp_path / "work/router.yaml").write_text("backends:\n" + out)
    (backend,) = load(Path("router.yaml"), {}).config.backends
    assert backend.name == "demo"
    assert backend.launch is not None
    assert backend.launch.model == str(place)
    asked = len(hub.ranges)
    code, out, err = await command("pull", f"{DEMO}:Q4_K_M")
    assert (code, out) == (0, "router.yaml has it already, as demo.\n")
    assert "is here" in err
    assert len(hub.ranges) == asked


async def test_without_a_hub_the_entry_of_what_is_here_is_offered(hub, command, tmp_path, monkeypatch):
    """HF_HUB_OFFLINE asks nobody: what isn't in the cache is said, what is can be used."""
    assert (await command("pull", DEMO))[0] == 0
    asked = len(hub.asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, out, err = await command("pull", DEMO)
    assert (code, "is here" in err, f"model: {cached(tmp_path)}/demo-Q4_K_M.gguf" in out) == (0, True, True), err
    code, _, err = await command("pull", f"{DEMO}:Q8_0")
    cache = tmp_path / "home/.cache/huggingface/hub"
    said = f"HF_HUB_OFFLINE is set, so this is of what {cache} has: {DEMO} has no Q8_0. It has Q4_K_M\n"
    assert (code, err) == (2, said)
    code, _, err = await command("pull", "org/other")
    assert (code, err) == (2, f"HF_HUB_OFFLINE is set, so nothing is fetched, and {cache} has no org/other\n")
    os.truncate(cached(tmp_path) / "demo-Q4_K_M.gguf", 3000)
    code, _, err = await command("pull", DEMO)
    assert (code, "cut off" in err, err.endswith("HF_HUB_OFFLINE is set, so nothing is fetched\n")) == (2, True, True)
    assert len(hub.asked) == asked


@pytest.mark.usefixtures("hub")
async def test_an_entry_is_written(command):
    """Into a router.yaml that is there, or into a new one; `check` takes both."""
    code, out, err = await command("pull", f"{DEMO}:q8_0", "--write")
    assert (code, out) == (0, "router.yaml is written, with demo. Start it: python -m router --config router.yaml\n"), (
        err
    )
    assert (await command("check"))[0] == 0
    code, out, _ = await command("pull", f"{DEMO}:F16", "--write")
    assert (code, out) == (0, "router.yaml has them now: demo-f16. What it was is in router.yaml.bak.\n")
    assert (await command("check"))[0] == 0
    assert [each.name for each in load(Path("router.yaml"), {}).config.backends] == ["demo", "demo-f16"]


async def test_a_file_with_mistakes_is_said_before(hub, command, tmp_path):
    """Not after gigabytes have come."""
    (tmp_path / "work/router.yaml").write_text("backends: 7\n")
    code, _, err = await command("pull", DEMO, "--write")
    assert (code, "backends" in err, hub.asked) == (2, True, [])


@pytest.mark.usefixtures("hub")
async def test_safetensors_for_an_engine_that_reads_them(command, tmp_path):
    """With all that describes them; what mlx or vllm are told is the hub's name."""
    code, out, err = await command("pull", "org/demo")
    if code == 2:
        assert "which isn't installed" in err
        return
    assert "model: org/demo\n" in out
    names = {each.name for each in cached(tmp_path, "org/demo").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not {"demo.bin", "demo.gguf"} & names


async def test_a_connection_that_is_cut_on_the_way(hub, command, tmp_path, demo, monkeypatch):
    """It is said, and goes on; so it does with the next command, where this one gives up."""
    monkeypatch.setattr(fetching, "LONGEST", 0.0)
    hub.cuts = [1, 100_000] + [0] * 6
    code, out, err = await command("pull", DEMO)
    assert (code, out) == (1, "")
    assert err.count("demo-Q4_K_M.gguf: the connection was cut; the download goes on\n") >= 5
    assert err.endswith("demo-Q4_K_M.gguf: the connection was cut; what came of it is kept\n")
    code, _, err = await command("pull", DEMO)
    assert code == 0, err
    assert (cached(tmp_path) / "demo-Q4_K_M.gguf").read_bytes() == demo["demo.gguf"] + b"Q4_K_M"


async def test_a_wrong_checksum_is_an_error(hub, command, tmp_path):
    """The header is read before: so the next answers are wrong, too."""
    hub.flips = 3
    code, out, err = await command("pull", DEMO)
    assert (code, out) == (1, "")
    assert "what came isn't what the hub has" in err
    assert not (cached(tmp_path) / "demo-Q4_K_M.gguf").exists()


async def test_another_host_is_an_error(hub, command):
    hub.elsewhere = hub.elsewhere.replace("127.0.0.1", "localhost")
    code, out, err = await command("pull", DEMO)
    assert (code, out) == (2, "")
    assert "the hub sends on to another host, localhost, which is not followed" in err
    assert (await command("pull", DEMO, "--cdn", "localhost"))[0] == 0


@pytest.mark.usefixtures("hub")
async def test_a_disk_without_room(command, monkeypatch):
    """It is said before anything is fetched but headers."""
    usage = namedtuple("usage", "total used free")  # noqa: PYI024
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(GIB, GIB, 100 << 20))
    code, out, err = await command("pull", DEMO)
    assert (code, out) == (2, "")
    assert "682.4 KiB would be fetched into " in err
    assert "where 100 MiB are free, of which 512 MiB stay so: make room, or set HF_HOME" in err


@pytest.mark.usefixtures("hub")
async def test_a_model_that_does_not_fit(command, tmp_path):
    """A person is asked, and where there is none, nothing is fetched; smaller ones are named."""
    (tmp_path / "work/router.yaml").write_text(
        "memory: {limit: {ram: 64MiB}}\nbackends:\n  - url: http://127.0.0.1:1\n"
    )
    code, out, err = await command("pull", DEMO)
    assert (code, out) == (1, "")
    assert "It doesn't fit here: " in err
    assert err.endswith("nothing was fetched; --yes fetches it all the same\n")
    code, out, err = await command("pull", DEMO, "--yes")
    assert code == 0
    assert "  # - name: demo\n" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["qwen"], 2, "'qwen' is no model of the hub: write ORG/NAME"),
        (["no/body"], 2, "has no model no/body, or not for everybody"),
        ([f"{DEMO}:Q5_0"], 2, f"{DEMO} has no Q5_0. It has "),
        (["org/demo:Q4_0"], 2, "org/demo has no GGUF files, and so no Q4_0: say org/demo"),
        (["org/nothing"], 2, "org/nothing has no model that an engine here reads"),
        (["org/gated"], 2, "is for those alone who have accepted its terms"),
        (["org/broken"], 2, "was fetched as the hub has it, but can't be used"),
    ],
)
async def test_what_comes_to_nothing(hub, command, words, code, said):
    hub.repositories |= {"org/nothing": {"README.md": b"x"}, "org/gated": {}, "org/broken": {"b.gguf": b"GGUF"}}
    hub.gated = {"org/gated"}
    got, out, err = await command("pull", *words)
    assert (got, out) == (code, "")
    assert said in err


async def test_the_environment_is_wrong(hub, command, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "nowhere")
    assert "HF_ENDPOINT is 'nowhere'" in (await command("pull", DEMO))[2]
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", "/dev/null")
    code, _, err = await command("pull", DEMO)
    assert (code, "can't be" in err) == (2, True)


async def test_ctrl_c(hub, tmp_path):
    """What came is kept, and the sentence says how it goes on."""
    hub.holds, hub.passes = asyncio.Event(), 1
    blobs = cached(tmp_path).parents[1] / "blobs"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "router", "pull", DEMO, "--config", str(tmp_path / "router.yaml"),
        cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await eventually(lambda: [each for each in blobs.glob("*.incomplete") if each.stat().st_size])
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert (process.returncode, out) == (130, b"")
    assert err.decode().endswith(f"What came of it is kept: `pull {DEMO}` goes on with it.\n")
    assert [each.suffix for each in blobs.iterdir()] == [".incomplete"]


async def test_run_fetches_what_is_not_here(hub, command, entries, tmp_path, monkeypatch):
    """With --yes; the next time it is here, and nobody is asked."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    words = ["run", f"{DEMO}:Q8_0", "--prompt", "Hi"]
    code, _, err = await command(*words)
    assert (code, err) == (2, f"{DEMO}:Q8_0 isn't here; `pull {DEMO}:Q8_0` fetches it, and so does --yes\n")
    code, _, err = await command(*words, "--yes")
    assert (code, err.endswith("enough\n")) == (7, True)
    asked = len(hub.asked)
    assert await command(*words) == (7, "", "enough\n")
    assert len(hub.asked) == asked
    assert [each.keys for each in entries[:1]] == [each.keys for each in entries[1:]]
    launch = entries[0].keys["launch"]
    assert isinstance(launch, dict)
    assert launch["model"] == str(cached(tmp_path) / "demo-Q8_0.gguf")


class Person(io.StringIO):
    """A terminal with a person before it, who has typed this."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.mark.parametrize(
    ("typed", "usual", "agrees"),
    [
        ("y\n", False, True),
        ("Yes\n", False, True),
        ("\n", True, True),
        ("\n", False, False),
        ("n\n", True, False),
        ("", True, False),
    ],
)
def test_a_person_is_asked(monkeypatch, typed, usual, agrees):
    said = Person()
    monkeypatch.setattr(sys, "stdin", Person(typed))
    monkeypatch.setattr(sys, "stderr", said)
    assert pull.agreed("Fetch it?", usual=usual) is agrees
    assert said.getvalue() == "Fetch it? " + "\n" * (not typed)


def test_a_person_says_something_else(monkeypatch):
    """It is asked again, until the end of the input, which is no."""
    for typed, agrees in (("maybe\ny\n", True), ("maybe\n", False)):
        said = Person()
        monkeypatch.setattr(sys, "stdin", Person(typed))
        monkeypatch.setattr(sys, "stderr", said)
        assert pull.agreed("Fetch it?", usual=True) is agrees
        assert said.getvalue().count("Fetch it? ") == 2


def test_where_there_is_no_person(monkeypatch):
    """What comes in by a pipe is no consent."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    monkeypatch.setattr(sys, "stderr", Person())
    assert not pull.agreed("Fetch it?", usual=True)


@pytest.mark.usefixtures("hub")
async def test_on_a_terminal(monkeypatch, tmp_path):
    """A bar moves, and the entry is written if a person agrees."""
    said = Person()
    monkeypatch.setattr(sys, "stdin", Person("\n"))
    monkeypatch.setattr(sys, "stderr", said)
    monkeypatch.setenv("TERM", "xterm")
    assert await asyncio.to_thread(main, ["pull", DEMO]) == 0
    assert "698.8/698.8" in said.getvalue() or "682.4/682.4 KiB" in said.getvalue()
    assert said.getvalue().endswith("Add it to router.yaml as demo? [Y/n] ")
    assert load(tmp_path / "work/router.yaml", {}).config.backends[0].name == "demo"
