"""The text of a router.yaml without its secrets, and such a text with them again. All else stays as it is. Pure.

A secret is known by the path of its value, so that entries may move, and others come before them. In comments, what
looks like a secret is hidden, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from router.config import scalars
from router.config.problems import ConfigError, Problem
from router.config.reading import places
from router.config.redact import HIDDEN, is_of_a_flag, is_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_PUBLIC: Final = frozenset({"name", "weight", "priority", "scopes", "open"})
"""Keys below `auth` that say nothing secret."""

_HEADERS: Final = "headers"
"""The key whose values are all secret, whatever their names are."""

_SHORT: Final = 4
"""Characters of a secret from which on it is looked for in comments."""

_REFERENCE = re.compile(r"\$\{\w+\}")
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")
_COMMENT = re.compile(r"(?:^|(?<=[\s,\[\]{}:-]))#[^\n\r]*", re.MULTILINE)
_IN_COMMENTS = (
    re.compile(r"(?i)(?<=[\w\"'])(?<![:=])(\s*[:=]\s*)(\S.*)"),
    re.compile(r"\S*://\S*[@?]\S*"),
    re.compile(r"\b(?:sk-|hf_|gh[pous]_)\S+|(?<=Bearer )\S+"),
    re.compile(r"(?<![\w/.-])(?=\w*\d)(?=\w*[A-Za-z])[\w-]{16,}(?![\w/.-])"),
)

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class _Scalar:
    """A value or a key: where it stands in the text, where in the data, and whether it is secret."""

    begin: int
    end: int
    line: int
    column: int
    path: Path
    value: str
    is_hidden: bool


def masked(text: str, file: str) -> str:
    """Give a file's text with "(hidden)" in the place of each secret. Raises ConfigError if it is no YAML."""
    return _replaced(text, _hiding(text, _scalars(text, file)))


def restored(text: str, original: str, file: str) -> str:
    """Give a text with the secrets of the original where it has them hidden.

    Raises ConfigError if one of the two is no YAML, or where "(hidden)" stands for nothing in the original.
    """
    before, now = _scalars(original, file), _scalars(text, file)
    secrets = {each.path: each for each in before if each.is_hidden}
    wanted = [each for each in now if each.value == HIDDEN]
    said = "stands for no secret of the file at this place: write the value itself"
    if unknown := [each for each in wanted if each.path not in secrets]:
        raise ConfigError(_problem(file, each, said) for each in unknown)
    found = [
        (each.begin, each.end, original[secrets[each.path].begin : secrets[each.path].end].rstrip("\r\n"))
        for each in wanted
    ]
    whole = _replaced(text, [*found, *_comments_restored(text, now, original, before)])
    values = {each.path: each.value for each in _scalars(whole, file)}
    if moved := [each for each in wanted if values.get(each.path) != secrets[each.path].value]:
        raise ConfigError(_problem(file, each, "can't be put back here: write the value itself") for each in moved)
    return whole


def _problem(file: str, at: _Scalar, message: str) -> Problem:
    return Problem(file, at.line, at.column, "", f"{HIDDEN} {message}")


