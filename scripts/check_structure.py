"""Checks what no linter does: no circles between files, and no file and no class that is too large to read.

    python -m scripts.check_structure

1. No circle between files, imports for types alone included: to read one file is not to read all of them.
2. No file over 400 lines.
3. No class over 20 attributes of its own: with more, its state must be deduced from many of them.

`EXCEPTIONS` lists what is over a bound, with its reason; it may not grow. An exception that is larger than needed is an
error, too, so the list only gets shorter.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FOLDERS: Final = ("router", "launchers", "profiles", "scripts")
MOST_LINES: Final = 400
MOST_ATTRIBUTES: Final = 20
SLACK: Final = 0.9
"""The share of an exception below which it must be lowered, or taken out."""

EXCEPTIONS: Final[Mapping[str, tuple[int, str]]] = {
    "router/proxy/exchange.py": (505, "each moment of an exchange is a short method, on the same few objects"),
    "router/api/admin/requests.py EndedTold": (23, "a row that is told and never changed: it has no state"),
    "scripts/make_demo_model.py": (420, "needs nothing else of the project, so that it can be copied"),
}


@dataclass(frozen=True)
class File:
    """A file: its module's name, its length in lines, what it imports of ours, and its classes' attributes."""

    module: str
    lines: int
    imports: frozenset[str]
    attributes: Mapping[str, int]


def read(root: Path) -> dict[str, File]:
    """Read the sources, by their paths."""
    paths = {path.relative_to(root): path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))}
    modules = {_module(path) for path in paths}
    found = {}
    for name, path in paths.items():
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        module = _module(name)
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        found[name.as_posix()] = File(
            module,
            len(text.splitlines()),
            frozenset(_imports(tree, modules)) - {module},
            {each.name: len(set(_attributes(each))) for each in classes},
        )
    return found


def _module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _imports(tree: ast.Module, modules: set[str]) -> Iterator[str]:
    """Give each module of ours that is imported, at its top, in a function or for types alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for each in node.names:
                inside = f"{node.module}.{each.name}"
                yield from [name for name in (inside, node.module) if name in modules][:1]


def _attributes(made: ast.ClassDef) -> Iterator[str]:
    """Give the names that a class, or its methods on `self`, assign to."""
    for node in made.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Assign):
            yield from (each.id for each in node.targets if isinstance(each, ast.Name))
    for inner in ast.walk(made):
        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store) and isinstance(inner.value, ast.Name):
            yield from [inner.attr] if inner.value.id == "self" else []


def circles(imports: Mapping[str, frozenset[str]]) -> list[list[str]]:
    """Give the modules that reach themselves by their imports, those of one circle together."""
    reached = {module: _reached(module, imports) for module in imports}
    inside = sorted(module for module in imports if module in reached[module])
    found: list[list[str]] = []
    for module in inside:
        circle = [each for each in inside if each in reached[module] and module in reached[each]]
        if circle not in found:
            found.append(circle)
    return found


def _reached(module: str, imports: Mapping[str, frozenset[str]]) -> set[str]:
    """Give what a module imports, and what that imports, and so on."""
    seen: set[str] = set()
    ahead = set(imports[module])
    while ahead:
        seen |= ahead
        ahead = {each for at in ahead for each in imports[at]} - seen
    return seen


def problems(files: Mapping[str, File], exceptions: Mapping[str, tuple[int, str]]) -> Iterator[str]:
    """Say what is wrong, a sentence each."""
    for circle in circles({file.module: file.imports for file in files.values()}):
        yield f"these files import each other in a circle: {', '.join(circle)}"
    sizes = {path: (file.lines, MOST_LINES, "lines") for path, file in files.items()}
    for path, file in files.items():
        for name, count in file.attributes.items():
            sizes[f"{path} {name}"] = (count, MOST_ATTRIBUTES, "attributes")
    for what, (size, most, unit) in sizes.items():
        allowed = exceptions[what][0] if what in exceptions else most
        if size > allowed:
            yield f"{what} has {size} {unit}; at most {allowed} are read with ease: part it"
        elif what in exceptions and size <= max(most, SLACK * allowed):
            yield f"{what} has {size} {unit} now: lower its exception, or take it out"
    for what in exceptions.keys() - sizes.keys():
        yield f"{what} has an exception, and is gone: take it out"


def main() -> int:
    """Print what is wrong; give the exit code."""
    found = list(problems(read(Path()), EXCEPTIONS))
    for each in found:
        print(each, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
