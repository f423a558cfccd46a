"""The text of a router.yaml without its secrets, and such a text with them again. All else stays as it is. Pure.

A secret is known by the path of its value, so that entries may move, and others come before them. In comments, what
looks like a secret is hidden, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import yaml

from router.config import scalars
from router.config.problems import ConfigError, Problem
from router.config.reading import places
from router.config.redact import HIDDEN, LIMITS, is_hidden_key, is_of_a_flag, is_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PUBLIC: Final = LIMITS | {"name", "models", "paths", "expires", "weight", "priority", "scopes", "open", "teams"}
"""Keys below `auth` that say nothing secret."""

_HEADERS: Final = "headers"
"""The key whose values are all secret, whatever their names are."""

_OF_SECRETS: Final = frozenset({"auth", "keys", "admin_keys", "api_key", "admin_key", _HEADERS, "env"})
"""Keys with nothing below them but secrets, and names that are known."""

_TEAMS: Final = ("auth", "teams")
"""Below them stand names of teams and of keys; somebody may have written a key in the place of its name."""

_OF_NAMES: Final = (_HEADERS, "env")
"""Those below which any name may stand."""

_FIELDS: Final = ("set", "default")
"""Keys of a route with fields of a request below them."""

_OF_PROMPTS = re.compile(r"prompt|system|instruction|message|template|kwargs|grammar", re.IGNORECASE)
"""Matches the names of an engine's arguments that may have a prompt, or a part of one."""

_WORDS = re.compile(r"[\s{}]")
"""Matches text that is no name, number or path."""

_NAME = re.compile(r"[\w.-]+")

_SHORT: Final = 4
"""Characters of a secret from which on it is looked for in comments."""

_REFERENCE = re.compile(r"\$\{\w+\}")
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")
_COMMENT = re.compile(r"(?:^|(?<=[\s,\[\]{}:-]))#[^\n\r]*", re.MULTILINE)
_BEHIND_A_KEY = re.compile(r"[:=]\s*(?=[^\s/])")
_IN_COMMENTS = (
    re.compile(r"\S*://\S*[@?]\S*"),
    re.compile(r"\b(?:sk-|hf_|gh[pous]_)\S+|(?<=Bearer )\S+"),
    re.compile(r"(?<![\w/.-])(?=\w*\d)(?=\w*[A-Za-z])[\w-]{16,}(?![\w/.-])"),
)

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class _Scalar:
    """A value or a key: where it stands in the text, and in the data with all its aliases; whether it is secret."""

    begin: int
    end: int
    line: int
    column: int
    paths: frozenset[Path]
    value: str
    is_hidden: bool


def masked(text: str, file: str, *, prompts: bool = False) -> str:
    """Give a file's text with "(hidden)" in the place of each secret. Raises ConfigError if it is no YAML.

    `prompts`: what may be one is hidden, too, such as a route's `default: {system: You are…}`.
    """
    return _replaced(text, _hiding(text, _scalars(text, file, prompts=prompts)))


def secrets_in(text: str, file: str, *, prompts: bool = False) -> set[str]:
    """Give the values that `masked` hides, as they are written. Raises ConfigError if the text is no YAML.

    Of what may be a prompt, the lines of several words: others, such as `high`, stand in any text.
    """
    found = {each.value for each in _scalars(text, file) if each.is_hidden}
    if prompts:
        hidden = (each.value for each in _scalars(text, file, prompts=True) if each.is_hidden)
        found |= {line.strip() for value in hidden for line in value.splitlines() if " " in line.strip()}
    return found


def restored(text: str, original: str, file: str) -> str:
    """Give a text with the secrets of the original where it has them hidden.

    Raises ConfigError if one of the two is no YAML, or where "(hidden)" stands for nothing in the original.
    """
    before, now = _scalars(original, file), _scalars(text, file)
    secrets = {path: each for each in before if each.is_hidden for path in each.paths}
    spans, faults = [], []
    for each in now:
        if each.value == HIDDEN:
            # One that has aliases would be shown where one of them stands for something else.
            meant = {secrets.get(path) for path in each.paths}
            secret = meant.pop()
            if secret is None or meant:
                faults.append(_problem(file, each, "stands for no secret of the file at this place: write the value"))
            else:
                spans.append((each.begin, each.end, original[secret.begin : secret.end].rstrip("\r\n")))
    if faults:
        raise ConfigError(faults)
    whole = _replaced(text, [*spans, *_comments_restored(text, now, original, before)])
    values = {path: each.value for each in _scalars(whole, file) for path in each.paths}
    if moved := [
        each
        for each in now
        if each.value == HIDDEN and any(values.get(path) != secrets[path].value for path in each.paths)
    ]:
        raise ConfigError(_problem(file, each, "can't be put back here: write the value") for each in moved)
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
    comments = [*_comments(text, found)]
    said = "\n".join(text[begin:end] for begin, end in comments)
    secrets = {each.value for each in found if each.is_hidden and len(each.value) >= _SHORT and each.value in said}
    for each in found:
        if each.is_hidden:
            # A block of text has its last line's end in itself.
            yield each.begin, each.end, HIDDEN + "\n" * text[each.begin : each.end].endswith("\n")
    for begin, end in comments:
        yield begin, end, _hidden_in(text[begin:end], sorted(secrets, key=len, reverse=True))


