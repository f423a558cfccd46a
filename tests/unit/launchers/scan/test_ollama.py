import json

import pytest

from launchers.scan.ollama import MODEL, PROJECTOR, Named, blobs_of, name_of

A, B = "a" * 64, "b" * 64


def manifest(*layers: tuple[str, str]) -> bytes:
    said = {"schemaVersion": 2, "layers": [{"mediaType": kind, "digest": digest, "size": 5} for kind, digest in layers]}
    return json.dumps(said).encode()


def test_a_model_and_its_projector():
    layers = [(MODEL, f"sha256:{A}"), ("application/vnd.ollama.image.license", f"sha256:{B}")]
    assert blobs_of(manifest(*layers)) == Named(f"sha256-{A}")
    assert blobs_of(manifest(*layers, (PROJECTOR, f"sha256:{B}"))) == Named(f"sha256-{A}", f"sha256-{B}")


@pytest.mark.parametrize(
    "said",
    [
        manifest(),
        manifest((MODEL, "sha256:../../../etc/passwd")),
        manifest(("application/vnd.ollama.image.tensor", f"sha256:{A}")),
    ],
)
def test_one_without_a_file_of_its_own(said):
    """As those that run elsewhere; a digest is nothing but letters and digits, so it leads nowhere else."""
    assert "no GGUF file is in its store" in str(blobs_of(said))


@pytest.mark.parametrize("said", [b"", b"{}", b"[1]", b'{"layers": 5}', b"\xff", b"[" * 100_000])
def test_what_is_no_manifest(said):
    assert blobs_of(said) == "this is no manifest of Ollama's"


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("registry.ollama.ai", "library", "llama3.2", "latest"), "llama3.2"),
        (("registry.ollama.ai", "library", "qwen2.5", "7b"), "qwen2.5:7b"),
        (("registry.ollama.ai", "me", "mine", "latest"), "me/mine"),
        (("hf.co", "org", "Name-GGUF", "Q4_K_M"), "hf.co/org/Name-GGUF:Q4_K_M"),
        (("x", "y"), "x:y"),
    ],
)
def test_the_name_that_people_type(parts, name):
    assert name_of(parts) == name
