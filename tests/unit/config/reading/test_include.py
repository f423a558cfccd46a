"""router.yaml in parts: what is read, in which order, and what may not be."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.config import ConfigError, Loaded, load
from router.config.reading import include
from router.config.reading.files import MAX_BYTES


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(**files: str) -> None:
    for name, text in files.items():
        path = Path(f"{name.replace('__', '/')}.yaml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def loaded(router: str, environ: dict[str, str] | None = None, **files: str) -> Loaded:
    write(router=router, **files)
    return load(Path("router.yaml"), environ or {})


def refusal(router: str, **files: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(router, {}, **files)
    return str(caught.value).splitlines()


def url(name: str) -> str:
    return f"backends: [{{url: 'http://{name}', models: [{name}]}}]\n"


def test_parts_become_one():
    """Backends are put in the order of patterns and names, routes are merged, sections come from where they stand."""
    made = loaded(
        "include: [last.yaml, 'parts/*.yaml']\n" + url("own") + "routes: {r: own}\n",
        elsewhere__none="profile: wrong",
        parts__b=url("b") + "routes: {rb: b}",
        parts__a=url("a") + "limits: {retries: 7}",
        last=url("last") + "routes: {rl: own}",
    )
    assert [backend.name for backend in made.config.backends] == ["own:80", "last:80", "a:80", "b:80"]
    assert made.config.targets == {"r": ("own",), "rl": ("own",), "rb": ("b",)}
    assert (made.config.limits.retries, made.config.profile) == (7, "auto")


def test_what_to_watch(folder):
    """A load tells its files, and the absolute patterns that more may match later."""
    made = loaded("include: [parts/*.yaml, /etc/none-*.yaml]\n" + url("a"), parts__b=url("b"))
    assert made.files == (Path("router.yaml"), Path("parts/b.yaml"))
    assert made.patterns == (str(folder / "parts/*.yaml"), "/etc/none-*.yaml")


def test_a_refusal_says_what_to_watch_too(folder):
    """Where the mistake is may be any of the files, or one that is missing."""
    write(router="include: [b.yaml, c.yaml]\n" + url("a"), b="x: 1")
    with pytest.raises(ConfigError) as caught:
        load(Path("router.yaml"), {})
    assert caught.value.files == (Path("router.yaml"), Path("b.yaml"))
    assert caught.value.patterns == (str(folder / "b.yaml"), str(folder / "c.yaml"))


def test_everything_may_be_elsewhere():
    """The first file may be nothing but its include, and a pattern may match nothing."""
    assert loaded("include: b.yaml", b=url("b")).config.backends[0].name == "b:80"
    assert loaded(
        "include: [b.yaml, 'none/*.yaml', ]\nbackends:\nroutes:\n", b=url("b") + "routes: {x: b}"
    ).config.routes


def test_the_environment_reaches_parts():
    """References in a part and in the pattern are expanded; an override's index counts over all files."""
    made = loaded(
        "include: ${PART}.yaml\n" + url("a"),
        {"PART": "b", "N": "7", "ROUTER_BACKENDS__1__WEIGHT": "3"},
        b="backends: [{url: 'http://b', max_in_flight: '${N}'}]",
    )
    assert (made.config.backends[1].max_in_flight, made.config.backends[1].weight) == (7, 3)


