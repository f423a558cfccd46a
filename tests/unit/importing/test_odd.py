"""Files of other programs that say odd things: never an exception, whatever stands where something else should."""

import copy
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from router.importing import litellm, llama_swap, source
from router.importing.accepting import accepted

FILES = sorted((Path(__file__).parent / "imports").glob("l*/*.yaml"))
ODD = [
    None, 5, -1, 1.5, True, "", "x y", "${env.X}", "${", "os.environ/", [], [None], [[1]], {}, {"a": {"b": [1]}},
    {"": 1}, ["a", "a"], "a\nb", "*", 10**20, {"a": None}, "http://[",
    "x: {",
]  # fmt: skip


def paths(value: object, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if at:
        yield at
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from paths(each, (*at, key))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_odd_values(file):
    """At each place another one."""
    found = source.parsed(file.read_bytes(), file.name)
    program = llama_swap if file.parent.name == "llama-swap" else litellm
    # A prime, so that each kind of value comes to each kind of place.
    for place, value in zip(paths(found.data), itertools.cycle(ODD), strict=False):
        data = copy.deepcopy(dict(found.data))
        here: Any = data
        for key in place[:-1]:
            here = here[key]
        here[place[-1]] = value
        program.imported(source.Source(file.name, data, found.lines))


@pytest.mark.parametrize(
    "text",
    [
        "apiKeys: [a, a, '', 5]\nmodels: {x: {cmd: 'llama-server -m a.gguf'}}\n",
        "models: {x: {cmd: 'llama-server -m a.gguf', aliases: [y]}, y: {cmd: 'llama-server -m b.gguf'}}\n",
        "models: {'a*': {cmd: 'llama-server -m a.gguf'}, b: {cmd: 'llama-server -m b.gguf', ttl: 1e12}}\n",
        "models: {X: {cmd: 'llama-server -m a.gguf'}, x: {cmd: 'llama-server -m b.gguf', ttl: -5}}\n",
        "models: {a: {cmd: 'llama-server -m a', filters: {setParams: {a.b.c.d.e.f.g.h.i.j: 1}}}, b: {cmd: 'a {port}'}}",
    ],
)
def test_what_it_makes_of_them_can_be_used(text):
    """The odd ones are left out."""
    found = llama_swap.imported(source.parsed(text.encode(), "f"))
    accepted(found)
    assert any(not each.reason for each in found.entries)
