import pytest

from launchers.scan.sorting import Files, base, sort


def gguf(*names: str, projector: str | None = None, whole: int = 0, name: str = "") -> Files:
    return Files(name or names[0].removesuffix(".gguf"), names, is_gguf=True, projector=projector, whole=whole)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], []),
        (["readme.md", "config.json", ".gguf", "model.safetensors.index.json"], []),
        (["b.gguf", "a.GGUF"], [Files("a", ("a.GGUF",), is_gguf=True), gguf("b.gguf")]),
        # Parts of one model, in their order; of another number they are another's.
        (
            ["m-00002-of-00002.gguf", "m-00001-of-00002.gguf", "m-00001-of-00003.gguf"],
            [
                gguf("m-00001-of-00002.gguf", "m-00002-of-00002.gguf", whole=2, name="m"),
                gguf("m-00001-of-00003.gguf", whole=3, name="m"),
            ],
        ),
        # One projector for a folder of one model; F16 is what every device computes with.
        (
            ["g-4b-it-Q4_K_M.gguf", "g-4b-it-Q8_0.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf"],
            [gguf(f"g-4b-it-{kind}.gguf", projector="mmproj-F16.gguf") for kind in ("Q4_K_M", "Q8_0")],
        ),
        # In a folder of several, one of no name could be anybody's.
        (["a-Q4_0.gguf", "b.gguf", "mmproj-model-f16.gguf"], [gguf("a-Q4_0.gguf"), gguf("b.gguf")]),
        (
            ["org_gemma_gemma-it-Q4_K_M.gguf", "org_gemma_mmproj-model-f16.gguf", "other.gguf"],
            [gguf("org_gemma_gemma-it-Q4_K_M.gguf", projector="org_gemma_mmproj-model-f16.gguf"), gguf("other.gguf")],
        ),
        (["mmproj-a.gguf"], []),
        (["m.gguf", "mmproj\n.gguf", "mmproj-\udcff.gguf"], [gguf("m.gguf")]),
        (["config.json", "model.safetensors", "x.bin"], [Files("", ("model.safetensors",), is_gguf=False)]),
        (["config.json", "pytorch_model.bin", "training_args.bin"], [Files("", ("pytorch_model.bin",), is_gguf=False)]),
        (["config.json", "training_args.bin"], []),
        (["adapter_model.safetensors", "adapter_config.json"], []),
    ],
)  # fmt: skip
def test_which_files_are_one_model(names, found):
    assert sort(names) == found


def test_missing_parts():
    """The names tell."""
    assert [each.is_complete for each in sort(["m-00002-of-00002.gguf", "n.gguf"])] == [False, True]


@pytest.mark.parametrize(
    ("stem", "without"),
    [
        ("Qwen2.5-7B-Instruct-Q4_K_M", "qwen2.5-7b-instruct"),
        ("m-IQ4_XS", "m"),
        ("m-UD-Q2_K_XL", "m"),
        ("m.f16", "m"),
        ("m-BF16", "m"),
        ("m-4bit", "m"),
        ("m-mxfp4", "m"),
        ("m-7b", "m-7b"),
        ("model-16", "model-16"),
        ("qwen3-4b-2507", "qwen3-4b-2507"),
    ],
)
def test_a_name_without_its_quantisation(stem, without):
    assert base(stem) == without
