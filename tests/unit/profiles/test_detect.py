from dataclasses import replace

import pytest

from profiles import (
    EngineNotInstalledError,
    Facts,
    Profile,
    UnknownEngineError,
    UnknownProfileError,
    choose_engine,
    detect,
)
from profiles.detect import EngineDefaults

FACTS = Facts("Linux", "x86_64", "3.11.7", cpus=6, memory_bytes=8 << 30, engines={"llama_cpp": "0.3.36"})
BARE = replace(FACTS, engines={})
CPU = Profile(
    "cpu",
    "any machine",
    (
        EngineDefaults("fancy", {}),
        EngineDefaults("llama_cpp", {"n_ctx": 4096, "n_threads": "$half_the_cpus", "n_threads_batch": "$cpus"}),
    ),
)
INSTALLS = {"llama_cpp": "pip install llama", "vllm": "pip install vllm"}


def test_every_machine_gets_the_cpu_profile_and_is_told_why():
    choice = detect(FACTS, {"cpu": CPU})
    assert choice.profile is CPU
    assert "no GPU is looked for yet (Linux on x86_64 with 6 CPUs)" in choice.why


def test_a_profile_can_be_named():
    other = replace(CPU, name="other")
    choice = detect(FACTS, {"cpu": CPU, "other": other}, "other")
    assert (choice.profile, choice.why) == (other, "other: router.yaml names it")


def test_an_unknown_profile_lists_the_known_ones():
    with pytest.raises(UnknownProfileError, match=r"no profile gpu; there are: auto, cpu$"):
        detect(FACTS, {"cpu": CPU}, "gpu")


def test_auto_takes_the_first_engine_that_is_installed_and_can_be_launched():
    choice = choose_engine(CPU, replace(FACTS, engines={"fancy": "1", "llama_cpp": "0.3.36"}), INSTALLS)
    assert choice.name == "llama_cpp"
    assert choice.why == "llama_cpp 0.3.36: the first of the cpu profile's engines that is installed"


@pytest.mark.parametrize(("cpus", "half"), [(6, 3), (1, 1)])
def test_a_profiles_arguments_get_the_machines_numbers(cpus, half):
    choice = choose_engine(CPU, replace(FACTS, cpus=cpus), INSTALLS)
    assert choice.args == {"n_ctx": 4096, "n_threads": half, "n_threads_batch": cpus}


def test_an_engine_that_is_named_gets_the_profiles_arguments():
    choice = choose_engine(CPU, FACTS, INSTALLS, "llama_cpp")
    assert (choice.args["n_threads"], choice.why) == (3, "llama_cpp 0.3.36: router.yaml names it")


def test_an_engine_that_the_profile_does_not_have_gets_no_arguments():
    choice = choose_engine(CPU, replace(FACTS, engines={"vllm": "0.32"}), INSTALLS, "vllm")
    assert choice.args == {}
    assert choice.why == "vllm 0.32: router.yaml names it; the cpu profile has no arguments for it"


def test_an_engine_that_is_not_installed_says_how_to():
    with pytest.raises(
        EngineNotInstalledError, match=r"vllm is not installed in this Python; install it: pip install vllm"
    ):
        choose_engine(CPU, FACTS, INSTALLS, "vllm")


def test_nothing_installed_says_how_to_get_the_first():
    with pytest.raises(
        EngineNotInstalledError, match=r"no engine of the cpu profile .* install llama_cpp: pip install llama"
    ):
        choose_engine(CPU, BARE, INSTALLS)


def test_an_engine_that_can_not_be_launched_lists_those_that_can():
    with pytest.raises(UnknownEngineError, match=r"can't launch fancy; it can: auto, llama_cpp, vllm"):
        choose_engine(CPU, FACTS, INSTALLS, "fancy")


def test_a_profile_of_engines_that_can_not_be_launched():
    with pytest.raises(UnknownEngineError, match=r"any engine of the cpu profile yet: fancy, llama_cpp"):
        choose_engine(CPU, FACTS, {"vllm": "pip install vllm"})
