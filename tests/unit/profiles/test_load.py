import pytest

from launchers import engines
from launchers.spec import LaunchSpec
from profiles import Facts, ProfileError, choose_engine, load_profiles
from profiles.detect import Memory
from profiles.parsers import Gpu
from router.config.keys.values import ENGINES

MEMORY = "memory: {of: ram, share: 0.5}\n"


@pytest.mark.parametrize(
    ("name", "engines", "memory"),
    [
        ("apple_silicon", ["mlx", "llama_server", "llama_cpp"], Memory("ram", 0.75)),
        ("cpu", ["llama_cpp", "llama_server"], Memory("ram", 0.8)),
        ("nvidia", ["vllm", "llama_server", "llama_cpp"], Memory("gpu", 0.9)),
        ("rocm", ["vllm", "llama_server", "llama_cpp"], Memory("gpu", 0.9)),
    ],
)
def test_the_profiles_that_ship(name, engines, memory):
    """Their engines in order, each one that router.yaml may name, and what models may take."""
    profiles = load_profiles()
    assert len(profiles) == 4
    assert [engine.name for engine in profiles[name].engines] == engines
    assert set(engines) <= set(ENGINES)
    assert profiles[name].memory == memory
    assert profiles[name].about


SHIPPED = [(profile, engine.name) for profile in load_profiles().values() for engine in profile.engines]


@pytest.mark.parametrize(("profile", "name"), SHIPPED, ids=[f"{profile.name} {name}" for profile, name in SHIPPED])
def test_an_engine_takes_what_a_profile_gives_it(profile, name):
    """On its command line, with this machine's numbers for the words."""
    gpus = (Gpu("NVIDIA", "NVIDIA H100", 80 << 30),) * 2
    facts = Facts("Linux", "x86_64", "3.11.7", 8, 16 << 30, {name: "1"}, gpus=gpus)
    args = choose_engine(profile, facts, {name: "pip install it"}).args
    spec = LaunchSpec("m", name, "/m", "m", args, {}, 60)
    argv = engines.ENGINES[name].command(spec, 1, "python").argv
    assert "$" not in " ".join(argv)
    for option, value in args.items():
        assert argv[argv.index(f"--{option}") + 1] == str(value)


def test_engines_keep_their_order(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        f"about: mine\n{MEMORY}engines: [{{name: b}}, {{name: a, args: {{x: [1, 2]}}}}]\n"
    )
    profile = load_profiles(tmp_path)["mine"]
    assert [engine.name for engine in profile.engines] == ["b", "a"]
    assert profile.engines[1].args == {"x": [1, 2]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("about: [", "mine.yaml: "),
        (f"about: mine\n{MEMORY}engines: []", "mine.yaml: engines: "),
        (f"about: mine\n{MEMORY}engines: [{{name: a, arg: {{}}}}]", r"mine.yaml: engines\.0\.arg: "),
        ("about: mine\nengines: [{name: a}]", "mine.yaml: memory: "),
        ("about: mine\nmemory: {of: disk, share: 1}\nengines: [{name: a}]", r"memory\.of: .*'ram' or 'gpu'"),
        (
            "about: mine\nmemory: {of: ram, share: 80}\nengines: [{name: a}]",
            r"memory\.share: .*less than or equal to 1",
        ),
        (
            f"about: mine\n{MEMORY}engines: [{{name: a, args: {{x: $cores}}}}]",
            r"x: there is no word \$cores; .*\$cpus, ",
        ),
        ("", "mine.yaml: it: "),
    ],
)
def test_a_mistake_names_file_and_key(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ProfileError, match=message):
        load_profiles(tmp_path)
