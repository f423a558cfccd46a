import pytest

from router.hub import choosing
from router.hub.errors import HubError
from router.hub.listing import RemoteFile, Repository
from router.hub.names import Name


def repository(*names: str, sizes: int = 100) -> Repository:
    """Give a repository with files of these names, each larger than the one before it."""
    return Repository("o/r", "c", tuple(RemoteFile(name, sizes + at, f"{at:064d}") for at, name in enumerate(names)))


def chosen(there: Repository, what: str = "") -> list[str]:
    return [each.name for each in choosing.gguf(there, Name("o/r", what)).files]


MANY = repository("m-Q2_K.gguf", "m-Q3_K_M.gguf", "m-Q4_0.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf", "m-F16.gguf")


@pytest.mark.parametrize(
    ("what", "file"),
    [
        ("", "m-Q4_K_M.gguf"),
        ("Q8_0", "m-Q8_0.gguf"),
        ("q8_0", "m-Q8_0.gguf"),
        ("f16", "m-F16.gguf"),
        ("m-Q2_K.gguf", "m-Q2_K.gguf"),
        ("m-Q2_K", "m-Q2_K.gguf"),
    ],
)
def test_a_quantisation(what, file):
    assert chosen(MANY, what) == [file]


def test_the_usual_one_where_there_is_no_usual_one():
    """The smallest, of those whose names say nothing that is known."""
    assert chosen(repository("m-f32.gguf", "m-bf16.gguf")) == ["m-f32.gguf"]
    assert chosen(repository("model.gguf")) == ["model.gguf"]
    assert chosen(repository("m-Q8_0.gguf", "m-Q5_K_M.gguf")) == ["m-Q5_K_M.gguf"]


def test_parts_in_a_folder_of_their_own():
    """All of them, in their order; one that isn't whole on the hub is none."""
    parts = [f"Q4_K_M/m-Q4_K_M-0000{part}-of-00002.gguf" for part in (2, 1)]
    there = repository(*parts, "Q8_0/m-Q8_0-00001-of-00002.gguf")
    assert chosen(there) == sorted(parts)
    assert chosen(there, "m-Q4_K_M") == sorted(parts)
    with pytest.raises(HubError, match=r"o/r has no Q8_0\. It has Q4_K_M"):
        chosen(there, "Q8_0")


def test_what_it_reads_images_with():
    """Beside it, or above it; of several precisions, the one that each device computes with."""
    assert chosen(repository("m-Q4_K_M.gguf", "mmproj-F32.gguf", "mmproj-F16.gguf", "mmproj-BF16.gguf")) == [
        "mmproj-F16.gguf",
        "m-Q4_K_M.gguf",
    ]
    assert chosen(repository("UD/m-UD-Q4_K_XL.gguf", "mmproj-F16.gguf")) == ["mmproj-F16.gguf", "UD/m-UD-Q4_K_XL.gguf"]


def test_dynamic_quantisations():
    """Unsloth's are meant by the names of others, unless these are there, too."""
    assert chosen(repository("m-UD-Q4_K_XL.gguf", "m-Q8_0.gguf"), "q4_k_xl") == ["m-UD-Q4_K_XL.gguf"]
    assert chosen(repository("m-UD-Q4_K_XL.gguf", "m-Q4_K_XL.gguf"), "q4_k_xl") == ["m-Q4_K_XL.gguf"]


def test_what_is_no_model():
    assert chosen(repository("imatrix_m.gguf", "m.imatrix.gguf", "m-Q8_0.gguf")) == ["m-Q8_0.gguf"]


def test_several_models_of_one_quantisation():
    with pytest.raises(HubError, match=r"is several models: say which file, o/r:a-Q4_0\.gguf, o/r:b-Q4_0\.gguf"):
        chosen(repository("a-Q4_0.gguf", "b-Q4_0.gguf"), "Q4_0")


def test_one_that_is_not_there():
    with pytest.raises(HubError, match=r"o/r has no Q5_0\. It has Q2_K, Q3_K_M, Q4_0, Q4_K_M, Q8_0, F16"):
        chosen(MANY, "Q5_0")


def test_smaller_ones():
    assert choosing.smaller(MANY, choosing.gguf(MANY, Name("o/r"))) == ["Q4_0", "Q3_K_M", "Q2_K"]


def test_safetensors():
    """With what describes them, and nothing that runs code or that nobody reads."""
    there = repository(
        "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "tokenizer.json",
        "model.safetensors.index.json", "merges.txt", "tokenizer.model", "chat_template.jinja", "modeling_m.py",
        "consolidated.safetensors", "adapter_model.safetensors", "pytorch_model.bin", "README.md", "onnx/model.onnx",
        "sub/config.json",
    )  # fmt: skip
    found = choosing.safetensors(there)
    assert found is not None
    assert [each.name for each in found.weights] == [f"model-0000{at}-of-00002.safetensors" for at in (1, 2)]
    assert [each.name for each in found.describing] == [
        "config.json", "tokenizer.json", "model.safetensors.index.json", "merges.txt", "tokenizer.model",
        "chat_template.jinja",
    ]  # fmt: skip
    assert found.size == sum(each.size for each in found.files)
    assert not found.is_gguf


def test_weights_of_another_name():
    found = choosing.safetensors(repository("config.json", "weights.safetensors", "adapter_model.safetensors"))
    assert found is not None
    assert [each.name for each in found.weights] == ["weights.safetensors"]


@pytest.mark.parametrize("names", [("model.safetensors",), ("config.json",), ("config.json", "adapter_x.safetensors")])
def test_no_model_in_hugging_faces_layout(names):
    assert choosing.safetensors(repository(*names)) is None


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("config.json", "m.bin"), "a form that can run code"),
        (("README.md",), "has no model that an engine here reads"),
        (("S-00001-of-00003.gguf", "S-00003-of-00003.gguf"), "lacks parts of S: it has 2 of 3"),
    ],
)
def test_what_is_there_instead(names, said):
    assert said in choosing.nothing(repository(*names))