def _hidden_in(comment: str, secrets: list[str]) -> str:
    """Give a comment without what may be a secret: those of the file, and what stands behind a key that names one."""
    for secret in secrets:
        comment = comment.replace(secret, HIDDEN)
    for key in _BEHIND_A_KEY.finditer(comment):
        if is_secret(comment[: key.start()], ""):
            if _REFERENCE.fullmatch(comment[key.end() :].strip("\"' ")) is None:
                comment = comment[: key.end()] + HIDDEN
            break
    for each in _IN_COMMENTS:
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


def _scalars(text: str, file: str, *, prompts: bool = False) -> list[_Scalar]:
    """Find all keys and values, in their order. Raises ConfigError."""
    # It bounds the depth and the number of values, aliases among them.
    document = places.parse(text.encode(), file)
    if document.problems:
        raise ConfigError(document.problems)
    walk, top = _Walk(prompts=prompts), yaml.compose(text, Loader=places.LOADER)
    if top is not None:
        walk.of(top, (), hide=False)
    return sorted((_scalar(text, node, paths, walk.hidden) for node, paths in walk.found), key=lambda each: each.begin)


def _scalar(text: str, node: yaml.ScalarNode, paths: set[Path], hidden: set[int]) -> _Scalar:
    start, end = node.start_mark, node.end_mark.index
    # An anchor stays.
    properties = _PROPERTIES.match(text, start.index, end)
    begin = start.index if properties is None else properties.end()
    hide = id(node) in hidden and bool(node.value) and _REFERENCE.fullmatch(node.value) is None
    return _Scalar(begin, end, start.line + 1, start.column + 1, frozenset(paths), node.value, hide)


class _Walk:
    """One walk over a file's nodes. What has several aliases is secret if it is so at one of them."""

    def __init__(self, *, prompts: bool) -> None:
        self._prompts = prompts
        self._found: dict[int, tuple[yaml.ScalarNode, set[Path]]] = {}
        self.hidden: set[int] = set()

    @property
    def found(self) -> Iterable[tuple[yaml.ScalarNode, set[Path]]]:
        """All keys and values, with their paths."""
        return self._found.values()

    def of(self, node: yaml.Node, path: Path, *, hide: bool) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = str(key.value)
                self.of(key, (*path, "?", name), hide=_is_hidden_key(path, name))
                self.of(value, (*path, name), hide=_is_secret(path, name, value, hide=hide))
        elif isinstance(node, yaml.SequenceNode):
            words = [each.value if isinstance(each, yaml.ScalarNode) else "" for each in node.value]
            for index, item in enumerate(node.value):
                hide_item = hide or is_of_a_flag(words, index) or (self._prompts and _is_of_prompts_flag(words, index))
                self.of(item, (*path, _name_of(item) or index), hide=hide_item)
        elif isinstance(node, yaml.ScalarNode):
            self._found.setdefault(id(node), (node, set()))[1].add(path)
            may_be_prompt = self._prompts and _may_be_prompt(path, node)
            if hide or may_be_prompt or is_secret("", node.value) or (path[:2] == _TEAMS and _looks_secret(node.value)):
                self.hidden.add(id(node))


def _may_be_prompt(path: Path, node: yaml.ScalarNode) -> bool:
    """Whether it is text that a route puts into requests, or that an engine's arguments have for a model."""
    if "?" in path or (not node.style and not isinstance(scalars.read(node.value), str)):
        return False
    if path[:1] == ("routes",):
        return len(path) > 3 and path[2] in _FIELDS
    if "args" not in path:
        return False
    names = " ".join(map(str, path[path.index("args") :]))
    return _OF_PROMPTS.search(names) is not None or _WORDS.search(node.value) is not None


def _is_of_prompts_flag(words: list[str], index: int) -> bool:
    """Whether a word of a command is a prompt, or has one: `--system-prompt X`, `--system-prompt=X`."""
    before, (flag, has, _) = words[index - 1] if index else "", words[index].partition("=")
    flags = (before if "=" not in before else "", flag if has else "")
    return any(each.startswith("-") and _OF_PROMPTS.search(each) is not None for each in flags)


def _is_hidden_key(path: Path, name: str) -> bool:
    """Whether a key may be a secret that was written in its place."""
    if _OF_SECRETS.isdisjoint(path) or not is_hidden_key(name):
        return False
    if path == _TEAMS:
        return _looks_secret(name)
    return path[-1] not in _OF_NAMES or _NAME.fullmatch(name) is None


def _is_secret(path: Path, key: str, value: yaml.Node, *, hide: bool) -> bool:
    if path[:1] == ("auth",) and (key in _PUBLIC or path[:2] == _TEAMS):
        return False
    said = scalars.read(value.value) if isinstance(value, yaml.ScalarNode) and not value.style else ""
    return hide or key == _HEADERS or is_secret(key, said)


def _looks_secret(text: str) -> bool:
    return any(each.search(text) for each in _IN_COMMENTS)


def _name_of(item: yaml.Node) -> str:
    """Give the name of a list's item, by which it is known wherever it stands; "" if it has none."""
    if not isinstance(item, yaml.MappingNode):
        return ""
    names = [value.value for key, value in item.value if key.value == "name" and isinstance(value, yaml.ScalarNode)]
    return f"[{names[0]}]" if names else ""
