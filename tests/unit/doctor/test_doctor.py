import errno
import os
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from aiohttp import web

from launchers.engines import ENGINES
from launchers.gpus import Claim
from launchers.weights import hub_cache, weights
from profiles import Facts, load_profiles
from profiles.detect import Memory, Profile
from profiles.parsers import Gpu
from router.config import BackendConfig, Config
from router.core.memory.footprints import Placement
from router.core.memory.resident import Loadable
from router.doctor import findings, judging, looking
from router.doctor.findings import Finding, FindingGroup, Mark
from router.doctor.judging import Model
from router.fleet.launching import Launch
from tests.fakes.engine import FakeEngine
from tests.models import write_gguf

GIB = 1 << 30
H100 = Gpu("NVIDIA", "NVIDIA H100 80GB HBM3", 81559 << 20, "580.159.04", "9.0")
FACTS = Facts("Linux", "x86_64", "3.11.7", cpus=2, memory_bytes=8 * GIB, engines={"llama_cpp": "0.3.36"})
CPU = Profile("cpu", "any machine", (), Memory("ram", 0.5))
OK, LOOK, STOP, FACT = Mark.OK, Mark.LOOK, Mark.STOP, Mark.FACT


def sections(*marks: Mark) -> list[FindingGroup]:
    return [FindingGroup("Some", tuple(Finding(mark, "thing", "is so") for mark in marks))]


def test_of_gpus_what_is_free_is_told_and_what_will_not_fit():
    """What of ours runs has its share already; what does not run asks for its own, in order."""

    def launch(name: str, share: float | None, least: int = 0, gpu: str = "NVIDIA 0") -> Launch:
        claim = None if share == 0 else Claim((gpu,), share, least=least)
        return cast("Launch", SimpleNamespace(spec=SimpleNamespace(name=name, claim=claim)))

    facts = replace(FACTS, gpus=(replace(H100, free_bytes=7 * GIB),))
    launches = [launch("a", 0.9), launch("b", 0.45, 20 * GIB), launch("c", None), launch("d", 0)]
    free, a, b = judging.of_gpus(launches, ["a", "other"], facts)
    assert free == Finding(Mark.FACT, "NVIDIA GPU 0", "7 GiB of 79.6 GiB are free now")
    assert a == Finding(Mark.OK, "a", "has 0.9 of NVIDIA GPU 0")
    assert (b.mark, b.what) == (Mark.LOOK, "b")
    assert "a has 0.9; to share it, write" in b.text
    assert list(judging.of_gpus([launch("d", 0)], [], facts)) == []
    (unknown,) = judging.of_gpus([launch("a", 0.9)], [], replace(FACTS, gpus=(H100,)))
    assert unknown == Finding(Mark.OK, "a", "gets 0.9 of NVIDIA GPU 0")
    (_, less) = judging.of_gpus([launch("a", 0.9)], ["a"], facts, {"a": 0.41})
    assert less.text == "has 0.41 of NVIDIA GPU 0"
    (mixed,) = judging.of_gpus([launch("a", 0.9, gpu="NVIDIA of some kind")], [], replace(FACTS, gpus=(H100,)))
    assert mixed.mark is Mark.LOOK
    assert 'write `env: {CUDA_VISIBLE_DEVICES: "0"}` below its launch' in mixed.text


@pytest.mark.parametrize(
    ("marks", "code", "verdict"),
    [
        ((), 0, "The router can start, and nothing is in its way."),
        ((FACT, OK), 0, "The router can start, and nothing is in its way."),
        ((OK, LOOK, LOOK), 0, "The router can start; what is marked ! deserves a look (2 of it)."),
        ((STOP, LOOK), 1, "The router can't start: put right what is marked ✗ first (1 of it)."),
    ],
)
def test_the_sentence_at_the_end_and_the_exit_code(marks, code, verdict):
    """Only what stops the router makes it 1."""
    assert findings.exit_code(sections(*marks)) == code
    assert findings.render(sections(*marks)).splitlines()[-1] == verdict