def _replaced(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    parts, at = [], 0
    for begin, end, said in sorted(spans):
        parts += [text[at:begin], said]
        at = end
    return "".join([*parts, text[at:]])


def _hiding(text: str, found: list[_Scalar]) -> Iterator[tuple[int, int, str]]:
    secrets = sorted(
        {each.value for each in found if each.is_hidden and len(each.value) >= _SHORT}, key=len, reverse=True
    )
    for each in found:
        if each.is_hidden:
            # A block of text has its last line's end in itself.
            yield each.begin, each.end, HIDDEN + "\n" * text[each.begin : each.end].endswith("\n")
    for begin, end in _comments(text, found):
        yield begin, end, _hidden_in(text[begin:end], secrets)


def _hidden_in(comment: str, secrets: list[str]) -> str:
    """Give a comment without what may be a secret: those of the file, and what stands behind a key that names one."""
    for secret in secrets:
        comment = comment.replace(secret, HIDDEN)
    named, *others = _IN_COMMENTS
    if (found := named.search(comment)) and is_secret(comment[: found.start()], ""):
        behind = found[2]
        comment = comment if _REFERENCE.fullmatch(behind.strip("\"' ")) else comment[: found.start(2)] + HIDDEN
    for each in others:
        comment = each.sub(HIDDEN, comment)
    return comment


def _comments_restored(
    text: str, now: list[_Scalar], original: str, before: list[_Scalar]
) -> Iterator[tuple[int, int, str]]:
    """Put back what was hidden in comments; of several that look alike, in their order."""
    kept: dict[str, list[str]] = {}
    whole = {(begin, end): said for begin, end, said in _hiding(original, before)}
    for begin, end in _comments(original, before):
        kept.setdefault(whole[begin, end], []).append(original[begin:end])
    for begin, end in _comments(text, now):
        if HIDDEN in text[begin:end] and (found := kept.get(text[begin:end])):
            yield begin, end, found.pop(0)


def _comments(text: str, found: list[_Scalar]) -> Iterator[tuple[int, int]]:
    """Give where comments stand: what begins with # between two values or keys."""
    at = 0
    for begin, end in [*sorted((each.begin, each.end) for each in found), (len(text), len(text))]:
        for comment in _COMMENT.finditer(text, at, max(begin, at)):
            yield comment.start(), comment.end()
        at = max(at, end)


def _scalars(text: str, file: str) -> list[_Scalar]:
    """Find all keys and values, in their order. Raises ConfigError."""
    # It bounds the depth and the number of values, aliases among them.
    places.parse(text.encode(), file)
    top = yaml.compose(text, Loader=_LOADER)
    found: dict[int, _Scalar] = {}
    if top is not None:
        _Walk(text, found).of(top, (), hide=False)
    return sorted(found.values(), key=lambda each: each.begin)


class _Walk:
    """One walk over a file's nodes. A node with several aliases is secret if it is at one of them."""

    def __init__(self, text: str, found: dict[int, _Scalar]) -> None:
        self._text = text
        self._found = found
        self._seen: set[tuple[int, bool]] = set()

    def of(self, node: yaml.Node, path: Path, *, hide: bool) -> None:
        if (id(node), hide) in self._seen:
            return
        self._seen.add((id(node), hide))
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self._add(key, (*path, "?", str(key.value)), hide=False)
                self.of(value, (*path, str(key.value)), hide=self._is_secret(path, str(key.value), value, hide=hide))
        elif isinstance(node, yaml.SequenceNode):
            words = [each.value if isinstance(each, yaml.ScalarNode) else "" for each in node.value]
            for index, item in enumerate(node.value):
                self.of(item, (*path, _name_of(item) or index), hide=hide or is_of_a_flag(words, index))
        else:
            self._add(node, path, hide=hide or is_secret("", node.value))

    def _is_secret(self, path: Path, key: str, value: yaml.Node, *, hide: bool) -> bool:
        if path[:1] == ("auth",) and key in _PUBLIC:
            return False
        said = scalars.read(value.value) if isinstance(value, yaml.ScalarNode) and not value.style else ""
        return hide or key == _HEADERS or is_secret(key, said)

    def _add(self, node: yaml.Node, path: Path, *, hide: bool) -> None:
        if not isinstance(node, yaml.ScalarNode):
            return
        before, start = self._found.get(id(node)), node.start_mark
        begin, end = start.index, node.end_mark.index
        if (properties := _PROPERTIES.match(self._text, begin, end)) is not None:
            begin = properties.end()
        hide = hide and bool(node.value) and _REFERENCE.fullmatch(node.value) is None
        self._found[id(node)] = _Scalar(
            begin,
            end,
            start.line + 1,
            start.column + 1,
            path if before is None else before.path,
            node.value,
            hide or (before is not None and before.is_hidden),
        )


def _name_of(item: yaml.Node) -> str:
    """Give the name of a list's item, by which it is known wherever it stands; "" if it has none."""
    if not isinstance(item, yaml.MappingNode):
        return ""
    names = [value.value for key, value in item.value if key.value == "name" and isinstance(value, yaml.ScalarNode)]
    return f"[{names[0]}]" if names else ""
