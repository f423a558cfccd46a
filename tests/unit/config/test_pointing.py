"""The line that a mistake is in, and what of it must not be shown."""

import pytest

from router.config import ConfigError, load

KEY = "sk-s3cr3t"


def excerpts(tmp_path, text, environ=None):
    """Give the excerpts of a file's problems, each without its indentation by four."""
    (tmp_path / "router.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "router.yaml", environ or {})
    return [[line[4:] for line in each.excerpt.splitlines()] for each in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "line", "caret"),
    [
        ("backends: [{url: 'http://a'}]\nserver: {prot: 1}  # a comment", "server: {prot: 1}", 9),
        ("backends:\n  - url: http://a\n    wieght: 2\n", "    wieght: 2", 4),
        ("backends:\n\t- url: http://a\n", " - url: http://a", 0),
        ("backends: [{url: 'http://a', name: x: y}]\n", "backends: [{url: 'http://a', name: x: y}]", 36),
        ("server: {host: '狐狐:a', prot: 1}\nbackends: [{url: 'http://a'}]", "server: {host: '狐狐:a', prot: 1}", 9),
    ],
)
def test_the_line_stands_with_a_caret_under_the_place(tmp_path, text, line, caret):
    """Of a mistake in what is written, and in how."""
    assert excerpts(tmp_path, text)[0] == [line, " " * caret + "^"]


def test_a_long_line_is_shown_around_its_place(tmp_path):
    """A caret far to the right would stand under nothing."""
    names = ", ".join(f"model-{number}" for number in range(60))
    (line, caret), *_ = excerpts(tmp_path, f"backends: [{{url: 'http://a', models: [{names}], wieght: 1}}]")
    assert line.startswith("…")
    assert line[caret.index("^") :].startswith("wieght")
    assert len(line) < 110


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"auth: {{keys: [{KEY}], wrong: 1}}", "auth: {keys: […], …: …}"),
        (f"auth: {{keys: ['{KEY}', '{KEY}2'], wrong: 1}}", "auth: {keys: […, …], …: …}"),
        (f"server: {{api_kye: {KEY}}}", "server: {api_kye: …}"),
        (f"server: {{kyes: [{KEY}, b]}}", "server: {kyes: […, …]}"),
        (f"routes: {{a: {{wrong: {{b: {KEY}}}}}}}", "routes: {a: {wrong: {…: …}}}"),
        (f"server: {{wrong: 1, cors: 'http://u:{KEY}@h'}}", "server: {wrong: 1, cors: …}"),
        (f"auth:\n  keys: [\n    {KEY}], wrong: 1", None),
        (f"memory: {{wrong: [a, --api-key, {KEY}]}}", None),
        (f"include: [x, --api-key, {KEY}]", "include: [x, --api-key, …]"),
        (f"include: [x, --api-key={KEY}]", "include: [x, …]"),
    ],
)
def test_what_is_secret_is_not_shown(tmp_path, text, shown):
    """Nor what stands at a key that isn't known: it may be a misspelt one."""
    found = excerpts(tmp_path, f"backends: [{{url: 'http://a'}}]\n{text}\n")
    assert not [line for lines in found for line in lines if KEY in line]
    assert shown is None or [lines[0] for lines in found if lines and lines[0] == shown]


@pytest.mark.parametrize(
    "text",
    [
        f"auth:\n  keys:\n    - {KEY}: x: y\n",
        f"auth: {{keys: [\n{KEY}: x: y]}}\n",
        "auth: {keys: [\nsecret: x: y]}\n",
        f"backends:\n  - url: http://a\n    api_key: {KEY}: b: c\n",
        f"backends:\n  - url: http://a\n    api_key: {KEY}\n\tname: x\n",
        f"backends:\n  - url: http://u:{KEY}@h: x: y\n",
    ],
)
def test_where_a_secret_may_stand_in_what_is_no_yaml_no_line_is_shown(tmp_path, text):
    """Nobody knows then what belongs to which key."""
    assert excerpts(tmp_path, text) == [[]]


def test_a_secret_that_is_written_with_escapes(tmp_path):
    """It isn't in its line as it is read."""
    text = "backends: [{url: 'http://a'}]\nauth: {keys: [\"sk-\\x733cr3t\"], wrong: 1}\n"
    assert excerpts(tmp_path, text) == [["auth: {keys: […], …: …}", " " * 18 + "^"]]


def test_what_the_environment_gives_has_no_line(tmp_path):
    """A variable isn't written in any file; a reference to one is shown as it is written."""
    text = "backends: [{url: 'http://a', api_key: \"${KEY}\", wieght: 1}]\n"
    found = excerpts(tmp_path, text, {"KEY": KEY, "ROUTER_SERVER__PORT": "many"})
    assert sorted(found) == [[], [text.rstrip(), " " * 48 + "^"]]
