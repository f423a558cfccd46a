import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from launchers.engines import ENGINES
from profiles import Facts
from profiles.parsers import Gpu
from router.config import Config
from router.fleet.launches import StartError, plan_launches
from router.fleet.launching import Launch

FACTS = Facts("Linux", "x86_64", "3.11.7", cpus=6, memory_bytes=8 << 30, engines={"llama_cpp": "0.3.36"})
BARE = Facts("Linux", "x86_64", "3.11.7", cpus=6, memory_bytes=8 << 30, engines={})
MODEL = "models/demo.gguf"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give router.yaml's folder, with a model in it; it isn't the working directory."""
    (tmp_path / "models").mkdir()
    (tmp_path / MODEL).touch()
    return tmp_path


def plan(folder: Path, *backends: object, facts: Facts = FACTS, **others: object):
    config = Config.model_validate({"backends": list(backends), **others})
    return plan_launches(config, folder, ENGINES, facts)


def problems(folder: Path, *backends: object, facts: Facts = FACTS, **others: object) -> tuple[str, ...]:
    with pytest.raises(StartError) as caught:
        plan(folder, *backends, facts=facts, **others)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def launched(name="demo", **launch: object):
    return {"name": name, "launch": {"model": MODEL, **launch}}


def test_a_backend_becomes_a_launch(folder):
    """With the model that is on disk, the profile's arguments, and the reason for the engine."""
    why, (launch,) = plan(folder, launched())
    assert why.startswith("cpu: ")
    assert launch.engine is ENGINES["llama_cpp"]
    assert launch.backend.name == launch.spec.name == launch.spec.served_name == "demo"
    assert launch.spec.engine == "llama_cpp"
    assert launch.spec.model == str(folder / MODEL)
    assert launch.spec.args == {"n_ctx": 4096, "n_threads": 3, "n_threads_batch": 6}
    assert launch.spec.start_timeout == 600
    assert launch.why == "llama_cpp 0.3.36: the first of the cpu profile's engines that is installed"


def test_a_model_on_demand_may_be_missing_until_it_is_wanted(folder):
    """One whose disk isn't mounted must not keep all others from being served."""
    gone = launched("gone", model="./gone.gguf", load="on_demand")
    with capture_logs() as logs:
        _, (launch, other) = plan(folder, gone, launched())
    assert launch.spec.model == launch.spec.source == str(folder / "gone.gguf")
    assert other.spec.name == "demo"
    (said,) = [each["event"] for each in logs]
    assert said.startswith(f"gone: {folder / 'gone.gguf'}: there is no such file")
    assert said.endswith("; it is looked for again when a request wants it")


def test_what_router_yaml_says_goes_over_the_profile(folder):
    """Arguments one by one; variables and the time to start as they are."""
    _, (launch,) = plan(folder, launched(args={"n_ctx": 512, "seed": 1}, env={"A": "b"}, start_timeout="5s"))
    assert launch.spec.args == {"n_ctx": 512, "n_threads": 3, "n_threads_batch": 6, "seed": 1}
    assert (launch.spec.env, launch.spec.start_timeout) == ({"A": "b"}, 5)


def test_an_engine_serves_the_first_of_the_models_names(folder):
    """One process has one name for it; the router knows the others."""
    _, (launch,) = plan(folder, {**launched(), "models": ["chat", "demo"]})
    assert launch.spec.served_name == "chat"


def test_a_backend_elsewhere_is_not_launched(folder):
    """Nothing is asked of this machine for it, not even an engine."""
    why, launches = plan(folder, {"url": "http://gpu-box:8000"}, facts=BARE)
    assert why
    assert launches == ()


@pytest.mark.parametrize(("replicas", "names"), [(1, ["demo"]), (3, ["demo", "demo-2", "demo-3"])])
def test_replicas_are_numbered(folder, replicas, names):
    """A single one isn't."""
    _, launches = plan(folder, launched(replicas=replicas))
    assert [launch.spec.name for launch in launches] == names
    assert {launch.backend.name for launch in launches} == {"demo"}
    assert {launch.spec.served_name for launch in launches} == {"demo"}


