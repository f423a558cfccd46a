"""Each command in README.md and docs, word for word: what can run offline, is run; what can't, is there."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from launchers.scan.ollama import MODEL
from router.cli.main import main
from router.cli.options import parse, parser
from tests.running import REPOSITORY
from tests.walk.documents import NEEDS, blocks, commands, elsewhere, spans, text_of

ELSEWHERE = {
    "export": "for a program below it",
    "claude": "make test-clients runs it",
    "copilot": "make test-clients runs it",
    "llm": "make test-clients runs it",
    "open-webui": "make test-clients runs it",
    "aider": "make test-clients runs it",
    "jq": "tests/integration/test_logs.py runs it",
    "pip": "it would install",
    "pipx": "make test-install runs it",
    "uv": "make test-install runs it",
    "router/bin/pip": "it would install",
    "router/bin/router": "tests/integration/test_install.py runs it",
    "brew": "on macOS",
    "sha256sum": "make test-install checks the sums",
    "git": "it would change this checkout",
    "twine": "it would publish",
    "apt": "it would install",
    "xcode-select": "it would install",
    "docker": "not everywhere; make test-install runs the steps of the Dockerfile",
    "openssl": "tests of the router's certificate run it",
    "mkdir": "test_walks.py runs it",
    "cp": "test_walks.py runs it",
    "python3": "test_walks.py runs it",
    "tiny_server": "there is no such program",
    "pkill": "it ends processes",
    "systemctl": "not everywhere",
    "loginctl": "not everywhere",
    "launchctl": "on macOS",
    "dmesg": "it needs rights",
}
"""Commands that aren't run here, and why. One that is neither here nor known below fails the test."""

ENDED = "/3f0c7a52-0000-4000-8000-000000000001"
"""The id of a request in examples."""

ADDRESS = "http://127.0.0.1:8001"
CONFIG = """\
server: {{port: {port}}}
logging: {{dir: {folder}/logs}}
state: {{dir: {folder}/state}}
backends:
  - {{name: qwen, models: [qwen, demo], launch: {{engine: llama_server, model: {demo}, load: on_demand}}}}
  - {{name: coder, launch: {{engine: llama_server, model: {demo}, load: on_demand}}}}
"""
NEW = "  - {name: more, url: 'http://127.0.0.1:1'}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Give a folder with the router.yaml of a router that runs."""
    folder = tmp_path_factory.mktemp("walk")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    config = CONFIG.format(port=port, folder=folder, demo=REPOSITORY / "models/demo")
    (folder / "router.yaml").write_text(config)
    (folder / "new.yaml").write_text(config + NEW)
    (folder / ".codex").mkdir()
    (folder / "url").write_text(f"http://127.0.0.1:{port}")
    command = [sys.executable, "-m", "router", "--config", str(folder / "router.yaml")]
    with (folder / "said").open("wb") as said:
        router = subprocess.Popen(command, cwd=REPOSITORY, stdout=said, stderr=said)
    try:
        _until_it_answers(f"http://127.0.0.1:{port}/health", router)
        yield folder
    finally:
        router.send_signal(signal.SIGINT)
        try:
            router.wait(30)
        finally:
            router.kill()


def _until_it_answers(url: str, router: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310  (of this machine)
                return
        except OSError:
            assert router.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)


