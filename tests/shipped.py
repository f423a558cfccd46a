"""The router.yaml that ships: as it is, with the keys in its comments made real, and as mistakes would have it."""

from __future__ import annotations

import gc
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from router.config import Config, ConfigError, load, redacted
from router.config.reading import places
from router.config.schema import schema

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from router.config import Problem

SHIPPED = Path(__file__).parents[1] / "router.yaml"
SECRET = "s3cr3t-d0-n0t-sh0w"
ENVIRON = {"MAC_KEY": SECRET, "ROUTER_KEY": SECRET, "BATCH_KEY": SECRET, "EMPTY": ""}
PART = "backends: [{name: part, url: 'http://part:8000', models: [part]}]\nroutes: {of-a-part: part}\n"

_COMMENTED_KEY = re.compile(r"( *)# ( *(?:- )?[\w\"*-]+:(?: .*)?)")
_TOKEN = re.compile(rb"\s+|[\w.$-]+|.", re.DOTALL)
_JARGON = ("Input should", "pydantic", "Value error", "{got}", "{other}", "<object", "Traceback", "yaml.")
_takes = Draft202012Validator(schema()).is_valid


def uncommented(sections: Container[str]) -> bytes:
    """The shipped file with the keys in the comments of some sections made real."""
    lines, section = [], ""
    for line in SHIPPED.read_text(encoding="utf-8").splitlines()[1:]:
        if line[:1].isalpha() or line.startswith("# include"):
            section = line.strip("# ").partition(":")[0]
        key = _COMMENTED_KEY.fullmatch(line)
        lines.append(key[1] + key[2] if key and section in sections else line)
    return "\n".join(lines).encode()


WHOLE = uncommented(Config.model_fields)
"""Every key there is, in use."""

# ---------------------------------------------------------------- mutations

_WORDS = [
    *[
        "never",
        "p95",
        "5s",
        "5",
        "0",
        "-1",
        "1e999",
        "9" * 40,
        "64MiB",
        "auto",
        "demo",
        "llama_cpp",
        "true",
        "null",
        "~",
    ],
    *[
        "${MAC_KEY}",
        "${NONE}",
        "${NONE:-x}",
        "${",
        "$${",
        "*a",
        "&a",
        "!x",
        "<<",
        "<<: *a",
        "?",
        "-",
        ":",
        "#",
        "'",
        '"',
    ],
    *["[", "]", "{", "}", ",", "|", ">", "%", "@", "`", "\t", "\0", "\ufeff", "---", "...", "\r", "\x85", "\u2028"],
    *["http://a", "http://u:p@b", "conf.d/*.yaml", "router.yaml", "server:", "url:", "launch:", "\n", "\n  ", "\n- "],
]
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(_WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
_DATA = json.dumps(places.parse(WHOLE, "f").data)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_AT = st.integers(0, 10**6)
_PIECES = (
    st.binary(max_size=6)
    | st.sampled_from([word.encode() for word in _WORDS])
    | st.sampled_from(_TOKEN.findall(WHOLE))
    | st.sampled_from(WHOLE.splitlines(keepends=True))
)


def _pieces(content: bytes, grain: str) -> list[bytes]:
    if grain == "lines":
        return content.splitlines(keepends=True)
    return _TOKEN.findall(content) if grain == "tokens" else [content[at : at + 1] for at in range(len(content))]


@st.composite
def _of_text(draw: st.DrawFn) -> bytes:
    """Bytes, tokens or lines that are missing, doubled, swapped or others; or the file ends too early."""
    content = draw(st.sampled_from([WHOLE, SHIPPED.read_bytes()]))
    for _ in range(draw(st.integers(1, 5))):
        pieces = _pieces(content, draw(st.sampled_from(["bytes", "tokens", "lines"])))
        if not pieces:
            break
        at, other, count = (draw(_AT) % len(pieces) for _ in range(3))
        match draw(st.sampled_from(["drop", "double", "swap", "insert", "replace", "indent", "cut"])):
            case "drop":
                del pieces[at : at + 1 + count % 5]
            case "double":
                pieces.insert(other, pieces[at])
            case "swap":
                pieces[at], pieces[other] = pieces[other], pieces[at]
            case "insert":
                pieces.insert(at, draw(_PIECES))
            case "replace":
                pieces[at] = draw(_PIECES)
            case "indent":
                pieces[at] = b"  " + pieces[at] if count % 2 else pieces[at].removeprefix(b"  ")
            case _:
                del pieces[at:]
        content = b"".join(pieces)
    return content


@st.composite
def _of_nodes(draw: st.DrawFn) -> bytes:
    """Values and keys that are missing, others, or elsewhere."""
    data = json.loads(_DATA)
    for _ in range(draw(st.integers(1, 4))):
        spots = list(_spots(data))
        if not spots:
            break
        holder, key = spots[draw(_AT) % len(spots)]
        other_holder, other = spots[draw(_AT) % len(spots)]
        match draw(st.sampled_from(["drop", "replace", "copy", "rename", "wrap"])):
            case "drop":
                del holder[key]
            case "replace":
                holder[key] = draw(_VALUES)
            case "copy":
                holder[key] = json.loads(json.dumps(other_holder[other], default=str))
            case "rename" if isinstance(holder, dict):
                holder[draw(st.text(max_size=8)) or f"{key}s"] = holder.pop(key)
            case _:
                holder[key] = [holder[key]]
    text: str = yaml.dump(data, Dumper=_DUMPER, allow_unicode=draw(st.booleans()), sort_keys=False)
    return text.encode(errors="surrogatepass")


def _spots(data: Any) -> Any:
    """Each place in the data that holds a value: its container, and the key or index."""
    for key in list(data) if isinstance(data, dict) else range(len(data)):
        yield data, key
        if isinstance(data[key], dict | list):
            yield from _spots(data[key])


MUTATIONS = _of_text() | _of_nodes()


# ------------------------------------------------------------- what must hold


def beside_its_part(folder: Path) -> Path:
    """A router.yaml to be written, in a folder with the part that WHOLE includes."""
    (folder / "conf.d").mkdir()
    (folder / "conf.d" / "part.yaml").write_text(PART)
    return folder / "router.yaml"


def taken_or_refused(path: Path, environ: dict[str, str]) -> bool:
    """Load a file; tell whether it was taken. It fails if that is anything but taken whole or refused with places."""
    given = path.read_text(errors="replace") + str(environ)
    try:
        loaded = load(path, environ)
    except ConfigError as error:
        _is_clear(error.problems, str(error), given)
        return False
    finally:
        assert gc.isenabled()
    json.dumps([redacted(loaded.config), repr(loaded.config)], allow_nan=False)
    assert environ != ENVIRON or _takes(places.parse(path.read_bytes(), "f").data)
    return True


def _is_clear(problems: Sequence[Problem], said: str, given: str) -> None:
    """A line each, with its place, without a secret and without words that the user has neither heard of nor given."""
    assert len(said.splitlines()) == len(problems)
    assert SECRET not in said
    assert not [word for word in _JARGON if word in said and word not in given]
    for problem in problems:
        _says_where(problem)


def _says_where(problem: Problem) -> None:
    """A line and a column that the file has (one behind its end included), or a variable's name, and a sentence."""
    assert problem.message
    if problem.file.startswith("ROUTER_"):
        return
    assert problem.line is not None
    assert problem.column is not None
    content = Path(problem.file).read_bytes().decode(errors="replace")
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", content)
    assert 1 <= problem.line <= len(lines) + 1
    assert 1 <= problem.column <= (len(lines[problem.line - 1]) if problem.line <= len(lines) else 0) + 2