@pytest.mark.parametrize("other", [{"name": "demo-2", "url": "http://gpu-box:8000"}, launched("demo-2")])
@pytest.mark.parametrize("replicas_first", [True, False])
def test_a_replica_may_not_have_anothers_name(folder, other, replicas_first):
    """Its log and its metrics would be the other's."""
    backends = [launched(replicas=2), other]
    said = problems(folder, *(backends if replicas_first else reversed(backends)))
    assert said == ("two backends would be called 'demo-2': rename one (replicas are numbered)",)


def test_everything_that_is_wrong_is_said_at_once(folder):
    """Each with its place in router.yaml, its name, and what to do; what is right is passed over."""
    said = problems(
        folder,
        launched("gone", model="./gone.gguf"),
        launched("good"),
        launched("mine", args={"port": 1}),
        launched("yours", env={"HOST": "x"}),
        launched("fancy", engine="vllm"),
        launched("many", replicas=2),
        {"name": "many-2", "url": "http://gpu-box:8000"},
    )
    starts = (
        f"backends[0] (gone): {folder / 'gone.gguf'}: there is no such file",
        "backends[2] (mine): launch.args: port can't be set for llama_cpp: ",
        "backends[3] (yours): launch.env: HOST can't be set for llama_cpp: ",
        "backends[4] (fancy): vllm is not installed in this Python; install it: " + sys.executable,
        "two backends would be called 'many-2'",
    )
    assert len(said) == len(starts)
    assert [text for text, start in zip(said, starts, strict=True) if not text.startswith(start)] == []


def test_all_that_is_wrong_with_one_launch(folder):
    """One mistake hides no other: each argument that can't be set is named, also below an engine's name."""
    args = {"n_ctx": 4.5, "n_batch": "xx", "llama_cpp": {"port": 3}, "host": "h"}
    said = problems(folder, launched("a", args=args, env={"HOST": "x"}), launched("b", args={"port": 1}))
    names = ("args: n_ctx", "args: n_batch", "args: host", "args: port", "env: HOST", "args: port")
    found = [text.partition(" can't")[0].partition("launch.")[2] for text in said]
    assert sorted(found) == sorted(names), said


def test_a_profile_that_there_is_not_is_said_alone(folder):
    """Without one nothing else can be known."""
    said = problems(folder, launched(model="gone"), profile="tpu")
    assert said == ("profile: there is no profile tpu; there are: auto, apple_silicon, cpu, nvidia, rocm",)


def test_no_engine_says_how_to_get_one(folder):
    """With the command."""
    (said,) = problems(folder, launched(), facts=BARE)
    assert said.startswith("backends[0] (demo): no engine of the cpu profile is installed")
    assert f"install llama_cpp: {sys.executable} -m pip install 'llama-cpp-python" in said


def test_each_engine_may_have_its_own_model(folder):
    """The one that was chosen gets its own."""
    _, (launch,) = plan(folder, launched(model={"vllm": "org/name", "llama_cpp": MODEL}))
    assert launch.spec.model == str(folder / MODEL)


def test_an_engine_without_a_model_of_its_own_is_said(folder):
    """No other engine's model would do."""
    (said,) = problems(folder, launched(model={"vllm": "org/name"}))
    assert said == "backends[0] (demo): launch.model names no model for llama_cpp, the engine of this machine"


@pytest.mark.parametrize("model", [MODEL, f"./{MODEL}", "models", "models/", "./models/../models"])
def test_a_relative_path_counts_from_router_yamls_folder(folder, monkeypatch, model):
    """Wherever the router was started."""
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    _, (launch,) = plan(folder, launched(model=model))
    assert Path(launch.spec.model).resolve() == (folder / MODEL).resolve()
    assert Path(launch.spec.model).is_absolute()


def test_an_absolute_path_stays_as_it_is(folder, tmp_path):
    """Of whatever folder."""
    _, (launch,) = plan(folder / "models", launched(model=str(tmp_path / MODEL)))
    assert launch.spec.model == str(tmp_path / MODEL)


