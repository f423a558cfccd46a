from pathlib import Path

import pytest

from launchers.scan.reading import GGUF, MLX, PLAIN, Read
from launchers.scan.walk import Candidate
from profiles import load_profiles
from router.scan.choosing import Engine, doubles, engine_for, names_for

PROFILES = load_profiles()
INSTALLS = {name: f"pip install {name}" for name in ("llama_cpp", "llama_server", "mlx", "vllm")}


@pytest.mark.parametrize(
    ("profile", "installed", "readers", "engine"),
    [
        # The profile's own choice needs no word in the file.
        ("cpu", {"llama_cpp", "llama_server"}, GGUF, Engine("llama_cpp")),
        ("cpu", {"llama_server"}, GGUF, Engine("llama_server")),
        # The profile's own choice doesn't read this form.
        ("nvidia", {"vllm", "llama_cpp", "llama_server"}, GGUF, Engine("llama_server", is_usual=False)),
        ("apple_silicon", {"mlx", "llama_cpp"}, GGUF, Engine("llama_cpp", is_usual=False)),
        ("apple_silicon", {"mlx", "vllm"}, PLAIN, Engine("mlx")),
        # An engine beside the profile's is better than none.
        ("cpu", {"llama_cpp", "mlx"}, PLAIN, Engine("mlx", is_usual=False)),
        # None is installed.
        ("nvidia", {"llama_server"}, PLAIN, Engine("vllm", is_usual=False, install="pip install vllm")),
        ("cpu", set(), GGUF, Engine("llama_cpp", is_usual=False, install="pip install llama_cpp")),
        ("cpu", {"vllm"}, MLX, Engine("mlx", is_usual=False, install="pip install mlx")),
    ],
)
def test_the_engine_of_a_model(profile, installed, readers, engine):
    assert engine_for(readers, PROFILES[profile], installed, INSTALLS) == engine


def model(name: str, place: str = "/m", *, is_gguf: bool = True) -> Read:
    return Read(Candidate(name, place, (Path(place) / name,), is_gguf))


@pytest.mark.parametrize(
    ("found", "taken", "names"),
    [
        (["Qwen2.5-7B-Instruct-Q4_K_M"], [], ["qwen2.5-7b-instruct"]),
        (["m-Q4_0", "m-Q8_0", "n-Q4_0"], [], ["m-q4_0", "m-q8_0", "n"]),
        (["m-Q4_0"], ["M"], ["m-q4_0"]),
        (["m"], ["m", "m-2"], ["m-3"]),
        (["same", "same"], [], ["same", "same-2"]),
        (["llama3.2", "me/mine:7b", "hf.co/org/Name-GGUF:Q4_K_M"], [], ["llama3.2", "mine-7b", "name-gguf-q4_k_m"]),
        (["模型", "..", "a b"], [], ["model", "model-2", "a-b"]),
        (["x" * 100], ["x" * 64], ["x" * 62 + "-2"]),
    ],
)
def test_the_names_of_models(found, taken, names):
    """Each its own, that of no other backend, and fit for a file's."""
    assert names_for([model(name) for name in found], taken) == names


HERE, GONE = Engine("llama_cpp"), Engine("mlx", install="pip install mlx")


@pytest.mark.parametrize(
    ("order", "engines", "same"),
    [
        (["mlx", "llama_cpp"], [HERE, Engine("mlx")], {0: 1}),
        (["llama_cpp", "mlx"], [HERE, Engine("mlx")], {1: 0}),
        (["llama_cpp"], [HERE, Engine("mlx", is_usual=False)], {1: 0}),
        # One that is installed is better.
        (["mlx", "llama_cpp"], [HERE, GONE], {1: 0}),
        (["mlx", "llama_cpp"], [None, Engine("mlx")], {}),
    ],
)
def test_two_forms_of_one_model(order, engines, same):
    """The one whose engine comes first is taken."""
    assert doubles([model("demo.gguf"), model("demo", is_gguf=False)], engines, order) == same


def test_models_that_are_not_the_same():
    """In another folder, or several beside one."""
    other = [model("a.gguf", "/x"), model("m", is_gguf=False)]
    several = [model("a"), model("b"), model("m", is_gguf=False)]
    assert doubles(other, [HERE, HERE], []) == {}
    assert doubles(several, [HERE, HERE, HERE], []) == {}
    quants = [model("a-Q4_0"), model("a-Q8_0"), model("a", is_gguf=False)]
    assert doubles(quants, [HERE, HERE, HERE], ["llama_cpp"]) == {0: 2, 1: 2}