def test_findings_are_aligned_a_line_each():
    """Whatever a device or a file is called."""
    text = findings.render([
        FindingGroup("One", (Finding(OK, "a", "b"), Finding(STOP, "long name", "two\nlines"))),
        FindingGroup("Two", (Finding(FACT, "x", "y"),)),
    ])  # fmt: skip
    assert text.splitlines()[:-1] == [
        "One",
        "  ok  a          b",
        r"  ✗   long name  two\nlines",
        "",
        "Two",
        "      x          y",
        "",
    ]


def said(findings) -> list[str]:
    return [" ".join(filter(None, (each.mark.value, each.what, each.text))) for each in findings]


def test_what_the_machine_is():
    """All of it, where there is much to say."""
    facts = Facts(
        "Linux", "x86_64", "3.11.7", 2, 64 * GIB, {}, os="Ubuntu 24.04.3 LTS", gpus=(H100,), machine_cpus=64,
        memory_limit_bytes=4 * GIB, wsl=True, notes=("CUDA_VISIBLE_DEVICES hides 1 of 2 NVIDIA GPUs",),
    )  # fmt: skip
    assert said(judging.of_machine(facts)) == [
        "system Ubuntu 24.04.3 LTS on x86_64 inside Windows (WSL)",
        "python 3.11.7",
        "cpu 2 of 64 CPUs",
        "memory 64 GiB, of which a container leaves 4 GiB",
        "gpu NVIDIA H100 80GB HBM3 (79.6 GiB), driver 580.159.04, compute 9.0",
        "! gpu CUDA_VISIBLE_DEVICES hides 1 of 2 NVIDIA GPUs",
    ]


def test_what_a_mac_is():
    """Its GPU is its chip's."""
    facts = Facts("Darwin", "arm64", "3.11.7", 12, 32 * GIB, {}, os="macOS 15.1", chip="Apple M2 Pro")
    assert said(judging.of_machine(facts))[2:] == ["chip Apple M2 Pro", "cpu 12 CPUs", "memory 32 GiB"]


def test_the_profile_and_why():
    """With what models may take."""
    profile, findings = judging.of_profile(FACTS, load_profiles(), "auto")
    assert profile is not None
    assert profile.name == "cpu"
    assert said(findings) == [
        "ok cpu Linux on x86_64 with 2 CPUs and no GPU that engines can use",
        "models may take 6.4 GiB, 0.8 of memory (8 GiB)",
    ]


def test_a_profile_that_there_is_not():
    """It stops the router."""
    profile, (finding,) = judging.of_profile(FACTS, {"cpu": CPU}, "tpu")
    assert profile is None
    assert said([finding]) == ["✗ profile there is no profile tpu; there are: auto, cpu"]


def test_each_engine_has_what_it_suits_and_its_version_or_its_command():
    """A missing one is no fault; the command is for this very Python, as it stands."""
    findings = list(judging.of_engines(ENGINES, FACTS, None))
    assert [finding.what for finding in findings] == list(ENGINES)
    for finding in findings:
        engine = ENGINES[finding.what]
        if finding.what == "llama_cpp":
            assert (finding.mark, finding.text) == (OK, f"0.3.36: {engine.suits}")
        else:
            command = f"{sys.executable} -m {engine.install}"
            text = f"not installed: {engine.suits}; to install it: {command}"
            assert (finding.mark, finding.text) == (FACT, text)


def test_the_profiles_engines_come_first_and_the_one_that_auto_takes_is_named():
    """With the way to another."""
    *findings, auto = judging.of_engines(ENGINES, FACTS, load_profiles()["nvidia"])
    assert [finding.what for finding in findings] == ["vllm", "llama_server", "llama_cpp", "mlx"]
    assert said([auto])[0].startswith("auto takes llama_cpp, the first of the nvidia profile's that is installed; ")
    bare = replace(FACTS, engines={})
    assert [each.what for each in judging.of_engines(ENGINES, bare, load_profiles()["cpu"])][:2] == [
        "llama_cpp",
        "llama_server",
    ]
    assert all(each.what != "auto" for each in judging.of_engines(ENGINES, bare, load_profiles()["cpu"]))


