"""The boards and alerts in dashboards/ use only what there is. tests/prometheus has a real Prometheus read them."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from router.telemetry.families import FAMILIES, HISTOGRAM, LABELS, OUTCOMES
from tests.running import REPOSITORY

FOLDER = REPOSITORY / "dashboards"
BOARDS = sorted(path.name for path in FOLDER.glob("*.json"))
SERIES = {
    name
    for each in FAMILIES
    for name in ([each.name + end for end in ("_bucket", "_count", "_sum")] if each.kind == HISTOGRAM else [each.name])
} | {"up"}
WORDS = re.compile(r"\b(?:router|process)_[a-z_]+\b|\bup\b")
OTHERS = {"instance", "job", "le"}


def board(name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return told


def expressions() -> Iterator[tuple[str, str]]:
    """Give each expression, with what it is of."""
    for name in BOARDS:
        told = board(name)
        for panel in told["panels"]:
            for target in panel["targets"]:
                yield f"{name}: {panel['title']}", target["expr"]
        for variable in told["templating"]["list"]:
            if variable["type"] == "query":
                yield f"{name}: ${variable['name']}", variable["definition"]
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield f"alerts.yml: {rule['alert']}", rule["expr"]


ALL = list(expressions())


@pytest.mark.parametrize("expression", [said for _, said in ALL], ids=[where for where, _ in ALL])
def test_an_expression(expression):
    """Its metrics exist, and so do its labels and the outcomes that it names."""
    used = set(WORDS.findall(expression))
    assert used, expression
    assert used <= SERIES
    labels = set(re.findall(r"(\w+)(?:=~|=|!=|!~)\"", expression))
    for by in re.findall(r"by \(([^)]*)\)", expression):
        labels |= set(filter(None, re.split(r",\s*", by)))
    assert labels <= LABELS.keys() | OTHERS
    for said in re.findall(r'outcome=~?"([^"]*)"', expression):
        assert set(said.split("|")) <= OUTCOMES.keys()


def test_each_metric_of_requests_is_shown():
    """What is measured of requests, backends and devices is on a board; build info and the like may be, too."""
    shown = {name for where, said in ALL if ".json" in where for name in WORDS.findall(said)}
    shown |= {re.sub(r"_bucket$", "", name) for name in shown}
    assert {each.name for each in FAMILIES} - shown == set()


@pytest.mark.parametrize("name", BOARDS)
def test_a_board(name):
    """Each panel has its own number and a place of its own, and asks the source that its reader chose."""
    told = board(name)
    assert next(each["name"] for each in told["templating"]["list"]) == "datasource"
    panels = told["panels"]
    assert len({each["id"] for each in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for each in panels:
        place = each["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells
        assert all(target["datasource"]["uid"] == "${datasource}" for target in each["targets"])
