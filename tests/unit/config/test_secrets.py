"""What may be a secret never comes out of a router.yaml with mistakes, wherever and however it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from router.config import ConfigError, load
from router.config.keys.auth import AuthConfig
from router.config.masking import masked
from router.config.redact import KNOWN, public
from router.core.errors import RouterError
from router.management.configuration import read_candidate

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "Zq7"
"""Is in each text that may be a secret, and in nothing else."""

BACKEND = "backends:\n  - name: far\n    url: http://far.test\n"
LAUNCH = "backends:\n  - name: mine\n    launch:\n      model: m.gguf\n"
PLACES = {
    "auth": ("", "auth:", "  "),
    "auth.keys": ("auth:\n", "  keys:", "    "),
    "auth.keys[0]": ("auth:\n  keys:\n", "    -", "        "),
    "auth.keys[0].key": ("auth:\n  keys:\n    - name: x\n", "      key:", "        "),
    "auth.keys[0].name": ("auth:\n  keys:\n    - key: x\n", "      name:", "        "),
    "auth.keys[0].hash": ("auth:\n  keys:\n    - name: x\n", "      hash:", "        "),
    "auth.keys[0].paths": ("auth:\n  keys:\n    - key: x\n", "      paths:", "        "),
    "auth.keys[0].expires": ("auth:\n  keys:\n    - key: x\n", "      expires:", "        "),
    "auth.keys[0].max_in_flight": ("auth:\n  keys:\n    - key: x\n", "      max_in_flight:", "        "),
    "auth.teams": ("auth:\n", "  teams:", "    "),
    "auth.teams.x.keys": ("auth:\n  teams:\n    x:\n", "      keys:", "        "),
    "auth.admin_keys": ("auth:\n", "  admin_keys:", "    "),
    "auth.admin_keys[0].scopes": ("auth:\n  admin_keys:\n    - key: x\n", "      scopes:", "        "),
    "api_key": (BACKEND, "    api_key:", "      "),
    "headers": (BACKEND, "    headers:", "      "),
    "headers.x": (BACKEND + "    headers:\n", "      x:", "        "),
    "env": (LAUNCH, "      env:", "        "),
    "env.A": (LAUNCH + "      env:\n", "        A:", "          "),
}

WORDS = st.sampled_from([
    SECRET, f"{SECRET} {SECRET}", f"sk-{SECRET}", f'"{SECRET}"', f"'{SECRET}'", f'"{SECRET}: {SECRET}"',
    f"*{SECRET}", f"&{SECRET} a", f"!{SECRET} a", f"!!{SECRET}", f"&{SECRET}", f"@{SECRET}", f"%{SECRET}",
    f"`{SECRET}`", f"{SECRET}: {SECRET}", f"{SECRET} #{SECRET}", f"# {SECRET}", f'"{SECRET}', f"'{SECRET}",
    f"[{SECRET}", f"{{{SECRET}", f"{SECRET}]", f"|\n{SECRET}", f">-\n  {SECRET}\n  {SECRET}", f'"\\x{SECRET}"',
    f'"\\u005a{SECRET}"', f"${{{SECRET}-}}", f"x${{A}}{SECRET}", f"\t{SECRET}", f"{SECRET}\t: x",
    f"http://u:{SECRET}@h/", f"? {SECRET}", f"- {SECRET}", f"<<: {SECRET}", f"{SECRET}\x07", "${A}", "7", "true",
    "", "~",
])  # fmt: skip
KEYS = st.sampled_from([
    SECRET, f'"{SECRET}"', f"{SECRET} x", f"? {SECRET}", f"&{SECRET} a", f"${{A}}{SECRET}", f"sk-{SECRET}",
    f"[{SECRET}]", f"!{SECRET} a", f"Authorization: {SECRET}", f"{SECRET}.x", f'"{SECRET}\\n"', "<<", "7", "key",
    "name", "scopes", "weight", "hash", "teams", "expires", "A", "x", "authorization", "Authorization",
])  # fmt: skip


def flow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Write lists and mappings in brackets."""
    pair = st.tuples(KEYS, inner).map(": ".join)
    listed = st.lists(inner | KEYS, max_size=3).map(lambda items: f"[{', '.join(items)}]")
    return listed | st.lists(pair | KEYS, max_size=3).map(lambda items: f"{{{', '.join(items)}}}")


FLOW = st.recursive(WORDS, flow, max_leaves=5)


@st.composite
def blocks(draw: st.DrawFn, depth: int = 2) -> list[str]:
    """Write lists and mappings as lines."""
    lines = []
    for _ in range(draw(st.integers(1, 3))):
        before = draw(st.sampled_from(["- ", "", "- - ", "  "])) + draw(KEYS | st.just(""))
        if depth and draw(st.booleans()):
            lines += [f"{before}:", *(f"  {line}" for line in draw(blocks(depth - 1)))]
        else:
            lines.append(before + draw(st.sampled_from([": ", ":", " "])) + draw(FLOW))
    return lines


@st.composite
def files(draw: st.DrawFn) -> str:
    """Write a router.yaml with secrets below one of the keys, and with mistakes."""
    before, key, indent = PLACES[draw(st.sampled_from(sorted(PLACES)))]
    value = draw(
        FLOW.map(lambda said: [f" {said}"]) | blocks().map(lambda lines: ["", *(indent + line for line in lines)])
    )
    text = f"{key}" + "\n".join(value) + "\n"
    # What stands twice, and what is wrong elsewhere, points at other lines.
    twice = draw(st.sampled_from(["", text, f"{key} {{A: {SECRET}, a: 1}}\n"]))
    more = draw(
        st.sampled_from(["", "server: {port: many}\n", "server: [\n", "wrong: 1\n", "backends: [{url: 'http://a'}]\n"])
    )
    return draw(st.sampled_from([more + before + text + twice, before + text + twice + more]))


