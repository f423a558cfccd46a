"""Which files a model's weights are in."""

import pytest

from launchers.weights import WEIGHTS, weights


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