def test_each_mistake_is_told_with_its_own_file():
    """One file's mistakes don't hide another's, and all have their places."""
    found = refusal(
        "include: [b.yaml, c.yaml, d.yaml, e.yaml, none.yaml]\nlimits: {retries: 99}\nroutes: {x: a}\n" + url("a"),
        b="backends:\n  - {url: 'http://b', wieght: 1}\n  - {url: 'http://c'}\nroutes:\n  y: ${NONE}\n",
        c="limits: {retries: 1}\nroutes:\n  x: a\nbackends: {}\n",
        d="include: b.yaml\n",
        e="a: [\n",
    )
    assert found == [
        "b.yaml:2:23 backends[1].wieght: unknown key; did you mean 'weight'?",
        "b.yaml:5:3 routes.y: the environment has no NONE: set it, or give a default: ${NONE:-…}",
        "c.yaml:1:1 limits: stands in router.yaml:2:1, too: a section is written in one file",
        "c.yaml:3:3 routes.x: stands in router.yaml:3:10, too: a route is written once",
        "c.yaml:4:1 backends: stands in router.yaml:4:1, too: a section is written in one file",
        "d.yaml:1:1 include: a file that is included can't include others: name them in the first file",
        "e.yaml:2:1: this is no valid YAML: a value is missing before this, or a bracket is too many",
        "router.yaml:1:43 include[4]: there is no such file: 'none.yaml'",
        "router.yaml:2:10 limits.retries: must be at most 10, got 99",
    ]


def test_names_are_unique_over_all_files():
    """The message names the other's file."""
    (found,) = refusal("include: b.yaml\n" + url("a"), b="backends:\n  - {url: 'http://A:80'}\n")
    assert found.startswith("b.yaml:2:5 backends[1].name: backends[0] (router.yaml:2:12) has this name already")


def test_a_loop_is_no_loop():
    """A file is read once; one that is included can't include others."""
    assert loaded("include: ['*.yaml', router.yaml]\n" + url("a")).files == (Path("router.yaml"),)
    assert refusal("include: b.yaml\n" + url("a"), b="include: router.yaml") == [
        "b.yaml:1:1 include: a file that is included can't include others: name them in the first file"
    ]


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("none.yaml", "router.yaml:1:1 include: there is no such file: 'none.yaml'"),
        ("[none.yaml]", "router.yaml:1:11 include[0]: there is no such file: 'none.yaml'"),
        ("parts", "router.yaml:1:1 include: parts: is a directory; name the file in it"),
        ("parts/**/*.yaml", "router.yaml:1:1 include: ** is not supported: name the folders"),
        ("{a: b}", "router.yaml:1:1 include: expected a list, such as"),
        ("7.5", "router.yaml:1:1 include: expected"),
        ("${NONE}", "router.yaml:1:1 include: the environment has no NONE"),
    ],
)
def test_a_wrong_include(folder, pattern, problem):
    """What can't be included is said at its place."""
    (folder / "parts").mkdir()
    assert refusal(f"include: {pattern}\n" + url("a"))[0].startswith(problem)


def test_it_is_bounded(monkeypatch):
    """Files that one pattern matches, and their size and values together, have bounds."""
    write(b="# " + "x" * (MAX_BYTES // 2), c="# " + "x" * (MAX_BYTES // 2))
    assert refusal("include: [b.yaml, c.yaml]\n" + url("a")) == [
        (
            "router.yaml:1:19 include[1]: c.yaml: is larger than 4 MiB, with what was read before it: "
            "this can't be a router.yaml"
        )
    ]
    monkeypatch.setattr(include, "MAX_FILES", 2)
    assert refusal("include: '?.yaml'\n" + url("a"), b="", c="", d="")[0].endswith("matches more than 2 files")
    monkeypatch.setattr(include, "MAX_VALUES", 12)
    values = "routes: {x: [a, a, a, a, a]}\n"
    assert "grows beyond" in refusal("include: [b.yaml]\n" + url("a"), b=values)[0]


def test_a_misnamed_model_in_a_lost_part_is_no_second_mistake():
    """Which models there are is not known while a file is missing."""
    assert len(refusal("include: gone.yaml\nroutes: {x: elsewhere}\n" + url("a"))) == 1


def test_odd_names_are_names(folder):
    """A folder with a pattern's letters in its name is a folder."""
    (folder / "[a]").mkdir()
    (folder / "[a]" / "router.yaml").write_text("include: b.yaml\n" + url("a"))
    (folder / "[a]" / "b.yaml").write_text(url("b"))
    made = load(folder / "[a]" / "router.yaml", {})
    assert len(made.config.backends) == 2
    assert made.patterns == (f"{folder}/[[]a]/b.yaml",)
