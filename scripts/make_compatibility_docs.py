"""Write docs/compatibility.md from what `make test-clients` found.

    python -m scripts.make_compatibility_docs

The tests leave `.clients/results.json`: the versions, and for each client, API, feature and engine whether it worked.
What wasn't run is a dash, never a guess.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from launchers.engines import ENGINES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / ".clients" / "results.json"
DOCUMENT: Final = ROOT / "docs" / "compatibility.md"
COLUMNS: Final = ("scripted", "llama_cpp", "llama_server", "mlx", "vllm")
SCRIPTED: Final = frozenset({"/v1/chat/completions", "/v1/embeddings"})
"""What the scripted engine speaks."""

HEAD: Final = """# Which program works with which engine

`make compatibility` runs the programs, by their own commands or libraries, and writes this page from what it found. How
to set each program up: [clients.md](clients.md).

- **native**: it worked, and the engine speaks the API itself.
- **translated**: it worked; the engine speaks chat completions or embeddings, and the router translated.
- **yes**: it worked, and the router itself answers: lists of models.
- **fails**: it was run and did not work.
- **\N{EN DASH}**: it wasn't run.

*scripted* is an engine of the tests that speaks chat completions alone, refuses whatever a strict server would refuse,
and asks for the tools that a test names: the demo model, which the real engines run, speaks words in no order and never
asks for a tool. A feature that only the scripted engine was asked for depends on the model elsewhere.
"""


def main() -> None:
    """Read the results, write the document."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    DOCUMENT.write_text(document(found), encoding="utf-8")
    print(f"{DOCUMENT.relative_to(ROOT)}: {len(found['results'])} results")


def document(found: Mapping[str, Any]) -> str:
    """Give the whole page."""
    rows: dict[str, dict[tuple[str, str], dict[str, bool]]] = defaultdict(lambda: defaultdict(dict))
    for each in found["results"]:
        rows[each["client"]][each["api"], each["feature"]][each["engine"]] = each["worked"]
    versions: Mapping[str, str] = found["versions"]
    engines = ", ".join(f"{name} {versions[name]}" for name in COLUMNS if name in versions)
    parts = [HEAD, f"Engines: {engines}.\n"]
    parts += ["\n".join(_table(name, versions[name], rows[name])) + "\n" for name in sorted(rows, key=str.lower)]
    return "\n".join(parts)


def _table(client: str, version: str, rows: Mapping[tuple[str, str], Mapping[str, bool]]) -> Iterator[str]:
    yield f"## {client}\n\n{version}\n"
    yield "| API | feature | " + " | ".join(COLUMNS) + " |"
    yield "|---|---" + "|---" * len(COLUMNS) + "|"
    for (api, feature), cells in sorted(rows.items()):
        words = (_word(api, feature, engine, cells.get(engine)) for engine in COLUMNS)
        yield f"| {api} | {feature} | " + " | ".join(words) + " |"


def _word(api: str, feature: str, engine: str, worked: bool | None) -> str:  # noqa: FBT001 - a cell, not a switch
    if worked is None:
        return "\N{EN DASH}"
    if not worked:
        return "fails"
    if feature == "models":
        return "yes"
    paths = set(api.partition(" (")[0].split(", "))
    spoken = ENGINES[engine].apis if engine in ENGINES else SCRIPTED
    return "native" if paths <= spoken else "translated"


if __name__ == "__main__":
    main()
