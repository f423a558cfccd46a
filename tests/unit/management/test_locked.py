import pytest

from router.config import load
from router.config.reading import places
from router.management.locked import Side, changed, reading

FILE = """\
include: more/*.yaml
logging: {dir: logs, level: info}
auth: {keys: [one]}
backends:
  - name: far
    url: http://far.test
    api_key: sk-far
  - name: near
    url: http://near.test
    headers: {x-key: "${NEAR}"}
    weight: 2
  - name: mine
    launch: {model: models/a.gguf, args: {n_ctx: 4096}, env: {A: b}, replicas: 1}
  - name: tool
    launch: {cmd: [prog, "{port}"], parallel: 1}
routes:
  best: {to: far}
"""


@pytest.fixture
def compare(tmp_path):
    """Give a function that names the locked keys that differ between the file and another text."""
    (tmp_path / "models").mkdir()
    for name in ("models/a.gguf", "models/b.gguf", "c.gguf"):
        (tmp_path / name).touch()
    path = tmp_path / "router.yaml"

    def comparing(text, environ=None):
        environ = {"NEAR": "near-secret", "OTHER": "3", **(environ or {})}
        old, new = (
            Side(places.parse(each.encode(), "f").data, load(path, environ, each.encode()).config)
            for each in (FILE, text)
        )
        return changed(old, new, tmp_path)

    return comparing


@pytest.mark.parametrize(
    ("was", "is_", "keys"),
    [
        ("include: more/*.yaml", "include: /etc/*.yaml", ["include"]),
        ("include: more/*.yaml\n", "", ["include"]),
        ("dir: logs", "dir: /tmp/x", ["logging.dir"]),
        ("logging:", "server: {tls: {cert: /etc/a, key: /etc/b}}\nlogging:", ["server.tls"]),
        ("http://far.test", "https://far.test\n    tls: {verify: false}", ["backends[far].tls", "backends[far].url"]),
        ("logging:", "state: {dir: /tmp/x}\nlogging:", ["state.dir"]),
        ("logging:", "profile: other\nlogging:", ["profile"]),
        ("[one]", "[one, two]", ["auth"]),
        ("n_ctx: 4096", "n_ctx: 1", ["backends[mine].launch.args"]),
        ("args: {n_ctx: 4096}", "args: {n_ctx: 4096}, allow: [lora]", ["backends[mine].launch.allow"]),
        ("args: {n_ctx: 4096}", "args: {n_ctx: 4096}, media_hosts: [a.org]", ["backends[mine].launch.media_hosts"]),
        ("args: {n_ctx: 4096}, ", "", ["backends[mine].launch.args"]),
        ("A: b", "A: c", ["backends[mine].launch.env"]),
        ("[prog, ", "[evil, ", ["backends[tool].launch.cmd"]),
        ("models/a.gguf", "c.gguf", ["backends[mine].launch.model"]),
        ("models/a.gguf", "models/../c.gguf", ["backends[mine].launch.model"]),
        ("models/a.gguf", "someone/model", ["backends[mine].launch.model"]),
        ("models/a.gguf", "{vllm: someone/model}", ["backends[mine].launch.model"]),
        ("${NEAR}", "${OTHER}", ["backends[near].headers.…"]),
        ("weight: 2", 'weight: "${OTHER:-3}"', ["backends[near].weight"]),
        ("${NEAR}", "plain", ["backends[near].headers.…"]),
        ("http://far.test", "http://evil.test", ["backends[far].url"]),
        ("routes:", "  - {name: new, launch: {cmd: [sh, '{port}']}}\nroutes:", ["backends[new].launch.cmd"]),
        ("routes:", "  - {name: e, url: 'http://evil.test', api_key: sk-far}\nroutes:", ["backends[e].url"]),
        ("env: {A: b}", "env: &e {A: b, C: d}", ["backends[mine].launch.env"]),
        ("name: mine", "name: renamed", ["backends[renamed].launch.args", "backends[renamed].launch.env"]),
    ],
)  # fmt: skip
def test_what_comes_from_the_disk_alone(compare, was, is_, keys):
    """Each such change is named by its key, in whatever form it is written."""
    assert was in FILE
    assert compare(FILE.replace(was, is_)) == keys


@pytest.mark.parametrize(
    ("was", "is_"),
    [
        ("", ""),
        ("level: info", "level: debug"),
        ("weight: 2", "weight: 3"),
        ("replicas: 1", "replicas: 2"),
        ("models/a.gguf", "models/b.gguf"),
        ("routes:", "  - {name: new, launch: {model: models/b.gguf}}\nroutes:"),
        ("routes:", "  - {name: new, url: 'http://new.test', api_key: sk-new}\nroutes:"),
        ("http://far.test\n    api_key: sk-far", "http://new.test\n    api_key: sk-new"),
        ('  - name: tool\n    launch: {cmd: [prog, "{port}"], parallel: 1}\n', ""),
        ("env: {A: b}", "env: &e {A: b}"),
    ],
)
def test_all_else_may_change(compare, was, is_):
    assert compare(FILE.replace(was, is_)) == []


@pytest.mark.parametrize("variable", ["ROUTER_LOGGING__DIR", "ROUTER_STATE__DIR", "ROUTER_PROFILE"])
def test_what_the_environment_lies_over_now_counts_too(compare, variable):
    """It may not after the next start."""
    key = {"LOGGING": "logging", "STATE": "state", "PROFILE": "profile"}[variable.partition("_")[2].partition("__")[0]]
    text = {
        "logging": FILE.replace("dir: logs", "dir: /tmp/x"),
        "state": f"state: {{dir: /tmp/x}}\n{FILE}",
        "profile": f"profile: other\n{FILE}",
    }[key]
    assert [each.partition(".")[0] for each in compare(text, {variable: "auto"})] == [key]


def test_what_has_others_read():
    """Files and variables."""
    old = {"include": "a", "server": {"port": "${PORT}"}}
    assert reading(old, {"include": ["a", "/etc/passwd"], "server": {"port": "${PORT}"}}) == ["include"]
    assert reading(old, {"include": "a", "server": {"port": 1, "host": "x${KEY}"}}) == ["server.host", "server.port"]
    assert reading(old, {"include": "a"}) == []