def test_a_hubs_id_stays_as_it_is(folder):
    """What is no path here may be one of a hub."""
    _, (launch,) = plan(folder, launched(model="org/name:*Q4_K_M.gguf"))
    assert launch.spec.model == "org/name:*Q4_K_M.gguf"


def test_a_folder_named_like_a_hubs_id_goes_before_it(folder):
    """What is here needn't be fetched."""
    (folder / "org" / "name").mkdir(parents=True)
    (folder / "org" / "name" / "a.gguf").touch()
    _, (launch,) = plan(folder, launched(model="org/name"))
    assert launch.spec.model == str(folder / "org" / "name" / "a.gguf")


def test_a_model_that_is_neither_is_said_with_what_it_could_be(folder):
    """A hub's repository needs a file named."""
    (said,) = problems(folder, launched(model="org/name"))
    assert said.startswith("backends[0] (demo): org/name: there is no such file or folder")
    assert "org/name:*Q4_K_M.gguf" in said


def test_dashes_and_underscores_are_the_same(folder):
    """What router.yaml says goes over the profile's, however the engine's manual writes it."""
    _, (launch,) = plan(folder, launched(args={"n-ctx": 512}))
    assert launch.spec.args == {"n_threads": 3, "n_threads_batch": 6, "n_ctx": 512}


def test_an_engine_that_no_model_is_named_for_is_passed_over(folder):
    """The next one that is installed, and has one, runs it."""
    facts = replace(FACTS, engines={"llama_cpp": "0.3.36", "llama_server": "2026.10"})
    _, (launch,) = plan(folder, launched(model={"llama_server": MODEL}), facts=facts)
    assert launch.spec.engine == "llama_server"


def test_an_engine_that_is_a_program_runs_by_itself(folder):
    """Its own path stands where the interpreter would."""
    facts = replace(FACTS, engines={"llama_server": "at /usr/bin/llama-server"})
    _, (launch,) = plan(folder, launched(), facts=facts)
    assert launch.python == "/usr/bin/llama-server"
    assert launch.engine.command(launch.spec, 1, launch.python).argv[0] == "/usr/bin/llama-server"


@pytest.mark.parametrize("keep", [True, False])
def test_engines_outlive_the_router_if_asked(folder, keep):
    """All of them."""
    _, (launch,) = plan(folder, launched(), server={"keep_engines": keep})
    assert launch.spec.keep is keep


def test_arguments_below_an_engines_name_are_for_it_alone(folder):
    """So one router.yaml can have options that only one of its engines knows."""
    args = {"seed": 1, "n_ctx": 512, "llama_cpp": {"n-ctx": 1024, "embedding": True}, "vllm": {"max-model-len": 8}}
    _, (launch,) = plan(folder, launched(args=args))
    assert launch.spec.args == {"n_threads": 3, "n_threads_batch": 6, "seed": 1, "n_ctx": 1024, "embedding": True}


