import pytest

from router.hub.names import Name, name_of


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Qwen/Qwen3-8B-GGUF", Name("Qwen/Qwen3-8B-GGUF")),
        ("Qwen/Qwen3-8B-GGUF:Q4_K_M", Name("Qwen/Qwen3-8B-GGUF", "Q4_K_M")),
        ("a/b:sub/c-00001-of-00002.gguf", Name("a/b", "sub/c-00001-of-00002.gguf")),
        ("https://huggingface.co/org/name", Name("org/name")),
        ("https://huggingface.co/org/name/", Name("org/name")),
        ("hf.co/org/name:Q8_0", Name("org/name", "Q8_0")),
        ("hf://org/name", Name("org/name")),
    ],
)
def test_names_as_people_write_them(said, name):
    assert name_of(said) == name
    assert str(name).endswith(name.what)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "qwen",
        "a/b/c",
        "../b",
        "a/..",
        "a/b..c",
        "a--b/c",
        "/a/b",
        "a/b:",
        "a/b: c",
        "https://elsewhere/a/b",
        "a/b\n",
    ],
)
def test_what_is_no_name_of_the_hub(said):
    """A name becomes a path of the cache, so nothing that leads elsewhere is one."""
    assert name_of(said) is None