def test_an_engine_that_the_profile_lacks_is_no_part_of_what_is_right():
    """It may be installed all the same: mlx is made for Apple silicon, and can be on Linux, too."""
    facts = replace(FACTS, engines={"llama_cpp": "0.3.36", "mlx": "0.32.2"})
    found = {each.what: each for each in judging.of_engines(ENGINES, facts, load_profiles()["cpu"])}
    assert (found["llama_cpp"].mark, found["mlx"].mark) == (OK, FACT)
    assert found["mlx"].text == (
        f"0.32.2: {ENGINES['mlx'].suits}; "
        "the cpu profile lacks it: `engine: mlx` takes it, or a model that nothing else here reads"
    )
    on_a_mac = {each.what: each for each in judging.of_engines(ENGINES, facts, load_profiles()["apple_silicon"])}
    assert on_a_mac["mlx"].mark == OK


def test_a_program_on_path_is_asked_for_its_version(tmp_path, monkeypatch):
    """A start only sees where it lies."""
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\necho 'version: 6710 (74b8fc17)' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    engine = SimpleNamespace(name="server", module="no_such_module", program="llama-server", install="")
    other = SimpleNamespace(name="other", module="no_such_module", program=None, install="")
    facts = looking.look_at_machine({"server": engine, "other": other})
    assert facts.engines == {"server": f"6710 at {program}"}


def model(backend: str, size: int | None, replicas: int = 1, *, here: bool = True) -> Model:
    return Model(backend, "llama_cpp", "llama_cpp 0.3.36: so", f"/{backend}.gguf", here, size, replicas)


def test_models_that_fit_and_one_that_does_not():
    """Each beside those before it, its replicas counted; 4 GiB are theirs."""
    models = [model("a", GIB), model("b", GIB, 2), model("c", 2 * GIB), model("d", None), model("e", None, here=False)]
    findings = [*judging.of_models(models, CPU, FACTS)]
    limit = "models may take 4 GiB, 0.5 of memory (8 GiB)"
    assert said(findings[::2]) == [f"{name} llama_cpp 0.3.36: so" for name in "abcde"]
    assert said(findings[1::2]) == [
        "ok a /a.gguf, 1 GiB, fits",
        "ok b /b.gguf, 2 x 1 GiB, fits",
        f"! c /c.gguf, takes 2 GiB, but {limit}, and those before it take 3 GiB: take a smaller one, or fewer",
        "ok d /d.gguf; its size is not known",
        "! e /e.gguf: not on this disk; it is looked for again when a request wants it",
    ]


def test_models_that_come_and_go_are_judged_each_for_itself():
    """What each takes of which device, and what was chosen for one that doesn't fit."""
    limits = {"ram": 4 * GIB, "NVIDIA 0": 10 * GIB, "NVIDIA 1": 10 * GIB}

    def loadable(*estimates: dict[str, int], note: str = "") -> Loadable:
        return Loadable("x", tuple(Placement("key", estimate, is_told=True, note=note) for estimate in estimates))

    made = {
        "a": loadable({"ram": 3 * GIB}),
        "b": loadable({"NVIDIA 0": 12 * GIB}, {"ram": GIB, "NVIDIA 1": 9 * GIB}),
        "c": loadable({"NVIDIA 0": 8 * GIB}, {"NVIDIA 1": 8 * GIB}, note="it has less"),
        "d": loadable({"ram": 5 * GIB}),
        "e": loadable({}, note="it isn't known"),
    }
    findings = [*judging.of_memory([model(name, GIB) for name in made], made, limits)]
    assert said(findings[1::2]) == [
        "ok a /a.gguf, takes 3 GiB of memory, fits",
        "ok b /b.gguf, takes 1 GiB of memory and 9 GiB of NVIDIA GPU 1, fits",
        "! c /c.gguf, takes 8 GiB of NVIDIA GPU 0, or of another GPU; it has less",
        "! d /d.gguf, takes 5 GiB of memory, but models may take 4 GiB of memory: it is refused; take a smaller one",
        "! e /e.gguf, takes what isn't known; it isn't known",
    ]