H100 = Gpu("NVIDIA", "NVIDIA H100 80GB HBM3", 80 << 30, "580.159.04", "9.0")
ALL = {"mlx": "0.32", "vllm": "0.32", "llama_server": "2026.10", "llama_cpp": "0.3.36"}
MACHINES = {
    "mac": (Facts("Darwin", "arm64", "3.12.1", 12, 64 << 30, ALL, chip="Apple M3 Max"), "mlx"),
    "nvidia": (Facts("Linux", "x86_64", "3.11.7", 16, 128 << 30, ALL, gpus=(H100,)), "vllm"),
    "cpu": (Facts("Linux", "x86_64", "3.11.7", 2, 8 << 30, ALL), "llama_cpp"),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_one_router_yaml_gives_each_machine_its_engine(folder, machine):
    """With auto, the same file runs everywhere."""
    facts, engine = MACHINES[machine]
    (folder / "hf").mkdir()
    (folder / "hf" / "config.json").touch()
    (folder / "hf" / "model.safetensors").touch()
    models = {"mlx": "hf", "vllm": "hf", "llama_cpp": MODEL}
    _, (launch,) = plan(folder, launched(model=models), facts=facts)
    assert launch.spec.engine == engine


def test_engines_that_share_a_gpu_share_its_memory(folder):
    """Each is given its part of what one would have."""
    facts, _ = MACHINES["nvidia"]
    (folder / "hf").mkdir()
    (folder / "hf" / "config.json").touch()
    alone = plan(folder, launched(model="hf"), facts=facts)[1]
    both = plan(folder, launched("a", model="hf"), launched("b", model="hf"), facts=facts)[1]
    shares = [float(str(launch.spec.args["gpu-memory-utilization"])) for launch in (*alone, *both)]
    assert shares[0] == 0.9
    assert sum(shares[1:]) <= 0.9


H200 = Gpu("NVIDIA", "NVIDIA H200", 143771 << 20, free_bytes=143291 << 20)
QWEN = {
    "model_type": "qwen2", "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    "hidden_size": 3584, "intermediate_size": 18944, "max_position_embeddings": 32768, "vocab_size": 152064,
    "torch_dtype": "bfloat16",
}  # fmt: skip
TINY = {**QWEN, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 64, "max_position_embeddings": 4096}


@pytest.fixture
def models(folder: Path) -> Path:
    """Give the folder with a large model in it, and a tiny one."""
    for name, config in (("qwen", QWEN), ("tiny", TINY)):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config))
        with (folder / name / "model.safetensors").open("wb") as file:
            file.truncate(15 << 30 if name == "qwen" else 1 << 20)
    return folder


@pytest.fixture
def on_gpus(models):
    """Give a function that plans launches on so many GPUs."""

    def planned(*backends: object, gpus: int = 1, running: Sequence[Launch] = ()) -> tuple[Launch, ...]:
        facts = replace(MACHINES["nvidia"][0], gpus=tuple(replace(H200, number=number) for number in range(gpus)))
        return plan_launches(Config.model_validate({"backends": list(backends)}), models, ENGINES, facts, running)[1]

    return planned


def share(launch: Launch) -> object:
    return launch.spec.args["gpu-memory-utilization"]


def test_a_model_that_can_not_use_a_gpu_leaves_the_rest_to_others(on_gpus):
    tiny, qwen = on_gpus(launched("tiny", model="tiny"), launched("qwen", model="qwen"))
    assert (share(tiny), tiny.spec.args["kv-cache-memory-bytes"]) == (0.05, 2 * 2 * 4 * 32 * 2 * 4096 * 257)
    assert share(qwen) == 0.85
    assert "kv-cache-memory-bytes" not in qwen.spec.args


def test_what_is_added_live_leaves_what_runs_as_it_is(on_gpus):
    first = on_gpus(launched("a", model="qwen"))
    a, b = on_gpus(launched("a", model="qwen"), launched("b", model="qwen"), running=first)
    assert (a.spec, share(b)) == (first[0].spec, 0.45)


def test_what_tells_when_it_is_loaded_changes_no_share(on_gpus):
    """An edit of these keys alone must not restart an engine beside which another has come meanwhile."""
    first = on_gpus(launched("a", model="qwen"))
    edited = launched("a", model="qwen", load="on_demand", pinned=True, memory="20GiB", warm_up=True)
    a, _ = on_gpus(edited, launched("b", model="qwen"), running=first)
    assert a.spec == first[0].spec
    assert a.backend.launch is not None
    assert a.backend.launch.pinned


def test_a_written_share_stands_and_the_others_share_what_it_leaves(on_gpus):
    args = {"gpu_memory_utilization": 0.6}
    a, b, c = on_gpus(launched("a", model="qwen", args=args), *(launched(name, model="qwen") for name in "bc"))
    assert (a.spec.args["gpu_memory_utilization"], share(b), share(c)) == (0.6, 0.15, 0.15)
    assert a.spec.claim is not None
    assert (a.spec.claim.share, a.spec.claim.written) == (0.6, True)


