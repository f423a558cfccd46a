"""llama.cpp's flags by every name that people write."""

import pytest

from launchers.engines import ENGINES
from launchers.engines.flags import LONG, SERVERS, SETTINGS, named
from launchers.engines.llama_cpp import SETTINGS as LLAMA_CPPS
from launchers.errors import ArgumentError
from launchers.spec import ArgValue, LaunchSpec

Args = dict[str, ArgValue]
SWAPPED: Args = {
    "ngl": 99, "c": 32768, "-fa": "on", "jinja": True, "no-mmap": True, "ctk": "q8_0", "ot": "x=CPU", "np": 3,
    "samplers": ["top_k", "temperature"], "no_webui": False, "ctx_size": 1,
}  # fmt: skip


def test_llama_server_gets_its_long_names():
    """Short names have one dash on its command line, and a no- has its other half."""
    assert named("llama_server", SWAPPED) == {
        "n-gpu-layers": 99, "ctx-size": 1, "flash-attn": "on", "jinja": True, "mmap": False, "cache-type-k": "q8_0",
        "override-tensor": "x=CPU", "parallel": 3, "samplers": ["top_k", "temperature"], "webui": True,
    }  # fmt: skip
    spec = LaunchSpec("a", "llama_server", "a.gguf", "a", named("llama_server", SWAPPED), {}, start_timeout=60)
    words = " ".join(ENGINES["llama_server"].command(spec, 1, "/bin/llama-server").argv)
    assert " --no-mmap " in words
    assert " --samplers top_k;temperature " in words
    assert " --parallel 3 " in words


def test_llama_cpp_gets_its_own():
    """Its settings have other names, and types of caches have numbers."""
    given: Args = {"ngl": 99, "c": 4096, "fa": "on", "no-mmap": True, "ctk": "q8_0", "threads": 4, "n-ctx": 1}
    assert named("llama_cpp", given) == {
        "n_gpu_layers": 99, "n_ctx": 1, "flash_attn": True, "use_mmap": False, "type_k": 8, "n_threads": 4,
    }  # fmt: skip
    newer: Args = {"no-such-flag": True, "of-a-newer-version": 1}
    assert named("llama_cpp", newer) == newer
    assert named("llama_cpp", {"fa": "off", "ctv": 1}) == {"flash_attn": False, "type_v": 1}
    assert set(SETTINGS.values()) <= set(LLAMA_CPPS)


@pytest.mark.parametrize("name", [*sorted(SERVERS), "np", "jinja", "temp"])
def test_what_llama_cpp_lacks_is_told_with_who_has_it(name):
    """It would not start with it."""
    with pytest.raises(ArgumentError, match=f"launch.args: {name} can't be set for llama_cpp.*engine: llama_server"):
        named("llama_cpp", {name: 1})


@pytest.mark.parametrize("engine", ["vllm", "mlx"])
def test_other_engines_have_none_of_them(engine):
    """But what stands below an engine's own name is nothing to others."""
    with pytest.raises(ArgumentError, match=rf"ngl can't be set for {engine}: it is a flag of llama\.cpp"):
        named(engine, {"ngl": 99})
    assert named(engine, {"max-model-len": 4096}) == {"max-model-len": 4096}
    assert named("any", {"ngl": 99}) == {"ngl": 99}


def test_the_tables_are_of_long_names():
    """None of which is a short one, too."""
    assert not LONG.keys() & set(LONG.values())
    assert not (SETTINGS.keys() | SERVERS) & LONG.keys()


@pytest.mark.parametrize(
    ("engine", "args", "name"),
    [
        ("llama_server", {"ctx-size": "abc"}, "ctx-size"),
        ("llama_server", {"c": "16k"}, "c"),
        ("llama_server", {"threads": True}, "threads"),
        ("llama_server", {"parallel": [1, 2]}, "parallel"),
        ("llama_cpp", {"ngl": "all"}, "ngl"),
        ("llama_cpp", {"n-ctx": ""}, "n-ctx"),
        ("mlx", {"max_tokens": "many"}, "max_tokens"),
    ],
)
def test_a_word_for_a_whole_number(engine, args, name):
    """The engine would not start with it; the word isn't shown: it may come from the environment."""
    with pytest.raises(ArgumentError) as caught:
        named(engine, args)
    assert str(caught.value) == f"launch.args: {name} can't be set to this for {engine}: it is a whole number"


@pytest.mark.parametrize("value", [5, 5.0, "5", " -1 ", None])
def test_what_an_engine_may_read_as_a_whole_number(value):
    """And what takes words, too."""
    assert named("llama_server", {"ctx-size": value, "ngl": "all"}) == {"ctx-size": value, "n-gpu-layers": "all"}
    assert named("vllm", {"max-model-len": "16k"}) == {"max-model-len": "16k"}
