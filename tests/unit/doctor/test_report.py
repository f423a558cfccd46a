"""`doctor --report`: what is in it, and that no secret is, wherever one was planted."""

import base64
import json
import os
import stat
from pathlib import Path

import pytest

from profiles import Facts
from router.cli.main import main
from router.doctor import looking
from router.doctor import report as of
from router.doctor.cleaning import Cleaner, parts
from router.doctor.findings import Finding, FindingGroup, Mark

FACTS = Facts("Linux", "x86_64", "3.11.7", 2, 8 << 30, {}, os="Debian", notes=("a GPU can't be read",))
FOUND = [FindingGroup("Server", (Finding(Mark.OK, "port", "8001 is free"),))]

CONFIG = """\
include: more.yaml
server: {{port: 8001, tls: {{cert: a.crt, key: a.key}}}}
# the old key was {0}; api_key: {1}
auth:
  keys:
    - {{name: alice, key: "{2}", tokens_per_minute: 100k}}
    - "{3}"
  admin_keys: [{{name: ops, key: '{4}'}}]
backends:
  - url: https://user:{5}@api.example.org/v1?sig={6}
    name: hosted
    models: [big]
    api_key: {7}
    headers: {{x-token: {8}, cookie: "a={9}"}}
  - name: own
    models: [own]
    launch:
      cmd: [serve, --api-key, {10}, "--auth-token={11}", --port, "{{port}}"]
      env: {{SOME_VALUE: {12}}}
  - url: http://127.0.0.1:1
    name: named
    api_key: ${{MINE}}
    headers: {{other: "Bearer ${{ANOTHER}}"}}
routes:
  r: {{to: big, set: {{password: {13}}}}}
"""
MORE = "prices: {{}}\nbackends: [{{url: 'http://127.0.0.1:2', name: second, api_key: {14}}}]\n"
SECRETS = [f"planted{number}-Hu7sTq" for number in range(20)]
ODD = 'pl"anted/20 ü%&'
"""One that looks otherwise in JSON, in an address, and on a terminal."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder below a home whose owner has a name, with router.yaml and a log; all with secrets in them."""
    home = tmp_path / "home/margaret"
    folder = home / "models"
    (folder / "logs").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    config = CONFIG.format(*SECRETS).replace(SECRETS[4], ODD)
    (folder / "router.yaml").write_text(config)
    (folder / "more.yaml").write_text(MORE.replace("prices: {{}}\n", "").format(*SECRETS))
    said = [SECRETS[2], SECRETS[15], ODD, "sk-proj-abcdefgh12345678", "hf_abcdefgh12345678"]
    lines = [
        {"event": f"it said {' '.join(said)}", "api_key": "other-secret-1", "file": f"{folder}/logs"},
        {"event": f"asked http://me:other-secret-2@host/path?sig=other-secret-3 with Bearer other-secret-4 {ODD}"},
        {"event": "it ran serve --hf-token other-secret-5 --max-tokens 100", "path": "/Users/margaret/x"},
        {"event": "Authorization: Basic " + base64.b64encode(b"other:secret-6").decode()},
        {"event": "x" * 5000},
    ]
    log = "\n".join(json.dumps(each) for each in lines)
    (folder / "logs/router.log").write_text("an old line\n" * 500 + log + "\n")
    (folder / "logs/own.log").write_text("a prompt\n")
    (folder / "logs/router.lock").write_text(json.dumps({"pid": os.getpid(), "url": "http://127.0.0.1:8001"}))
    return folder


def environ(**more: str) -> dict[str, str]:
    return {
        "MINE": SECRETS[16], "ANOTHER": SECRETS[17], "HF_TOKEN": SECRETS[15], "CUDA_VISIBLE_DEVICES": "0,1",
        "ROUTER_SERVER__PORT": "9000", "OPENAI_API_KEY": SECRETS[18], **more,
    }  # fmt: skip


def written(folder: Path, **more: str) -> str:
    return of.report(folder / "router.yaml", environ(**more), FACTS, FOUND, 1_800_000_000.0)


def leaks(text: str) -> list[str]:
    """Give what is in it of secrets, and of the user's name."""
    others = [f"other-secret-{number}" for number in range(10)]
    odd = ["anted/20", "anted%2F20"]
    return [
        each for each in [*SECRETS, *others, *odd, "proj-abcdefgh", "hf_abc", "margaret", "b3RoZXI6"] if each in text
    ]


def test_it_has_what_a_report_of_a_fault_needs(folder):
    """Versions, platform, devices, doctor's words, the file, the router that runs, and the end of its log."""
    text = written(folder)
    for words in (
        "# Report of `router doctor`, 2027-01-15 08:00 UTC\n",
        "\npydantic ",
        "\nhot path: ",
        "\nDebian x86_64\n",
        "a GPU can't be read",
        "\nram: ",
        "CUDA_VISIBLE_DEVICES=0,1",
        "set, too: HF_TOKEN, ROUTER_SERVER__PORT\n",
        "8001 is free",
        "## ~/models/router.yaml",
        "## ~/models/more.yaml",
        "    name: hosted",
        "tokens_per_minute: 100k",
        f"pid {os.getpid()}, at http://127.0.0.1:8001: it runs",
        "--max-tokens 100",
        '"file": "~/models/logs"',
        '"path": "~/x"',
    ):
        assert words in text
    assert text.count("an old line") == of.LAST_LINES - 5
    assert max(map(len, text.splitlines())) <= of.LONGEST