def test_an_argument_is_not_said_a_second_time_in_another_spelling(on_gpus):
    """What the profile or the share gives takes the place of what a person wrote with underscores."""
    args = {"gpu_memory_utilization": 0.6, "tensor_parallel_size": 1, "max_num_seqs": 8}
    (launch,) = on_gpus(launched("a", model="qwen", args=args))
    assert args.items() <= launch.spec.args.items()
    names = [name.replace("_", "-") for name in launch.spec.args]
    assert len(names) == len(set(names))


def test_replicas_share_evenly(on_gpus):
    assert [share(launch) for launch in on_gpus(launched("a", model="qwen", replicas=3))] == [0.3, 0.3, 0.3]


def test_what_is_loaded_on_demand_shares_with_nobody(on_gpus):
    """Memory decides which of them are there; those that start with the router share as ever."""
    a, b, c, d = on_gpus(
        launched("a", model="qwen"),
        launched("b", model="qwen"),
        *(launched(name, model="qwen", load="on_demand") for name in "cd"),
    )
    assert [share(launch) for launch in (a, b, c, d)] == [0.45, 0.45, 0.9, 0.9]


def test_a_small_model_on_demand_takes_what_it_can_use(on_gpus):
    many = on_gpus(*(launched(f"m{number}", model="tiny", load="on_demand") for number in range(10)))
    assert {share(launch) for launch in many} == {0.05}


def test_pinned_ones_leave_room_for_one_on_demand(on_gpus):
    """It could never be loaded otherwise."""
    a, b, c = on_gpus(
        launched("a", model="qwen", pinned=True),
        *(launched(name, model="qwen", load="on_demand") for name in "bc"),
    )
    assert [share(launch) for launch in (a, b, c)] == [0.45, 0.45, 0.45]
    a, b = on_gpus(
        launched("a", model="qwen", pinned=True, args={"gpu-memory-utilization": 0.6}),
        launched("b", model="qwen", load="on_demand"),
    )
    assert share(b) == 0.3


def named(count: int) -> tuple[Gpu, ...]:
    return tuple(replace(H200, number=number, uuid=f"GPU-{number}") for number in range(count))


def with_gpus(count: int) -> Facts:
    return replace(MACHINES["nvidia"][0], gpus=named(count))


@pytest.mark.parametrize(
    ("gpus", "shown", "spread"),
    [(1, "GPU-0", 1), (2, "GPU-0,GPU-1", 2), ([3], "GPU-3", 1), ([2, 3], "GPU-2,GPU-3", 2), (4, None, 4)],
)
def test_a_launch_sees_the_gpus_that_it_is_told_and_no_others(models, gpus, shown, spread):
    """And vllm is spread over all of them."""
    (launch,) = plan(models, launched(model="qwen", gpus=gpus), facts=with_gpus(4))[1]
    shown = shown or "GPU-0,GPU-1,GPU-2,GPU-3"
    assert launch.spec.env == {"CUDA_VISIBLE_DEVICES": shown}
    assert launch.spec.args["tensor-parallel-size"] == spread
    assert launch.spec.claim is not None
    assert launch.spec.claim.gpus == tuple(f"NVIDIA {name[-1]}" for name in shown.split(","))


def test_launches_with_one_gpu_get_one_each(models):
    """Replicas, too; one that runs keeps its own."""
    replicas = plan(models, launched(model="qwen", gpus=1, replicas=2), launched("b", model="qwen", gpus=1),
                    facts=with_gpus(3))[1]  # fmt: skip
    assert [launch.spec.env["CUDA_VISIBLE_DEVICES"] for launch in replicas] == ["GPU-0", "GPU-1", "GPU-2"]
    config = Config.model_validate({"backends": [launched(name, model="qwen", gpus=1) for name in "xb"]})
    again = plan_launches(config, models, ENGINES, with_gpus(3), replicas[1:])[1]
    assert [launch.spec.env["CUDA_VISIBLE_DEVICES"] for launch in again] == ["GPU-0", "GPU-2"]


