import hashlib
import json
import struct

import pytest

from scripts import make_demo_model

# The one record of what the model is. A deliberate change of the model changes it too.
SHA256 = "d518115bd72c81a2efe090a2eb36395b2a9914ae18226803469a3b03ee857a94"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The model, written as a user would."""
    folder = tmp_path_factory.mktemp("made") / "models" / "demo"
    make_demo_model.main([str(folder)])
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class Gguf:
    """A second, independent reading of the GGUF layout: metadata, and each tensor's shape and bytes."""

    SCALARS = {4: "<I", 5: "<i", 6: "<f", 7: "<?"}  # noqa: RUF012
    STRING, ARRAY = 8, 9

    def __init__(self, data):
        self.data, self.at = data, 0
        self.magic, self.version, tensors, keys = self._take("<4sIQQ")
        self.metadata = {self._string(): self._value(*self._take("<I")) for _ in range(keys)}
        places = [self._place() for _ in range(tensors)]
        start = self.at + -self.at % 32
        self.shapes = {name: shape for name, shape, _ in places}
        self.offsets = [offset for _, _, offset in places]
        self.tensors = {name: self._floats(start + offset, shape) for name, shape, offset in places}

    def _take(self, layout):
        values = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return values

    def _string(self):
        (size,) = self._take("<Q")
        (text,) = self._take(f"<{size}s")
        return text.decode()

    def _value(self, kind):
        if kind == self.STRING:
            return self._string()
        if kind == self.ARRAY:
            item_kind, count = self._take("<IQ")
            return [self._value(item_kind) for _ in range(count)]
        return self._take(self.SCALARS[kind])[0]

    def _place(self):
        name, (dimensions,) = self._string(), self._take("<I")
        *shape, kind, offset = self._take(f"<{dimensions}QIQ")
        assert kind == 0, "float32"
        return name, tuple(reversed(shape)), offset

    def _floats(self, at, shape):
        size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        return self.data[at : at + size]


def read_safetensors(data):
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    assert header.pop("__metadata__") == {"format": "pt"}
    body = data[8 + size :]
    return {
        name: (tuple(entry["shape"]), body[slice(*entry["data_offsets"])])
        for name, entry in header.items()
        if entry["dtype"] == "BF16"
    }


def test_the_same_bytes_every_time(folder, tmp_path):
    """Two runs write equal folders, and both are the recorded model."""
    make_demo_model.main([str(tmp_path)])
    assert contents(tmp_path) == contents(folder)
    whole = b"".join(name.encode() + b"\0" + data for name, data in contents(folder).items())
    assert hashlib.sha256(whole).hexdigest() == SHA256


def test_all_the_files_are_there_and_small(folder):
    """Both forms lie in one folder, under 2 MB, and nothing else is left behind."""
    assert set(contents(folder)) == {
        "demo.gguf",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "generation_config.json",
        "special_tokens_map.json",
        "model.safetensors",
    }
    assert sum(map(len, contents(folder).values())) < 2_000_000


def test_says_what_it_wrote(tmp_path, capsys):
    """One short line."""
    make_demo_model.main([str(tmp_path / "m")])
    out, err = capsys.readouterr()
    assert out.startswith(f"{tmp_path / 'm'}: 8 files, ")
    assert (out.count("\n"), err) == (1, "")


def test_gguf_header(folder):
    """The container says what llama.cpp must know."""
    gguf = Gguf((folder / "demo.gguf").read_bytes())
    assert (gguf.magic, gguf.version) == (b"GGUF", 3)
    assert gguf.metadata["general.architecture"] == "qwen2"
    assert gguf.metadata["qwen2.context_length"] == 8192
    assert gguf.metadata["qwen2.pooling_type"] == 1
    assert gguf.metadata["tokenizer.chat_template"] == (folder / "chat_template.jinja").read_text()
    assert gguf.shapes["token_embd.weight"] == (len(gguf.metadata["tokenizer.ggml.tokens"]), 64)
    assert all(offset % 32 == 0 for offset in gguf.offsets)


def test_hugging_face_files_agree_with_each_other(folder):
    """Sizes and token ids are the same in config, tokenizer and generation settings."""
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    generation = json.loads((folder / "generation_config.json").read_text())
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    assert config["architectures"] == ["Qwen2ForCausalLM"]
    assert config["vocab_size"] == len(tokenizer["model"]["vocab"]) + len(added)
    assert config["eos_token_id"] == added["<|im_end|>"]
    assert config["eos_token_id"] in generation["eos_token_id"]
    assert config["max_position_embeddings"] == 8192


def test_both_forms_have_the_same_tokenizer(folder):
    """Tokens have the same ids and merges the same order for every engine."""
    metadata = Gguf((folder / "demo.gguf").read_bytes()).metadata
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    ids = tokenizer["model"]["vocab"] | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    assert {token: number for number, token in enumerate(metadata["tokenizer.ggml.tokens"])} == ids
    assert metadata["tokenizer.ggml.merges"] == tokenizer["model"]["merges"]


def test_both_forms_have_the_same_weights(folder):
    """Every float32 of the GGUF is a bfloat16 of the safetensors, exactly."""
    gguf = Gguf((folder / "demo.gguf").read_bytes())
    hugging_face = read_safetensors((folder / "model.safetensors").read_bytes())
    names = {t.gguf_name: t.hf_name for t in make_demo_model.build_tensors(make_demo_model.build_vocabulary())}
    assert set(names) == set(gguf.tensors)
    assert set(names.values()) == set(hugging_face)
    for gguf_name, hf_name in names.items():
        shape, bf16 = hugging_face[hf_name]
        assert gguf.shapes[gguf_name] == shape
        pairs = zip(bf16[0::2], bf16[1::2], strict=True)
        assert gguf.tensors[gguf_name] == b"".join(bytes([0, 0, low, high]) for low, high in pairs)


def test_only_words_and_marks_can_be_spoken(folder):
    """The head shuts out bytes, beginnings of words, and the end of the turn."""
    gguf = Gguf((folder / "demo.gguf").read_bytes())
    biases = [row[0] for row in struct.iter_unpack("<64f", gguf.tensors["output.weight"])]
    tokens = gguf.metadata["tokenizer.ggml.tokens"]
    spoken = {token for token, bias in zip(tokens, biases, strict=True) if bias == 0}
    assert spoken == {".", ",", "!", "?", *("Ġ" + word for word in make_demo_model.WORDS)}
    for name in ("blk.0.attn_output.weight", "blk.1.ffn_down.weight"):
        row_size = 4 * gguf.shapes[name][1]
        assert gguf.tensors[name][:row_size] == bytes(row_size), "nothing is added to the constant"


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    """A target that is a file is an error in one line, and the file stays as it was."""
    target = tmp_path / "taken"
    target.write_text("mine")
    with pytest.raises(SystemExit) as stop:
        make_demo_model.main([str(target)])
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"make_demo_model: cannot write into {target}: File exists\n"
    assert target.read_text() == "mine"


def test_an_interrupted_run_leaves_no_half_file(tmp_path, monkeypatch):
    """Nothing is put in place before everything is written."""

    def full(_path, _data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(SystemExit):
        make_demo_model.main([str(tmp_path / "m")])
    assert contents(tmp_path / "m") == {}
