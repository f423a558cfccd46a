"""Which files a model's weights are in."""

import pytest

from launchers.weights import WEIGHTS, no_gguf, weights


@pytest.mark.parametrize("form", ["safetensors", "gguf", "npz", "bin", "pt"])
def test_weights_are_known_in_any_form_that_an_engine_reads(tmp_path, form):
    """All of their files, and nothing that lies beside them."""
    for name in (f"a.{form}", f"b.{form}", "config.json"):
        (tmp_path / name).touch()
    assert weights(str(tmp_path), {}) == [tmp_path / f"a.{form}", tmp_path / f"b.{form}"]


@pytest.mark.parametrize("number", range(len(WEIGHTS) - 1))
def test_of_several_forms_the_first_counts(tmp_path, number):
    """It is the one that engines read."""
    first, second = (form.replace("*", "model") for form in WEIGHTS[number : number + 2])
    for name in (first, second):
        (tmp_path / name).touch()
    assert weights(str(tmp_path), {}) == [tmp_path / first]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
        (b"\n<!DOCTYPE html>", "is a web page"),
        (b"PK\x03\x04", "is an archive"),
        (b"hello\xff", "begins with 'hello\xff'"),
    ],
)
def test_a_file_that_is_no_gguf_says_what_it_may_be(tmp_path, content, what):
    """Only one that is named so; of several the first."""
    (tmp_path / "a.gguf").write_bytes(b"GGUF\3\0\0\0")
    (tmp_path / "b.gguf").write_bytes(content)
    (tmp_path / "c.bin").write_bytes(content)
    files = [tmp_path / name for name in ("gone.gguf", "a.gguf", "c.bin")]
    assert no_gguf(files) == ""
    assert f"b.gguf is no GGUF file: it {what}" in no_gguf([*files, tmp_path / "b.gguf"])