def test_no_secret_is_in_it(folder):
    """Of the file, of one that it includes, of the environment, of comments, and of the log; nor who it is."""
    text = written(folder)
    assert leaks(text) == []
    assert "a prompt" not in text


@pytest.mark.parametrize("broken", ["wibble: 1\n", "a: [\n"])
def test_nor_is_one_where_the_file_cant_be_used(folder, broken):
    """A key that there isn't; and no YAML, of which nothing is shown."""
    path = folder / "router.yaml"
    path.write_text(path.read_text() + broken)
    text = written(folder)
    # What the log alone has, and no key names, can't be known then.
    known = set(SECRETS[:2]) | set(SECRETS[3:]) if broken == "a: [\n" else set(SECRETS)
    assert not known & {*leaks(text)}
    assert ("left out" in text) is (broken == "a: [\n")
    assert "margaret" not in text


HEADERS = """\
backends:
  - {name: a, url: 'http://me:mine5@h', models: [a], api_key: planted1, headers: {authorization: planted2}}
  - {name: b, url: "h/v1?api_key=planted3"}
telemetry: {traces: {headers: {x: y}}}
"""


async def test_what_is_wrong_with_the_file_is_told_in_full(tmp_path, monkeypatch):
    """Words of ours behind the name of a key are none of its value; what is quoted may be one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "router.yaml").write_text(HEADERS)
    found = await looking.examine(tmp_path / "router.yaml", {}, facts=FACTS)
    told = of.report(tmp_path / "router.yaml", {}, FACTS, found, 0.0).partition("## Doctor")[2].partition("##")[0]
    assert "backends[0].headers: `api_key` is the authorization header: write one of the two\n" in told
    assert "telemetry.traces.headers: unknown key; known here: " in told
    assert "got 'h/v1?api_key=(hidden)'" in told
    assert "planted" not in told


def test_nothing_is_there(tmp_path):
    """It says so of each part."""
    text = written(tmp_path)
    assert "# can't be read" not in text.partition("## Doctor")[0]
    assert "There is none." in text
    assert text.count("can't be read: No such file or directory") == 1


def test_a_router_that_has_ended():
    def gone(*_):
        raise ProcessLookupError

    assert of._runs(1, gone) is False

    def of_another(*_):
        raise PermissionError

    assert of._runs(1, of_another) is True


def test_who_may_open_devices(tmp_path, monkeypatch):
    """Of AMD's, the group says it."""
    (tmp_path / "dev/dri/by-path").mkdir(parents=True)
    (tmp_path / "dev/kfd").touch(0o600)
    (tmp_path / "dev/dri/renderD128").touch(0o600)
    monkeypatch.setattr(os, "access", lambda path, _: path.name == "kfd")
    kfd, render = of._device_files(tmp_path)
    assert kfd.startswith("/dev/kfd: -rw------- ")
    assert kfd.endswith(", open to this user")
    assert render.endswith(", not open to this user")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("keys: [alice, bob]", "keys: [alice, bob]"),
        ("max_tokens=8192, api_key=abc", "max_tokens=8192, api_key=(hidden)"),
        ("api_key: ${MINE}", "api_key: ${MINE}"),
        ('{"password": "a b"}', '{"password": (hidden)}'),
        ("whoever shows one of 2 keys", "whoever shows one of 2 keys"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "(hidden)"),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----", "(hidden)"),
        ("/home/me/a /home/meg /home/me", "~/a /home/meg ~"),
        ("short: abc abcd", "short: abc (hidden)"),
        # In the value of another name, and in JSON in JSON.
        (
            '{"event": "it said HF_TOKEN=X1 password: X2 ok"}',
            '{"event": "it said HF_TOKEN=(hidden) password: (hidden) ok"}',
        ),
        ('{"event": "{\\"api_key\\":\\"X1 X2\\"} ok"}', '{"event": "{\\"api_key\\":(hidden)} ok"}'),
        (
            '{"event": "serve --system-prompt hello --n-prompt 5", "prompt": "a b", "prompt_tokens": 7}',
            '{"event": "serve --system-prompt (hidden) --n-prompt 5", "prompt": (hidden), "prompt_tokens": 7}',
        ),
        ("prompt=hello prompt=7", "prompt=(hidden) prompt=7"),
    ],
)
def test_what_looks_like_a_secret(text, cleaned):
    assert Cleaner(["abc", "abcd"], "/home/me").clean(text) == cleaned


def test_root_has_no_name_to_hide():
    """Nor has who has no home."""
    assert Cleaner([], "/").clean("/home/me /a") == "/home/me /a"