def test_what_comes_and_goes_is_looked_at_only_where_memory_decides(tmp_path):
    """With the headers of its files."""
    write_gguf(tmp_path / "m.gguf", layers=2, layer=1 << 20)
    facts = replace(FACTS, engines={"llama_server": "1"})

    def looked(**launch: str) -> list[Finding]:
        backends = [{"name": "m", "launch": {"model": "m.gguf", **launch}}]
        config = Config.model_validate({"backends": backends, "memory": {"limit": {"ram": "2GiB"}}})
        launches = looking.planned(config, tmp_path, ENGINES, facts)[0]
        return looking.in_memory(looking.found(launches, {}), launches, config)

    assert looked() == []
    (most, why, takes) = looked(load="on_demand")
    assert most.text == "load and unload by themselves, and may take 2 GiB of memory"
    assert (why.mark, takes.mark) == (Mark.FACT, Mark.OK)
    assert takes.text.endswith("MiB of memory, fits")


def put(folder: Path, **sizes: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in sizes.items():
        (folder / name.replace("__", "-").replace("_DOT_", ".")).write_bytes(b"x" * size)


def taken(model: object, environ: dict[str, str] | None = None) -> int | None:
    files = weights(str(model), {"HF_HOME": "/nowhere", **(environ or {})})
    return None if files is None else sum(file.stat().st_size for file in files)


def test_the_size_of_a_file(tmp_path):
    """A split one has all of its parts, and no other's."""
    put(tmp_path, a_DOT_gguf=5)
    for part in (1, 2, 3):
        (tmp_path / f"b[1]-0000{part}-of-00003.gguf").write_bytes(b"x" * part)
    (tmp_path / "b[1]-00004-of-00004.gguf").write_bytes(b"x" * 100)
    assert taken(tmp_path / "a.gguf") == 5
    assert taken(tmp_path / "b[1]-00001-of-00003.gguf") == 6


def test_the_size_of_a_folder(tmp_path):
    """Its weights, in the form that an engine reads; what else lies there isn't loaded."""
    put(tmp_path, a_DOT_safetensors=5, b_DOT_safetensors=6, a_DOT_bin=100, config_DOT_json=100)
    assert taken(tmp_path) == 11
    put(tmp_path / "empty")
    assert taken(tmp_path / "empty") == 0


def test_the_size_of_a_hubs_model_that_was_fetched(tmp_path):
    """The newest of it; a name may choose a file."""
    snapshots = tmp_path / "hub" / "models--org--name" / "snapshots"
    put(snapshots / "old", a_DOT_safetensors=100)
    os.utime(snapshots / "old", (1, 1))
    put(snapshots / "new", a_DOT_safetensors=5, m__Q4_K_M_DOT_gguf=7, m__Q8_0_DOT_gguf=9)
    environ = {"HF_HOME": str(tmp_path)}
    assert taken("org/name", environ) == 5
    assert taken("org/name:*Q4_K_M.gguf", environ) == 7
    assert taken("org/name:q8_0", environ) == 9
    assert taken("org/name:*Q2_K.gguf", environ) is None
    assert taken("org/other", environ) is None
    assert taken("no model", environ) is None


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HF_HOME": "/b", "XDG_CACHE_HOME": "/c"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({}, "~/.cache/huggingface/hub"),
    ],
)
def test_where_the_hubs_models_are_kept(environ, place):
    assert hub_cache(environ) == Path(place).expanduser()


def test_a_port_that_is_free():
    """Port 0 is always."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert looking.try_port("127.0.0.1", port) is None
    assert looking.try_port("127.0.0.1", 0) is None
    assert said([judging.of_port("127.0.0.1", port, None)]) == [f"ok port 127.0.0.1:{port} is free"]
    assert said([judging.of_port("127.0.0.1", 0, None)]) == ["ok port any that is free"]


def test_a_port_that_is_not_free():
    """It stops the router; the way out is said."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = looking.try_port("127.0.0.1", port)
    assert error is not None
    assert error.errno == errno.EADDRINUSE
    (text,) = said([judging.of_port("127.0.0.1", port, error)])
    assert text.startswith(f"✗ port {port} is in use")
    assert f"ROUTER_SERVER__PORT={port + 1}" in text