@pytest.mark.parametrize(
    ("launch", "why"),
    [
        ({"gpus": 5}, "launch.gpus: 5: this machine has 4, with the numbers 0, 1, 2, 3"),
        ({"gpus": [4]}, "launch.gpus: there is no GPU 4 that engines can use: this machine has 4"),
        (
            {"gpus": 3},
            "launch.gpus: the model's 28 attention heads can't be divided among 3 GPUs: write 1, 2, or `args: {",
        ),
        (
            {"gpus": 3, "args": {"tensor-parallel-size": 2}},
            "launch.gpus: the arguments spread it over 2 GPUs, and not 3",
        ),
        ({"gpus": 3, "args": {"data-parallel-size": 2}}, "launch.gpus: the arguments spread it over 2 GPUs, and not 3"),
        ({"gpus": 0, "engine": "vllm"}, "launch.gpus: 0: vllm needs a GPU; write `engine: llama_server`"),
    ],
)
def test_gpus_that_can_not_be_had_are_an_error(models, launch, why):
    (said,) = problems(models, launched(**{"model": "qwen", **launch}), facts=with_gpus(4))
    assert said.startswith(f"backends[0] (demo): {why}")


def test_its_arguments_may_spread_it_otherwise(models):
    args = {"tensor-parallel-size": 1, "pipeline-parallel-size": 3}
    (launch,) = plan(models, launched(model="qwen", gpus=3, args=args), facts=with_gpus(4))[1]
    assert args.items() <= launch.spec.args.items()
    (launch,) = plan(models, launched(model="qwen", gpus=4, args={"data_parallel_size": 2}), facts=with_gpus(4))[1]
    assert launch.spec.args["tensor-parallel-size"] == 2


def test_without_gpus_a_launch_is_on_the_cpu(folder):
    """With an engine that can be; it sees no GPU."""
    facts = replace(with_gpus(2), engines={"vllm": "1", "llama_server": "1"})
    (launch,) = plan(folder, launched(gpus=0), facts=facts)[1]
    assert (launch.spec.engine, launch.spec.claim, launch.on_cpu, launch.gpus) == ("llama_server", None, True, ())
    assert launch.spec.args["n-gpu-layers"] == 0
    assert launch.spec.env == {"CUDA_VISIBLE_DEVICES": "-1"}


def test_a_machine_without_gpus_needs_nothing_for_it(folder):
    (launch,) = plan(folder, launched(gpus=0))[1]
    assert launch.spec.env == {}
    assert launch.spec.args["n_gpu_layers"] == 0


@pytest.mark.parametrize(("gpus", "layers"), [("auto", 99), (1, 99), ([0], 99), (0, 0)])
def test_a_mac_has_one_gpu(folder, gpus, layers):
    facts = replace(MACHINES["mac"][0], engines={"llama_server": "1"})
    (launch,) = plan(folder, launched(gpus=gpus), facts=facts)[1]
    assert (launch.spec.args["n-gpu-layers"], launch.spec.env) == (layers, {})
    assert problems(folder, launched(gpus=2), facts=facts)[0].endswith("this machine has no GPU that engines can use")


def threads(launches: Sequence[Launch]) -> list[object]:
    return [launch.spec.args["n_threads"] for launch in launches]


CORES = replace(FACTS, cpus=16, machine_cpus=16, machine_cores=16)


def test_engines_that_start_together_divide_the_cores(folder):
    """What a person wrote is kept."""
    assert threads(plan(folder, launched("a"), facts=CORES)[1]) == [8]
    both = plan(folder, launched("a", replicas=3), launched("b", args={"n_threads": 7}), facts=CORES)[1]
    assert threads(both) == [4, 4, 4, 7]


