"""Each example of router.yaml, in README.md and docs, is loaded by `check` word for word; each link leads somewhere."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from launchers.engines import ENGINES
from router.cli import check
from router.cli.main import main
from router.config.schema import schema
from router.doctor.looking import look_at_machine
from tests.certificates import Authority
from tests.running import REPOSITORY
from tests.walk.documents import PAGES, anchors, blocks, spans, text_of

PROGRAMS = ("whisper-server", "docker", "python3")
"""What the examples start, and the tests have not."""

OTHERS = {"docs/clients.md"}
"""Pages whose examples are files of other programs."""

FOREIGN = {
    "models:": "this is a configuration of llama-swap",
    "model_list:": "this is a configuration of LiteLLM",
    "FROM ": "this is a configuration of Ollama",
    "[*]": "these are presets of llama.cpp's server",
}
"""How examples of other programs' files begin, and what `check` says of them."""

NO_GPU = r"launch\.gpus|there is no GPU|has no GPU"
"""What this machine may lack for an example, in its message."""

URL = "backends: [{url: 'http://127.0.0.1:1', models: [demo, qwen2.5-7b, llama-70b, qwen]}]\n"
KEYS = "auth: {keys: [secret]}\n"
ENVIRON = (
    "NAME",
    "OPS_KEY",
    "DASHBOARD_KEY",
    "PROMETHEUS_KEY",
    "ROUTER_KEY",
    "MAC_KEY",
    "MAC_ADMIN_KEY",
    "PC_KEY",
    "KEY",
    "ALICE_KEY",
    "BOB_KEY",
    "NIGHTLY_KEY",
)


@pytest.fixture(scope="module")
def machine():
    """This machine, looked at once."""
    return look_at_machine(ENGINES)


@pytest.fixture
def checked(tmp_path, monkeypatch, capsys, machine):
    """Give a function that gives the exit code and the words of `check` for a text. Models and programs are there."""
    monkeypatch.setattr(check, "look_at_machine", lambda _: machine)
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in PROGRAMS:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    for number, name in enumerate(ENVIRON):
        monkeypatch.setenv(name, f"secret-{number}")

    def run(text: str) -> tuple[int, str]:
        text = text.replace("/path/to/", f"{tmp_path}/")
        for name in re.findall(r"[\w./-]+\.(?:gguf|bin)\b", text):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes((REPOSITORY / "models/demo/demo.gguf").read_bytes())
        for name in re.findall(r"[\w./-]+(?=\.crt\b)", text):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            Authority(tmp_path).issue(name)
        for name in set(re.findall(r"models/[\w.-]+(?=[\s,}])(?<!gguf)", text)):
            (tmp_path / "models").mkdir(exist_ok=True)
            (tmp_path / name).symlink_to(REPOSITORY / "models/demo")
        (tmp_path / "router.yaml").write_text(text)
        code = main(["check", "--config", str(tmp_path / "router.yaml")])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def whole(text: str) -> str:
    """Make a configuration of an example: one of `backends`, keys of a launch, or sections without backends."""
    if re.match(r"(\s*#.*\n)*\s*- ", text):
        return "backends:\n" + text
    if text.startswith("      "):
        return "backends:\n  - name: a\n    launch:\n      model: models/demo\n" + text
    if re.search(r"host: (0\.0\.0\.0|\"::\")", text) and "auth:" not in text:
        text += KEYS
    return text if "backends:" in text else text + URL


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_an_example_can_be_used(checked, block):
    """As it stands; what this machine lacks for it, is said."""
    if block.page in OTHERS:
        pytest.skip("a file of another program")
    code, said = checked(whole(block.text))
    assert code == 0 or (code == 1 and re.search(NO_GPU, said)), said


@pytest.mark.parametrize("block", [each for each in blocks("") if each.page == "docs/coming-from.md"], ids=str)
def test_an_example_of_another_program_is_recognised(checked, block):
    """By its first words."""
    code, said = checked(block.text)
    (words,) = (said for begin, said in FOREIGN.items() if block.text.startswith(begin))
    assert code == 2
    assert words in said


def _keys(definition: str | None = None) -> dict[str, Any]:
    made = schema()
    part = made if definition is None else made["$defs"][definition]
    found: dict[str, Any] = part.get("properties") or part["anyOf"][-1]["properties"]
    return found


def _inline() -> list[tuple[str, str]]:
    """Give the values that pages say between backquotes, such as `server.ollama_port: 11434`, as configurations."""
    sections, backend, launch = _keys(), _keys("BackendConfig"), _keys("LaunchConfig")
    found = []
    for page, span in spans():
        key, colon, value = span.partition(": ")
        if (
            not colon
            or page in OTHERS
            or "…" in span
            or "..." in span
            or not re.fullmatch(r"[a-z_.]+", key)
            or value.startswith("<")
        ):
            continue
        first, *below = key.split(".")
        text = "".join(f"{'  ' * depth}{name}:\n" for depth, name in enumerate([first, *below][:-1]))
        text += f"{'  ' * len(below)}{[first, *below][-1]}: {value}\n"
        if first in sections and not (first in launch and not below and value[0] != "{"):
            found.append((f"{page} {span}", text))
        elif first == "launch":
            found.append((f"{page} {span}", f"backends:\n- name: a\n{_indented(_with_model(text))}"))
        elif first in launch and first not in backend:
            text = _with_model(f"launch:\n  {text}")
            found.append((f"{page} {span}", f"backends:\n- name: a\n{_indented(text)}"))
        elif first in backend and not below and first != "models":
            found.append((f"{page} {span}", f"backends:\n- url: http://127.0.0.1:1\n{_indented(text)}"))
    return found


def _with_model(launch: str) -> str:
    return launch if re.search(r"^  (model|cmd):", launch, re.MULTILINE) else launch + "  model: models/demo\n"


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


INLINE = dict(_inline())


@pytest.mark.parametrize("place", INLINE)
def test_a_value_in_a_sentence_can_be_used(checked, place):
    """Whoever copies it out of the sentence has it taken."""
    code, said = checked(whole(INLINE[place]))
    assert code == 0 or (code == 1 and re.search(NO_GPU, said)), said


@pytest.mark.parametrize("page", PAGES)
def test_each_link_leads_to_a_page_and_its_heading(page):
    """Of this repository; others aren't asked."""
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text_of(page))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (REPOSITORY / page).parent / name if name else REPOSITORY / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(Path(path)), target


def test_the_examples_are_found():
    """A change of how pages are written mustn't leave all of them out."""
    assert len(blocks("yaml")) > 25
    assert len(INLINE) > 20
    assert yaml.safe_load(whole(blocks("yaml")[0].text))