def test_the_command(tmp_path, monkeypatch, capsys):
    """It writes a file for its owner alone, or prints it; one that can't be written is said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(looking, "look_at_machine", lambda _: FACTS)
    (tmp_path / "router.yaml").write_text("server: {port: 0}\nbackends: [{url: 'http://127.0.0.1:1', models: [a]}]\n")
    assert main(["doctor", "--report"]) == 0
    assert "router-report.txt is written" in capsys.readouterr().out
    made = tmp_path / "router-report.txt"
    assert made.read_text().startswith("# Report of")
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert main(["doctor", "--report", "-"]) == 0
    assert capsys.readouterr().out.startswith("# Report of")
    assert main(["doctor", "--report", "gone/report.txt", "--config", "router.yaml"]) == 1
    assert "gone/report.txt can't be written" in capsys.readouterr().err


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """A folder with router.yaml, and a file of somebody's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(looking, "look_at_machine", lambda _: FACTS)
    (tmp_path / "router.yaml").write_text("server: {port: 0}\nbackends: [{url: 'http://127.0.0.1:1', models: [a]}]\n")
    made = tmp_path / "notes.txt"
    made.write_text("mine")
    return made


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("notes.txt", 2, "notes.txt is there already, and is no report"),
        ("empty", 2, "empty is there already, and is no report"),
        ("router.yaml", 2, "router.yaml is the configuration"),
        ("link", 2, "link is the configuration"),
        (".", 1, ". can't be written: Is a directory"),
        ("/dev/null", 1, "/dev/null is no ordinary file"),
    ],
)
def test_what_is_no_report_is_not_replaced(notes, capsys, name, code, said):
    """Somebody's notes, an empty file, router.yaml by whatever name, a folder, a device."""
    (notes.parent / "empty").touch()
    (notes.parent / "link").symlink_to("router.yaml")
    before = {each: each.read_text() for each in notes.parent.iterdir()}
    assert main(["doctor", "--report", name]) == code
    assert said in capsys.readouterr().err
    assert {each: each.read_text() for each in notes.parent.iterdir()} == before


def test_a_router_yaml_that_is_not_there_is_not_made(notes, capsys):
    """Else the report would be the next start's configuration."""
    (notes.parent / "router.yaml").unlink()
    assert main(["doctor", "--report", "router.yaml"]) == 2
    assert "is the configuration" in capsys.readouterr().err
    assert not (notes.parent / "router.yaml").exists()


def test_a_report_is_replaced_once_the_new_one_is_whole(notes, monkeypatch, capsys):
    """On a full disk the old one stays, and nothing is left beside it."""
    old = notes.with_name("router-report.txt")
    old.write_text(f"{of.TITLE}old")
    assert main(["doctor", "--report"]) == 0
    new = old.read_text()
    assert new != f"{of.TITLE}old"
    assert new.startswith(of.TITLE)
    there = {*notes.parent.iterdir()}

    def full(path, *_, **__):
        os.close(os.open(path, os.O_WRONLY))
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        assert main(["doctor", "--report"]) == 1
    assert "router-report.txt can't be written: No space left on device" in capsys.readouterr().err
    assert old.read_text() == new
    assert {*notes.parent.iterdir()} == there


def test_the_user_of_an_address_is_hidden_only_there():
    """`user` is a word that may stand anywhere; one without a password is a token."""
    assert "user" not in {*parts("http://user:pass@h")}
    assert "pass" in {*parts("http://user:pass@h")}
    assert "token1" in {*parts("http://token1@h")}


def test_prompts_of_routes_and_engines_are_not_in_it(folder):
    """A system prompt of a route, and of an engine's arguments, in the file and the log; words of a dying engine."""
    prompts = ["You are a planted1", "planted2", "planted3 in\\n lines", "planted4", "planted5 x"]
    config = f"""\
backends:
  - name: own
    launch:
      model: a.gguf
      args: {{n_ctx: 4096, flash-attn: on, system-prompt: {prompts[3]}, chat-template-kwargs: {{a: planted6}}}}
  - {{name: two, launch: {{model: a.gguf, args: {{other: {prompts[4]}}}}}}}
  - name: three
    launch: {{cmd: [serve, --system-prompt, "planted9 x", "--chat-template-kwargs=planted10", --port, "{{port}}"]}}
routes:
  set: {{to: own, default: {{system: "{prompts[0]}", user: {prompts[1]}, temperature: 0.5}}}}
  default: {{to: own, set: {{instructions: "{prompts[2]}", messages: [{{content: planted7}}], stream: true}}}}
"""
    (folder / "router.yaml").write_text(config)
    (folder / "logs/router.log").write_text(json.dumps({"event": f"it ran with {prompts[0]}\n    | planted8"}))
    text = written(folder)
    assert "planted" not in text
    for kept in (
        "n_ctx: 4096",
        "flash-attn: on",
        "temperature: 0.5",
        "stream: true",
        "user: (hidden)",
        "to: own",
        "--port",
    ):
        assert kept in text
