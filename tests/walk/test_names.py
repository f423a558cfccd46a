"""What pages name is there: pages, keys of router.yaml, paths of /admin, files, messages, commands."""

import re

import pytest

from router.api.admin import TABLE
from router.cli.options import parser
from router.config.schema import schema
from tests.running import REPOSITORY
from tests.walk.documents import PAGES, spans, text_of

SOURCES = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("router", "launchers", "profiles")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
)


def links(page: str) -> set[str]:
    """Give the pages that a page links to."""
    found = set()
    for target in re.findall(r"\]\(([^)\s#]+)", re.sub(r"`[^`]*`", "", text_of(page))):
        path = (REPOSITORY / page).parent / target
        if target.endswith(".md") and path.exists():
            found.add(str(path.resolve().relative_to(REPOSITORY.resolve())))
    return found


def test_each_page_is_reached_from_readme_in_two_steps():
    first = links("README.md")
    reached = {"README.md"} | first | {page for each in first for page in links(each)}
    assert set(PAGES) - reached == set()


def test_the_index_has_each_page():
    assert {page for page in PAGES if page.startswith("docs/")} - links("docs/README.md") == {"docs/README.md"}


SCHEMA = schema()
KEYS = {*SCHEMA["properties"], *(name for part in SCHEMA["$defs"].values() for name in part.get("properties", {}))}
OF_THE_CODE = {"docs/internals.md", "ARCHITECTURE.md"}
"""Pages on which `health.pause` is a function."""


def _named_keys() -> list[tuple[str, str]]:
    begins = "|".join([*SCHEMA["properties"], "launch"])
    pattern = rf"(?:{begins})(?:\[\])?(?:\.[a-z_*]+(?:\[\])?)+"
    return sorted({(page, span) for page, span in spans() if page not in OF_THE_CODE and re.fullmatch(pattern, span)})


def test_keys_are_those_of_router_yaml():
    """Each of their parts; what stands for any name is *."""
    named = _named_keys()
    assert len(named) > 50
    parts = {
        (page, span): [part for part in re.split(r"[.\[\]]+", span) if part not in {"", "*"}] for page, span in named
    }
    assert [place for place, found in parts.items() if not KEYS.issuperset(found)] == []


def _paths() -> list[tuple[str, str]]:
    found = []
    for page, span in spans():
        named = re.fullmatch(r"(?:(?:GET|POST|PUT|PATCH|DELETE) )?(/admin/[\w/{}.-]+)(?:\?\S*)?", span)
        if named is not None:
            found.append((page, named[1]))
    return sorted(set(found))


def _parts(path: str) -> list[str]:
    """Give a path's parts; what is in braces or in capitals stands for anything."""
    return ["*" if re.fullmatch(r"\{.*\}|[A-Z]+", part) else part for part in path.strip("/").split("/")]


def test_paths_are_those_of_the_management_api():
    known = [_parts(each.path) for each in TABLE]
    assert len(_paths()) > 20
    assert [(page, path) for page, path in _paths() if _parts(path) not in known] == []


def test_the_page_of_symptoms_quotes_what_is_said():
    """Each message between quotes stands in the sources."""
    quoted = re.findall(r'"([^"\n]+)"', re.sub(r"```.*?```", "", text_of("docs/troubleshooting.md"), flags=re.DOTALL))
    assert len(quoted) > 15
    joined = re.sub(r'"\s*\n\s*f?"', "", SOURCES)
    assert [each for each in quoted if each not in joined] == []


def _commands() -> list[str]:
    (actions,) = (each for each in parser()._actions if each.dest == "command")
    return list(actions.choices or ())


@pytest.mark.parametrize("name", _commands())
def test_each_command_stands_on_a_page(name):
    """Where somebody looks for what there is."""
    written = re.compile(rf"\brouter [^\n]*\b{name}\b")
    assert any(written.search(text_of(page)) for page in PAGES if page != "ARCHITECTURE.md"), f"no page has {name}"


def _files() -> list[tuple[str, str]]:
    folders = "router|launchers|profiles|scripts|tests|dashboards"
    return sorted({(page, span) for page, span in spans() if re.fullmatch(rf"(?:{folders})/[\w/.-]+\.\w+", span)})


EXAMPLES = {"launchers/engines/tiny.py"}
"""Files that a reader is told to write."""


def test_files_are_there():
    assert [(page, name) for page, name in _files() if name not in EXAMPLES and not (REPOSITORY / name).exists()] == []


def test_each_target_stands_on_the_page_for_those_who_change_the_code():
    """As `make help` lists them."""
    targets = re.findall(r"^([a-z-]+):.*## ", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    page = text_of("docs/contributing.md")
    assert [each for each in targets if each != "help" and f"`make {each}`" not in page] == []


def test_the_comparison_says_its_day():
    """And isn't older than a year by what it says of itself."""
    assert re.search(r"As of \*\*20\d\d-\d\d-\d\d\*\*", text_of("docs/comparison.md"))


def test_readme_can_be_read_in_two_minutes():
    """At 300 words a minute; code and addresses aren't read."""
    text = re.sub(r"```.*?```|\]\([^)]*\)|<[^>]*>", "", text_of("README.md"), flags=re.DOTALL)
    assert len(re.findall(r"[A-Za-z][\w'-]*", text)) < 600