def told(path: Path, text: str) -> str:
    """Give all that is told of a text: by check and the log, with lines; by the API, as problems and as a text."""
    path.write_text(text)
    said = []
    try:
        load(path, {"A": f"{SECRET}-of-the-environment"})
    except ConfigError as error:
        said += [part for each in error.problems for part in (each.pointed, each.key, each.message)]
    for old in (BACKEND, text):
        for writes in (False, True):
            try:
                read_candidate(path, old.encode(), text, writes=writes)
            except ConfigError as error:
                said += [each.pointed for each in error.problems]
            except RouterError as error:
                said += [error.message, error.param or ""]
    return "\n".join(said)


@settings(
    deadline=None,
    max_examples=400,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(files())
@example(f"{BACKEND}auth:\n  admin_keys:\n    - {SECRET}: dash\n")
@example(f"{BACKEND}auth:\n  admin_keys:\n    - {{{SECRET}}}\n")
@example(f"{BACKEND}auth:\n  keys:\n    {SECRET}: alice\n    {SECRET}: bob\n")
@example(f"{BACKEND}auth:\n  keys:\n    - key: a\n      name: x\n      key: {SECRET}\n")
@example(f"{BACKEND}    headers: [{SECRET}]\n")
@example(f"{BACKEND}    headers: {{Authorization: {SECRET}, authorization: {SECRET}}}\n")
@example(f'{BACKEND}    headers: {{"Authorization: Bearer {SECRET}": x}}\n')
@example(f'{BACKEND}    headers: "Authorization: Bearer {SECRET}"\n')
@example(f"{LAUNCH}      env: {{A: x, A: {SECRET}}}\n")
@example(f"{LAUNCH}      env: {{A: {{{SECRET}: 1}}}}\n")
@example(f"{BACKEND}    api_key {SECRET}\n")
@example(f"{BACKEND}# {SECRET}\nauth: [")
@example(f"# {SECRET}\n{BACKEND}auth: [1]\n")
@example(f"{LAUNCH}      args: [--api-key, {SECRET}, [\n")
def test_no_secret_comes_out(tmp_path, text):
    """A secret may stand as a value, or by mistake as a key, a tag, an anchor or an alias, or where no YAML is."""
    said = told(tmp_path / "router.yaml", text)
    assert SECRET not in said, said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"auth:\n  keys:\n    {SECRET}: alice\n", "auth:\n  keys:\n    (hidden): (hidden)\n"),
        (f"auth: {{admin_keys: [{{{SECRET}}}]}}\n", "auth: {admin_keys: [{(hidden)}]}\n"),
        (f"headers: {{Authorization: {SECRET}}}\n", "headers: {Authorization: (hidden)}\n"),
        (f'headers: {{"Authorization: {SECRET}": x}}\n', "headers: {(hidden): (hidden)}\n"),
        (f"env: {{A: {{{SECRET}: 1}}}}\n", "env: {A: {(hidden): (hidden)}}\n"),
        (f"api_key: {{{SECRET}: 1}}\n", "api_key: {(hidden): (hidden)}\n"),
    ],
)
def test_a_file_that_is_shown_has_none_as_a_key(text, shown):
    """Names of headers and of variables are names; all else below such keys may be a secret."""
    assert masked(text, "f") == shown


def test_the_keys_that_may_be_shown_are_those_that_there_are():
    """A new key of a section below `auth` belongs to them."""
    assert set(_keys(AuthConfig)) == KNOWN


def _keys(section: type[BaseModel]) -> list[str]:
    found = []
    for name, field in section.model_fields.items():
        found.append(name)
        for argument in _models(field.annotation):
            found += _keys(argument)
    return found


def _models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (("backends", 0, "headers"), ("backends", 0, "headers")),
        (("backends", 0, "headers", "x-a"), ("backends", 0, "headers", "…")),
        (("auth", "keys", 1, "weight"), ("auth", "keys", 1, "weight")),
        (("auth", "keys", 1, "wieght", 0), ("auth", "keys", 1, "…", 0)),
        (("server", "prot"), ("server", "prot")),
        (("routes", "z", "set", "top_k"), ("routes", "z", "set", "top_k")),
        (("routes", "z", "set", "SETSEC-17"), ("routes", "z", "set", "…")),
        (("routes", "z", "at_most", "sk-17"), ("routes", "z", "at_most", "…")),
        (("routes", "default", "to", 0), ("routes", "default", "to", 0)),
        (("backends", 0, "launch", "args", "--ctx-sise"), ("backends", 0, "launch", "args", "--ctx-sise")),
        (("backends", 0, "launch", "args", "0a1b2c3d4e5f6a7b8c"), ("backends", 0, "launch", "args", "…")),
        (("backends", 0, "launch", "args", "a1b2c3d4e5f6a7b8c"), ("backends", 0, "launch", "args", "…")),
    ],
)
def test_a_path_that_may_be_shown(path, shown):
    """Below a secret key, only the keys that there are; where any name may stand, only what looks like one."""
    assert public(path) == shown
