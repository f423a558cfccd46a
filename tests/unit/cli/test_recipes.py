"""What `connect` says of each program is what docs/clients.md says of it."""

import json
import re
import tomllib

import pytest
import yaml

from router.cli.recipes import FILE, RECIPES, Told
from tests.running import REPOSITORY

URL = "http://127.0.0.1:8001"
HEADINGS = {
    "claude": "Claude Code", "codex": "Codex", "opencode": "opencode", "aider": "aider", "open-webui": "Open WebUI",
    "continue": "Continue",
}  # fmt: skip


def section(client: str) -> str:
    """Give what the page says of a program, its blocks' lines without what stands behind them."""
    text = (REPOSITORY / "docs/clients.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^## {HEADINGS[client]}\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    return re.sub(r" +#.*", "", found)


@pytest.mark.parametrize("client", RECIPES)
def test_the_page_says_the_same(client):
    """Each variable with its value, each line of a file, and the command."""
    page, recipe = section(client), RECIPES[client](Told(URL, "qwen"))
    for name, value in recipe.env.items():
        assert f"{name}={value}" in page, name
    lines = [line.rstrip() for line in page.splitlines()]
    assert [line for line in (recipe.file or ("", ""))[1].splitlines() if line.rstrip() not in lines] == []
    assert " ".join(recipe.command) in page
    assert recipe.before in page
    if recipe.file:
        assert recipe.file[0] in page


@pytest.mark.parametrize("client", RECIPES)
def test_a_key_is_named_and_not_shown(client):
    """What is printed has the variable; what a program is started with has the key."""
    said = "\n".join(RECIPES[client](Told(URL, "qwen", "$ROUTER_KEY", is_secret=True)).lines())
    assert "ROUTER_KEY" in said
    assert "none" not in said.replace("none,", "")
    recipe = RECIPES[client](Told(URL, "qwen", "sk-1", is_secret=True))
    assert "sk-1" in recipe.env.values()


def test_a_shell_reads_the_variable():
    lines = RECIPES["claude"](Told(URL, "a b", "$ROUTER_KEY", is_secret=True)).lines()
    assert 'export ANTHROPIC_AUTH_TOKEN="$ROUTER_KEY"' in lines
    assert "export ANTHROPIC_MODEL='a b'" in lines


@pytest.mark.parametrize("name", ["qwen", "qwen2.5:7b", 'a"b', "a: b #c", "org/a b"])
def test_files_have_the_models_name_as_it_is(name):
    """Whatever is in it."""
    codex, opencode, cn = (RECIPES[each](Told(URL, name)) for each in ("codex", "opencode", "continue"))
    assert codex.file is not None
    told = tomllib.loads(codex.file[1])
    assert (told["model"], told["model_providers"]["router"]["base_url"]) == (name, f"{URL}/v1")
    given = tomllib.loads("\n".join(codex.arguments[1::2]))
    assert given == {**told, "model_catalog_json": FILE}
    assert json.loads(opencode.more["OPENCODE_CONFIG_CONTENT"])["model"] == f"router/{name}"
    assert yaml.safe_load(cn.written)["models"][0]["model"] == name