def test_of_those_on_demand_as_many_divide_the_cores_as_fit_into_memory(folder):
    """Of 8 GiB, 6.4 are for models: for one of 4 GiB, two of 2 GiB, and ten that are small."""
    sizes = {"small": 1 << 20, "large": 4 << 30, "half": 2 << 30, "huge": 20 << 30}
    for name, size in sizes.items():
        with (folder / f"{name}.gguf").open("wb") as file:
            file.truncate(size)

    def on_demand(model: str, count: int, **more: object) -> list[object]:
        return [launched(f"{model}{at}", model=f"{model}.gguf", load="on_demand", **more) for at in range(count)]

    assert threads(plan(folder, *on_demand("large", 10), facts=CORES)[1]) == [8] * 10
    assert threads(plan(folder, *on_demand("half", 10), facts=CORES)[1]) == [8] * 10
    assert threads(plan(folder, *on_demand("half", 2), *on_demand("small", 1), facts=CORES)[1]) == [5] * 3
    assert threads(plan(folder, *on_demand("small", 10), facts=CORES)[1]) == [1] * 10
    assert threads(plan(folder, *on_demand("huge", 2), facts=CORES)[1]) == [8] * 2
    assert threads(plan(folder, *on_demand("small", 1), *on_demand("huge", 1, pinned=True), facts=CORES)[1]) == [8] * 2


def test_on_a_machine_with_gpus_those_without_one_divide_the_cores(folder):
    facts = replace(MACHINES["nvidia"][0], engines={"llama_cpp": "1"}, cpus=16, machine_cpus=16, machine_cores=16)
    launches = plan(folder, launched("a"), launched("b", gpus=0), launched("c", gpus=0), facts=facts)[1]
    assert threads(launches) == [8, 8, 8]