def test_ollamas_port_is_looked_at_too():
    """Ollama itself may have it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = looking.try_port("127.0.0.1", port)
    (text,) = said([judging.of_port("127.0.0.1", port, error, "ollama_port")])
    assert text.startswith(f"✗ ollama_port {port} is in use, perhaps by Ollama itself")
    error = looking.try_port("192.0.2.1", 11434)
    (text,) = said([judging.of_port("192.0.2.1", 11434, error, "ollama_port")])
    assert text.endswith("; set server.host and server.ollama_port")


def test_an_address_that_is_not_this_machines():
    """What the system says of it, and which keys to set."""
    error = looking.try_port("192.0.2.1", 8001)
    (text,) = said([judging.of_port("192.0.2.1", 8001, error)])
    assert text.startswith("✗ port can't listen at 192.0.2.1:8001: ")
    assert text.endswith("; set server.host and server.port")


async def test_a_name_of_its_own_that_hangs(monkeypatch):
    """It is not waited for: the router, too, would give it up."""
    go_on = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: go_on.wait(60) and [])
    error = await looking.taken("me.example", 8001, 0.02)
    go_on.set()
    (text,) = said([judging.of_port("me.example", 8001, error)])
    assert "the name 'me.example' can't be resolved (no answer in 0.02 s)" in text


def test_every_address_means_those_of_ipv4_too():
    """A port that is taken at 0.0.0.0 is no free one for `::`."""
    with socket.create_server(("0.0.0.0", 0)) as taken:
        error = looking.try_port("::", taken.getsockname()[1])
    assert error is not None
    assert error.errno == errno.EADDRINUSE


KEYS = {"keys": ["one", "two"]}
WIDE = {"host": "0.0.0.0"}


@pytest.mark.parametrize(
    ("server", "auth", "told"),
    [
        (
            {},
            {},
            [
                "ok who programs of this machine, without a key, under these names: localhost, addresses",
                "ok pages none but the router's own (server.cors)",
                "ok /admin this machine alone, and nothing through a proxy",
            ],
        ),
        (
            {"hosts": ["router.lan"], "cors": ["https://chat.test", "app://obsidian.md"]},
            {"admin_keys": ["a"]},
            [
                "ok who programs of this machine, without a key, under these names: localhost, addresses, router.lan",
                "ok pages https://chat.test, app://obsidian.md",
                "ok /admin whoever shows an admin key",
            ],
        ),
        (
            {**WIDE, "cors": ["*"]},
            KEYS,
            [
                "ok who whoever shows one of 2 keys (auth.keys)",
                "! pages every web page that has a key, as server.cors says: name those that should",
                "ok /admin this machine alone, and nothing through a proxy",
            ],
        ),
        (
            WIDE,
            {"open": True},
            [
                "! who everybody who reaches 0.0.0.0 may use the models (auth.open); with auth.keys, who has a key",
                "ok pages none but the router's own (server.cors)",
                "ok /admin this machine alone, and nothing through a proxy",
            ],
        ),
    ],
)
def test_who_may_ask(server, auth, told):
    """What stands open wider than by default deserves a look."""
    config = Config.model_validate({"backends": [{"url": "http://a"}], "server": server, "auth": auth})
    assert said(judging.of_doors(config)) == told


def test_what_is_told_of_the_work():
    """Metrics that everybody may ask for, and prompts that are kept."""
    telemetry = {"metrics": "open", "capture": {"requests": 100}}
    config = Config.model_validate({"backends": [{"url": "http://a"}], "telemetry": telemetry})
    metrics, capture = said(judging.of_doors(config))[-2:]
    assert metrics.startswith("! /metrics whoever reaches the port is told the names of models, keys and backends")
    assert capture.startswith("! capture the last 100 requests and their answers are kept for admins")


def remote(url: str, **more: object) -> BackendConfig:
    return BackendConfig.model_validate({"url": url, "name": "there", "models": ["demo"], **more})


async def test_servers_elsewhere():
    """None of them stops the router: they may come later."""
    with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as mute:
        gone, silent = (f"http://127.0.0.1:{each.getsockname()[1]}" for each in (free, mute))
        free.close()
        async with FakeEngine() as fake:
            findings = await looking.reach(
                [remote(fake.url), remote(f"{fake.url}/v1", models=None), remote(gone), remote(silent)], patience=3
            )
            unasked = await looking.reach([remote(fake.url, probe="never")])
            listed = await looking.reach([remote(fake.url, probe="never", models=None)])
    assert said(unasked) == [f"ok there {fake.url} isn't asked (probe: never)"]
    assert said(listed) == [f"ok there {fake.url} answers"]
    lines = said(findings)
    assert lines[:2] == [f"ok there {fake.url} answers", f"ok there {fake.url}/v1 answers"]
    assert lines[2].startswith(f"! there {gone}: can't be reached (")
    assert lines[3] == f"! there {silent}: no answer within 3 s; it gets requests as soon as it answers"


@pytest.mark.parametrize(
    ("health", "models", "failure"),
    [
        (200, 200, ""),
        (404, 200, ""),
        (503, 200, "answers 503 to /health"),
        (200, 401, "answers 401 to /v1/models: set api_key, or list its models in router.yaml"),
        (200, 404, "answers 404 to /v1/models: list its models in router.yaml"),
    ],
)
async def test_a_server_elsewhere_that_is_asked_for_its_models(aiohttp_server, health, models, failure):
    """With its key, as the router will ask it."""
    keys = set()

    def answer(status: int):
        async def give(request: web.Request) -> web.Response:
            keys.add(request.headers.get("authorization"))
            return web.Response(status=status)

        return give

    app = web.Application()
    app.add_routes([web.get("/health", answer(health)), web.get("/v1/models", answer(models))])
    url = str((await aiohttp_server(app)).make_url(""))
    (finding,) = await looking.reach([remote(url, models=None, api_key="s3cret")])
    assert (finding.mark, keys) == (LOOK if failure else OK, {"Bearer s3cret"})
    assert failure in finding.text
    assert "s3cret" not in finding.text


async def test_no_servers_elsewhere():
    assert await looking.reach([]) == []


# Arguments that an engine doesn't list


def odd(engine: str, args: dict[str, object], known: set[str]) -> dict[str, str]:
    launch = cast("Launch", SimpleNamespace(engine=ENGINES[engine], version="1.2"))
    return {".".join(key): text for text, key in judging.of_arguments(args, launch, known)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("engine", "args", "keys"),
    [
        ("llama_server", {"ctx-sise": 5, "ctx_size": 5, "ngl": 1, "no-mmap": True, "x": None}, {"ctx-sise"}),
        ("llama_server", {"mmap": False, "sampling.top_k": 1, "sampl.top_k": 2}, {"sampl.top_k"}),
        ("llama_server", {"mlx": {"nosuch": 1}, "llama_server": {"nosuch": 1}}, {"llama_server.nosuch"}),
        ("llama_cpp", {"n_ctx": 1, "c": 1, "n-ctxx": 2}, {"n-ctxx"}),
        # The beginning of a name is enough for argparse.
        ("mlx", {"max": 1, "max_tokens": 1, "maxx": 1}, {"maxx"}),
    ],
)
def test_of_arguments(engine, args, keys):
    """Those that no name stands for, whatever its form; what is left out, or is for others, isn't looked at."""
    known = {"ctx-size", "n-gpu-layers", "mmap", "no-mmap", "sampling.top_k", "sampling", "n_ctx", "max-tokens"}
    assert set(odd(engine, args, known)) == keys
    assert odd(engine, args, set()) == {}


def test_of_arguments_names_what_was_meant():
    """As the engine writes it."""
    assert odd("llama_server", {"ctx_sise": 5}, {"ctx-size"}) == {
        "ctx_sise": "llama_server 1.2 lists no such option; did you mean 'ctx-size'?"
    }
    assert odd("llama_cpp", {"n-ctxx": 5, "zzz": 5}, {"n_ctx"}) == {
        "n-ctxx": "llama_cpp 1.2 lists no such option; did you mean 'n_ctx'?",
        "zzz": "llama_cpp 1.2 lists no such option",
    }
