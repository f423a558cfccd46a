"""What doctor tells of the doors behind the router's."""

import re
from dataclasses import replace

import pytest

from launchers.engines import ENGINES
from launchers.engines.command import AnyCommand
from launchers.spec import LaunchSpec
from profiles import Facts, load_profiles
from router.config import Config
from router.doctor import guarding, looking
from router.doctor.faults import FAULTS, published
from router.doctor.findings import Mark
from router.fleet.launching import Launch

FACTS = Facts("Linux", "x86_64", "3.11.7", cpus=2, memory_bytes=8 << 30, engines={})


def launch(args=None, env=None, *, engine="vllm", cmd=None, **keys):
    """Give a launch of these arguments."""
    entry = {"name": "demo", "models": ["demo"], "launch": {"cmd": cmd, **keys} if cmd else {"model": "m", **keys}}
    (backend,) = Config.model_validate({"backends": [entry]}).backends
    spec = LaunchSpec("demo", "command" if cmd else engine, "m", "demo", args or {}, env or {}, 60)
    return Launch(backend, spec, AnyCommand() if cmd else ENGINES[engine], "python", "because")


@pytest.mark.parametrize(
    ("engine", "version", "ids"),
    [
        ("vllm", "0.32.0", set()),
        ("vllm", "0.31.0", {"CVE-2026-115911"}),
        ("vllm", "0.31.0+cu129", {"CVE-2026-115911"}),
        ("mlx", "0.31.3", {"CVE-2026-5843"}),
        ("mlx", "0.32.0", set()),
        ("llama_cpp", "0.2.71", {"CVE-2024-34359"}),
        ("llama_cpp", "0.2.29", set()),
        ("llama_cpp", "0.3.36", set()),
        ("llama_server", "8907 at /usr/bin/llama-server", {"CVE-2026-21869"}),
        ("llama_server", "8908 at /usr/bin/llama-server", set()),
        ("llama_server", "at /usr/bin/llama-server", set()),
        ("llama_server", "2026.10.11549", set()),
        ("llama_server", "0.2.1", set()),
    ],
)
def test_a_versions_published_faults(engine, version, ids):
    """Those that a newer one hasn't; of a build by its number."""
    assert {each.id for each in published(engine, version)} == ids


def test_the_table_of_faults():
    """Each has an id of the public lists, an engine of ours, and versions that can be compared."""
    for each in FAULTS:
        assert each.engine in ENGINES
        assert re.fullmatch(r"CVE-20\d\d-\d{4,6}", each.id)
        assert published(each.engine, each.fixed) == [
            other for other in FAULTS if other in published(each.engine, each.fixed) and other is not each
        ]
    assert len({each.id for each in FAULTS}) == len(FAULTS)


def test_doctor_says_what_to_update_to():
    """The newest of the versions without them."""
    engines = {"vllm": "0.14.0", "mlx": "0.32.2"}
    (finding,) = guarding.of_versions(replace(FACTS, engines=engines))
    assert (finding.mark, finding.what) == (Mark.LOOK, "vllm")
    assert "update to 0.32.0 or later" in finding.text
    assert "CVE-2026-24779: a media URL reaches hosts" in finding.text
    assert "CVE-2026-22807" not in finding.text


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (launch({"trust_remote_code": True}), "code that comes with the model runs, as its trust-remote-code says"),
        (launch({"trust-remote-code": True}, engine="mlx"), "code that comes with the model runs"),
        (launch({"allowed-local-media-path": "/srv"}), "requests may name files of this machine"),
        (launch(env={"VLLM_SERVER_DEV_MODE": "1"}), "for its developers"),
        (launch(allow=["a", "b", "c", "d"]), "(launch.allow): a, b, c and 1 more"),
    ],
)
def test_what_router_yaml_opens_deserves_a_look(made, said):
    """Once for a backend, whatever its replicas."""
    (finding,) = guarding.of_risks([made, made])
    assert finding.mark is Mark.LOOK
    assert said in finding.text


@pytest.mark.parametrize(
    "made",
    [
        launch({"max-model-len": 1, "trust-remote-code": False}, {"VLLM_SERVER_DEV_MODE": "0"}),
        launch(cmd=["serve", "{port}", "--key", "$ROUTER_KEY"]),
    ],
)
def test_what_is_shut_needs_none(made):
    """A program that is told its key may ask for it."""
    assert list(guarding.of_risks([made])) == []


def test_a_program_that_may_not_ask_for_its_key():
    """Doctor says so: the port of an engine is open to its machine."""
    (finding,) = guarding.of_risks([launch(cmd=["serve", "{port}"])])
    assert finding.mark is Mark.FACT
    assert "ROUTER_KEY" in finding.text


@pytest.mark.parametrize("name", ENGINES)
def test_no_profile_and_no_engine_trusts_a_models_code(name):
    """Only router.yaml may say so."""
    spec = LaunchSpec("demo", name, "/m", "demo", {}, {}, 60)
    command = ENGINES[name].command(spec, 1, "python")
    assert "trust" not in " ".join([*command.argv, *command.env]).lower()
    for profile in load_profiles().values():
        assert "trust" not in str(profile).lower()


def test_files_that_others_can_read(tmp_path):
    """Of logs, state, and the certificate's key; none, where nobody but their owner can."""
    config = Config.model_validate(
        {
            "backends": [{"url": "http://a"}],
            "server": {"tls": {"cert": "a.crt", "key": "a.key"}},
        }
    )
    for folder in ("logs", "state"):
        (tmp_path / folder).mkdir(mode=0o700)
    shut, wide, key = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log", tmp_path / "a.key"
    for each in (shut, wide, key):
        each.touch(mode=0o600)
    assert looking.open_files(config, tmp_path) == []
    assert list(guarding.of_files([])) == []
    wide.chmod(0o644)
    key.chmod(0o640)
    (tmp_path / "state").chmod(0o755)
    opened = looking.open_files(config, tmp_path)
    assert opened == ["a.key", "logs/b.log", "state"]
    (finding,) = guarding.of_files(opened)
    assert finding.mark is Mark.LOOK
    assert finding.text.startswith("a.key, logs/b.log, state can be read")