def test_vllms_on_cpus_divide_the_cores_too(models, monkeypatch):
    """What a person wrote, or set for the router, is kept."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    facts = replace(CORES, engines={"vllm": "0.32"})
    (alone,) = plan(models, launched(model="tiny", engine="vllm"), facts=facts)[1]
    assert alone.spec.env == {}
    both = [launched(name, model="tiny", engine="vllm") for name in "abcd"]
    assert [launch.spec.env for launch in plan(models, *both, facts=facts)[1]] == [
        {"OMP_NUM_THREADS": "4", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    ] * 4
    own = launched("e", model="tiny", engine="vllm", env={"OMP_NUM_THREADS": "9"})
    assert plan(models, *both, own, facts=facts)[1][-1].spec.env["OMP_NUM_THREADS"] == "9"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert plan(models, *both, facts=facts)[1][0].spec.env == {}


def test_a_share_that_was_taken_out_is_vllm_s_own(on_gpus):
    (launch,) = on_gpus(launched("a", model="tiny", args={"gpu-memory-utilization": None}))
    assert launch.spec.claim is not None
    assert launch.spec.claim.share == 0.92
    (launch,) = on_gpus(launched("a", model="tiny", args={"gpu-memory-utilization": "0.5"}))
    assert launch.spec.claim is not None
    assert launch.spec.claim.share == 0.5


@pytest.mark.parametrize(
    ("model", "more", "gpus", "spread", "claimed"),
    [
        ("qwen", {}, 1, 1, ("NVIDIA 0",)),
        ("qwen", {}, 8, 4, ("NVIDIA 0", "NVIDIA 1", "NVIDIA 2", "NVIDIA 3")),  # 28 heads
        ("tiny", {}, 8, 1, ("NVIDIA 0",)),  # it can't use one
        ("qwen", {"args": {"tensor-parallel-size": 2}}, 8, 2, ("NVIDIA 0", "NVIDIA 1")),
        ("qwen", {"args": {"gpu-memory-utilization": 0.5}}, 8, 4, ("NVIDIA 0", "NVIDIA 1", "NVIDIA 2", "NVIDIA 3")),
        ("qwen", {"args": {"data-parallel-size": 4}}, 8, 2, tuple(f"NVIDIA {number}" for number in range(8))),
        ("qwen", {"args": {"data-parallel-size": 8}}, 8, 1, tuple(f"NVIDIA {number}" for number in range(8))),
        ("qwen", {"env": {"CUDA_VISIBLE_DEVICES": "2,3"}}, 8, 2, ("NVIDIA 2", "NVIDIA 3")),
        ("qwen", {"env": {"CUDA_VISIBLE_DEVICES": "9"}}, 8, 1, ()),
    ],
)
def test_it_is_spread_over_the_gpus_that_it_sees_as_its_heads_allow(on_gpus, model, more, gpus, spread, claimed):
    (launch,) = on_gpus(launched("a", model=model, **more), gpus=gpus)
    assert launch.spec.args["tensor-parallel-size"] == spread
    assert launch.spec.claim is not None
    assert launch.spec.claim.gpus == (claimed or ("NVIDIA 0",))


def test_of_gpus_of_several_kinds_it_is_not_known_which_is_used(models):
    """Those who use one take turns all the same; a GPU that is too small for a model counts for nothing."""
    small, other = Gpu("NVIDIA", "MX150", 2 << 30), Gpu("NVIDIA", "RTX 4090", 24 << 30, number=1, free_bytes=20 << 30)

    def claimed(*gpus: Gpu) -> object:
        facts = replace(MACHINES["nvidia"][0], gpus=gpus)
        (launch,) = plan(models, launched(model="qwen"), facts=facts)[1]
        return launch.spec.claim and launch.spec.claim.gpus

    assert claimed(small, other) == ("NVIDIA 1",)
    assert claimed(other, H200) == ("NVIDIA of some kind",)


def test_of_gpus_of_several_kinds_a_number_is_that_of_nvidia_smi(models, monkeypatch):
    """CUDA counts the fastest first, unless it is told to count as the driver does; then what is free is known."""
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    other = Gpu("NVIDIA", "RTX 4090", 24 << 30, number=1)

    def launch(*gpus: Gpu, **env: str) -> Launch:
        facts = replace(MACHINES["nvidia"][0], gpus=gpus)
        (planned,) = plan(models, launched(model="qwen", env=env), facts=facts)[1]
        assert isinstance(planned, Launch)
        return planned

    def gpus(one: Launch) -> object:
        return one.spec.claim and one.spec.claim.gpus

    numbered = launch(H200, other, CUDA_VISIBLE_DEVICES="1")
    assert numbered.spec.env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert gpus(numbered) == ("NVIDIA 1",)
    assert gpus(launch(H200, other, CUDA_DEVICE_ORDER="PCI_BUS_ID")) == ("NVIDIA 0",)
    said = {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}
    assert launch(H200, other, **said).spec.env == said
    assert launch(H200, replace(H200, number=1), CUDA_VISIBLE_DEVICES="1").spec.env == {"CUDA_VISIBLE_DEVICES": "1"}


def test_a_part_of_a_gpu_has_a_share_of_its_own_memory(on_gpus):
    """Which isn't known: a share that suits the whole card would be next to nothing."""
    (launch,) = on_gpus(launched("a", model="tiny", env={"CUDA_VISIBLE_DEVICES": "MIG-1"}), gpus=1)
    assert share(launch) == 0.9
    assert launch.spec.claim.gpus == ("MIG-1",)


def test_launches_on_other_gpus_share_nothing(on_gpus):
    envs = ({"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"})
    launches = on_gpus(*(launched(f"a{i}", model="qwen", env=env) for i, env in enumerate(envs)), gpus=2)
    assert [share(launch) for launch in launches] == [0.9, 0.9]


def test_llama_cpp_on_a_gpu_claims_it_without_a_share(folder):
    facts, _ = MACHINES["nvidia"]
    (on_gpu,) = plan(folder, launched(engine="llama_server"), facts=facts)[1]
    (on_cpu,) = plan(folder, launched(engine="llama_server", args={"n_gpu_layers": 0}), facts=facts)[1]
    assert on_gpu.spec.claim is not None
    assert (on_gpu.spec.claim.gpus, on_gpu.spec.claim.share, on_cpu.spec.claim) == (("NVIDIA 0",), None, None)


def test_on_a_machine_without_gpus_nothing_is_claimed(folder):
    assert plan(folder, launched())[1][0].spec.claim is None
