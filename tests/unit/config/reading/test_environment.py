"""What the environment adds to a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from router.config.reading import environment, places
from router.config.scalars import BROKEN, FromEnvironment, typed

if TYPE_CHECKING:
    from router.config.reading.document import Document


def parse(text: str) -> Document:
    return places.parse(text.encode(), "f.yaml")


def expanded(text: str, **environ: str):
    document = parse(f"a: {text}")
    environment.expand(document, environ)
    return document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${X}", "7"),
        ("http://${H}:${X}/", "http://box:7/"),
        ("${NONE:-8}", "8"),
        ("${NONE:-}", ""),
        ("${EMPTY:-8}", "8"),
        ("${EMPTY}", ""),
        ("${X:-8}", "7"),
        ("${NONE:-$8}", "$8"),
        ("$${X}", "${X}"),
        ("$X and $$", "$X and $$"),
        ("${NESTED}", "${X}"),
        ("'${X}'", "7"),
    ],
)
def test_references_are_expanded(text, value):
    """A name, a default, several in a text; a value is never expanded again."""
    document = expanded(text, X="7", H="box", EMPTY="", NESTED="${X}")
    assert document.data == {"a": value}
    assert document.problems == []


def test_references_are_expanded_in_lists_and_mappings():
    """Values at any depth are expanded; in a key, a reference is a mistake."""
    document = parse("a:\n  - b: ${X}\n    ${X}: 1\n")
    environment.expand(document, {"X": "y"})
    assert document.data == {"a": [{"b": "y", "${X}": 1}]}
    assert [str(found) for found in document.problems] == [
        "f.yaml:3:5 a[0]['${X}']: ${…} stands in values, not in keys"
    ]


def test_a_value_cannot_add_structure():
    """Lines and colons of a value are text."""
    assert expanded("${X}", X="1\nb: 2").data == {"a": "1\nb: 2"}


def test_the_key_decides_the_type():
    """An expanded word can be read as a number; one that was quoted says so."""
    plain, quoted = expanded("${X}", X="7").data["a"], expanded("'${X}'", X="7").data["a"]
    assert typed(plain) == 7
    assert (plain.unquoted, quoted.unquoted) == (True, False)
    assert typed("7") == "7"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${NAME}", "f.yaml:1:1 a: the environment has no NAME: set it, or give a default: ${NAME:-…}"),
        ("${}", "f.yaml:1:1 a: write ${NAME} or ${NAME:-default}, with letters, digits and _; $${ is a literal ${"),
        ("${sk-12}", "f.yaml:1:1 a: write ${NAME} or"),
        ("${OPEN", "f.yaml:1:1 a: write ${NAME} or"),
        ("${A:-${B}}", "f.yaml:1:1 a: write ${NAME} or"),
    ],
)
def test_a_reference_that_cannot_be_expanded(text, problem):
    """A missing name and a broken reference are problems at their place, and leave no value."""
    document = expanded(text)
    assert document.data == {"a": BROKEN}
    assert str(document.problems[0]).startswith(problem)
    assert document.broken == {("a",)}


def overridden(text: str, **environ: str):
    document = parse(text)
    environment.override(document, environ)
    return document


@pytest.mark.parametrize(
    ("text", "variable", "data"),
    [
        ("server: {port: 1}", "ROUTER_SERVER__PORT", {"server": {"port": "v"}}),
        ("server: {port: 1}", "ROUTER_server__Port", {"server": {"port": "v"}}),
        ("server:", "ROUTER_SERVER__PORT", {"server": {"port": "v"}}),
        ("", "ROUTER_SERVER__PORT", {"server": {"port": "v"}}),
        ("", "ROUTER_PROFILE", {"profile": "v"}),
        ("b: [{u: 1}]", "ROUTER_B__0__U", {"b": [{"u": "v"}]}),
        ("b: [{u: 1}]", "ROUTER_B__1__U", {"b": [{"u": 1}, {"u": "v"}]}),
        ("b: [null]", "ROUTER_B__0__U", {"b": [{"u": "v"}]}),
        ("b: [x]", "ROUTER_B__0", {"b": ["v"]}),
        ("", "ROUTER_BACKENDS__0__URL", {"backends": [{"url": "v"}]}),
        ("l: {env: {}}", "ROUTER_L__ENV__CUDA_VISIBLE_DEVICES", {"l": {"env": {"CUDA_VISIBLE_DEVICES": "v"}}}),
        ("l: {args: {nCtx: 1}}", "ROUTER_L__ARGS__NCTX", {"l": {"args": {"nCtx": "v"}}}),
    ],
)
def test_a_variable_sets_a_value(text, variable, data):
    """Levels are separated by two underscores, in either case; what is missing on the way is made."""
    document = overridden(text, **{variable: "v"})
    assert document.data == data
    assert document.problems == []
    assert variable in {place.file for place in document.places.values()}


@pytest.mark.parametrize(
    "variable", ["SERVER__PORT", "ROUTER_PORT", "ROUTER_PORT_8001_TCP", "ROUTER", "router_server__port"]
)
def test_other_variables_are_ignored(variable):
    """Only ROUTER_ with two underscores further on, and ROUTER_PROFILE, are meant for the router."""
    assert overridden("a: 1", **{variable: "v"}).data == {"a": 1}


@pytest.mark.parametrize(
    ("variable", "problem"),
    [
        ("ROUTER_B__7__U", "ROUTER_B__7__U b: has no '7': its next item is 1"),
        ("ROUTER_B__X__U", "ROUTER_B__X__U b: has no 'X': its next item is 1"),
        ("ROUTER_A__X", "ROUTER_A__X a: has no 'X': it holds a single value"),
        ("ROUTER_INCLUDE__0", "ROUTER_INCLUDE__0 include: can't be set from here: write ${NAME} into it"),
        ("ROUTER___A", "ROUTER___A: two underscores go between"),
        ("ROUTER_A__" + "__".join("abcdefgh"), "two underscores go between"),
    ],
)
def test_a_variable_that_fits_nowhere(variable, problem):
    """A variable that can't be placed is a problem under its own name, without a line."""
    (found,) = overridden("a: 1\nb: [x]", **{variable: "v"}).problems
    assert problem in str(found)
    assert (found.file, found.line, found.column) == (variable, None, None)


def test_an_override_is_not_expanded():
    """A variable's value is taken as it is, and spares the file's own reference."""
    document = overridden("server: {host: '${NONE}'}", ROUTER_SERVER__HOST="${X}")
    environment.expand(document, {})
    assert document.data["server"]["host"] == FromEnvironment("${X}")
    assert document.problems == []