def run(command: str, folder: Path) -> str:
    """Run a command with the router's address in the place of the usual one; give what it says."""
    env = {**os.environ, "HOME": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = command.replace(ADDRESS, (folder / "url").read_text())
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_options(script: str, options: list[str]) -> None:
    """Check that a script is there, and knows these options."""
    module = script.removeprefix("-m ").replace(".", "/") if script.startswith("-m ") else script.removesuffix(".py")
    assert any((REPOSITORY / f"{module}{end}").is_file() for end in (".py", "/__main__.py")), f"no {script}"
    wanted = [each for each in options if each.startswith("--")]
    if not wanted:
        return
    command = [sys.executable, *script.split(), "--help"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert [each for each in wanted if each not in done.stdout] == []


def find_models(command: str, name: str, folder: Path) -> None:
    """Run a command that looks for models, where there is one."""
    (folder / "models").mkdir()
    (folder / "models/tiny.gguf").write_bytes((REPOSITORY / "models/demo/demo.gguf").read_bytes())
    (folder / "url").write_text(ADDRESS)
    if name == "models":
        (folder / "router.yaml").write_text("backends:\n  - url: http://127.0.0.1:1\n")
    said = run(command.replace("/mnt", str(folder)), folder)
    assert "tiny" in said + (folder / "router.yaml").read_text()


FOREIGN = {
    "llama-swap.yaml": "models:\n  qwen: {cmd: 'llama-server --port ${PORT} -m qwen.gguf', ttl: 300}\n",
    "config.yaml": "model_list:\n- {model_name: qwen, litellm_params: {model: openai/x, api_base: 'http://a/v1'}}\n",
    "models.ini": "[qwen]\nmodel = qwen.gguf\n",
}
"""Files of other programs that commands name, so that they are there."""


def keep_models(folder: Path) -> None:
    """Put a model where Ollama and LM Studio keep theirs."""
    model = (REPOSITORY / "models/demo/demo.gguf").read_bytes()
    digest = hashlib.sha256(model).hexdigest()
    ollama = folder / ".ollama/models"
    manifest = ollama / "manifests/registry.ollama.ai/library/qwen/latest"
    for path, raw in (
        (folder / ".lmstudio/models/org/qwen-GGUF/qwen-Q8_0.gguf", model),
        (ollama / "blobs" / f"sha256-{digest}", model),
        (manifest, json.dumps({"layers": [{"mediaType": MODEL, "digest": f"sha256:{digest}"}]}).encode()),
    ):
        path.parent.mkdir(parents=True)
        path.write_bytes(raw)


def import_a_file(command: str, words: list[str], folder: Path) -> None:
    """Run a command that reads another program's file."""
    (folder / "url").write_text(ADDRESS)
    if words[0] in FOREIGN:
        (folder / words[0]).write_text(FOREIGN[words[0]])
    else:
        keep_models(folder)
    said = run(command, folder)
    assert "qwen" in said + (folder / "router.yaml").read_text() if "--output" in words else "qwen" in said


def within(words: list[str], seconds: float) -> int:
    """Run a command of the router's own, and press Ctrl-C after so many seconds; give its exit code."""
    before = signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    # Once more, in case it comes where Python can't raise it, as in the end of an object.
    signal.setitimer(signal.ITIMER_REAL, seconds, 5.0)
    try:
        return main(words)
    except SystemExit as ended:  # of --version and --help
        return int(ended.code or 0)
    except KeyboardInterrupt:
        pytest.fail(f"it goes on: {words}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Run a command of the router's own, in the folder of one that runs."""
    if words in ([], ["plan"], ["pull"], ["run"], ["connect"]):
        # Its name alone, in a sentence.
        return
    if words[0] in {"pull", "run"} or "--exec" in words:
        # It would fetch, or become another program: test_pull.py and test_connect_and_run.py do that.
        parse(words)
        return
    meant = {"BACKEND": "qwen", "NAME": "qwen", "alice": "daemon", "PROGRAM": "claude"}
    words = [meant.get(word, word) for word in words]
    if words[0] == "service":
        # It would change this machine; there is no such service, so its state can't be told.
        scope = [] if {"--system", "--user"} & {*words} else ["--user"]
        words = [*words, *scope, "--name", "walk", *["--dry-run"] * (words[1] != "status")]
    if words[0] in {"restart", "drain", "undrain"}:
        main(["load", "qwen"])
    goes_on = words[0] in {"events", "top"} or "-f" in words
    code, said = within(words, 1.5 if goes_on else 45.0), capsys.readouterr()
    if words[0] == "drain":
        main(["undrain", *words[1:]])
    # Where a router runs, its port is in use, which doctor says; and a page's request has ended long ago.
    expected = {
        "doctor": "perhaps by this router",
        "cancel": "it may have ended",
        "service": "walk is no service here",
        "requests": "telemetry.capture is off" if "--capture" in words else "or among the latest that have ended",
    }.get(words[0])
    assert code == 0 or (expected and expected in said.out + said.err), said.err


def _every() -> dict[str, str]:
    found = {f"{place}: {command}": command for place, command in commands()}
    begins = r"(ROUTER_\w+=\S+ )?(make|python|router|curl|pip|docker|apt|\.venv/bin/\w+) \S"
    found |= {f"{page}: {span}": span for page, span in spans() if re.match(begins, span) and "…" not in span}
    # Where several pages have the same one, it is run once.
    return {place: command for command, place in {command: place for place, command in reversed(found.items())}.items()}


EVERY = _every()


@pytest.mark.parametrize("place", EVERY)
def test_a_command(folder, place, tmp_path, monkeypatch, capsys):
    """It ends well, or says what it should, or names what there is."""
    command = re.sub(r"^(sudo )?(\.venv/bin/)?", "", EVERY[place])
    command = re.sub(r"^((?:[A-Z_]+=\S+ )*)", "", command)
    first, *words = command.split()
    own = words if first == "router" else words[2:] if words[:2] == ["-m", "router"] else []
    if first == "make":
        assert re.search(rf"^{words[0]}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE), f"no target {words[0]}"
    elif first == "curl":
        if "/admin/backends/" in command or "/upstream/" in command:
            # What it does, it does to an engine that runs; the next command finds it as ever.
            run("curl -fsS -X POST 'http://127.0.0.1:8001/admin/models/qwen/load'", folder)
        goes_on = re.search(r"/(stream|stream/qwen|events|events/models)'", command) is not None
        most = "--max-time 1.5" if goes_on else "--max-time 30"
        cut = " || [ $? = 28 ]" if goes_on else ""
        said = run(command.replace("curl ", f"curl -w '%{{http_code}}' -sS {most} ", 1) + cut, folder)
        # A request of a page has ended long ago, its version of the file is gone, and no key may write that.
        gone = ENDED in command or "/config/versions/" in command
        refused = (gone and said.endswith("404")) or ("If-Match" in command and said.endswith("403"))
        assert said[-3:] in {"200", "202", ""} or refused, said
        if command.endswith("/drain'"):
            run(command.replace("/drain'", "/undrain'").replace("curl ", "curl -fsS ", 1), folder)
    elif own[:1] == ["import"]:
        import_a_file(command, own[1:], tmp_path)
    elif own[:1] in (["init"], ["models"]):
        find_models(command, own[0], tmp_path)
    elif first == "router" or words[:2] == ["-m", "router"]:
        monkeypatch.chdir(folder)
        check_command(own, capsys)
    elif first == "python" and words[0].startswith("scripts/"):
        check_options(words[0], words[1:])
    elif first == "python" and words[1].startswith("scripts."):
        check_options(" ".join(words[:2]), words[2:])
    else:
        assert {first, words[1] if first == "python" else ""} & ELSEWHERE.keys(), "run it, or say in ELSEWHERE why not"


def test_readmes_python(folder):
    """With the client that it names; the model talks nonsense, but it talks."""
    (block,) = (each for each in blocks("python") if each.page == "README.md")
    assert run(f"python - <<'END'\n{block.text}\nEND", folder).strip()


def _paths() -> list[str]:
    rows = [row.split("|")[1] for row in text_of("docs/http.md").splitlines() if row.startswith("| `GET ")]
    spans = [span.removeprefix("GET ") for row in rows for span in re.findall(r"`([^`]+)`", row)]
    return [re.sub(r"\{id\}|NAME", "qwen", each) for each in spans]


@pytest.mark.parametrize("path", _paths())
def test_paths_answer(folder, path):
    """/ready says 503 only while no model can be served, and these two can be loaded."""
    with urllib.request.urlopen((folder / "url").read_text() + path, timeout=30) as answer:  # noqa: S310
        assert answer.status == 200


@pytest.mark.parametrize(
    ("place", "command", "needs"), elsewhere(), ids=lambda each: each if each.startswith("docs/") else ""
)
def test_a_command_for_another_machine(place, command, needs):
    """It says which in words that are known, a shell can read it, and what is the router's own is an option of it."""
    assert needs in NEEDS
    done = subprocess.run(["/bin/sh", "-n", "-c", command], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{place}: {done.stderr}"
    words = command.removeprefix("sudo ").split()
    if words[0] == "router":
        parser().parse_args(words[1:])


def test_the_commands_are_found():
    """A change of how pages are written mustn't leave all of them out."""
    assert len(EVERY) > 40
    assert len(_paths()) > 3
