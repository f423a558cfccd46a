"""Replicas on Ray as the fleet has them: steps of a reload, stand-ins, peers."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from router.config import BackendConfig, Config
from router.core.catalog import Backend
from router.fleet.diff import Do, Plan, Room, Step, steps
from router.fleet.members import Member
from router.fleet.on_ray import OnRay


def plan(replicas: int = 1, **launch: object) -> Plan:
    entry = {"name": "qwen", "launch": {"model": "x", "on": "ray", "replicas": replicas, **launch}}
    url = {"name": "other", "url": "http://127.0.0.1:1"}
    return Plan.of(Config.model_validate({"backends": [entry, url]}), (), "")


class Noting:
    """Stands for a part of the router: notes what is called, with the first argument's name."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        def call(first: Any, *_: object, **__: object) -> None:
            self.calls.append((name, first if isinstance(first, str) else first.name))

        return call


class Scene:
    """The replicas of one router, with parts that note what they are told."""

    def __init__(self) -> None:
        self.plane, self.peers, self.cluster = Noting(), Noting(), Noting()
        self.members: dict[str, Member] = {}
        self.known: set[str] = set()
        self.on_ray = OnRay(self.plane, self.peers, lambda: self.members, Path())  # type: ignore[arg-type]
        self.cluster.has = self.known.__contains__  # type: ignore[attr-defined]
        self.on_ray.cluster = self.cluster  # type: ignore[assignment]


@pytest.fixture
def scene() -> Scene:
    return Scene()


ENTRY = plan().config.backends[0]


def test_replicas_are_planned_by_their_names_and_scaling_touches_no_other():
    found = [str(step) for step in steps(plan(1), plan(3), Room())]
    assert found == [
        "add     qwen-2: is placed on Ray",
        "add     qwen-3: is placed on Ray",
        "keep    qwen",
        "keep    other",
    ]
    (changed,) = [step for step in steps(plan(), plan(gpus=2), Room()) if step.do is not Do.KEEP]
    assert changed.do is Do.REPLACE


@pytest.mark.parametrize(
    ("do", "known", "told"),
    [
        (Do.ADD, False, [("add", "qwen")]),
        (Do.REPLACE, True, [("remove", "qwen"), ("add", "qwen")]),
        (Do.TUNE, True, [("tune", "qwen")]),
        (Do.KEEP, True, [("tune", "qwen")]),
    ],
)
def test_a_step_about_a_replica_is_done_by_its_cluster(scene, do, known, told):
    if known:
        scene.known.add("qwen")
    assert scene.on_ray.do(Step(do, "qwen"), plan())
    assert scene.cluster.calls == told


def test_one_that_is_in_no_plan_any_more_is_removed(scene):
    scene.known.add("qwen-2")
    assert scene.on_ray.do(Step(Do.REMOVE, "qwen-2"), plan())
    assert scene.cluster.calls == [("remove", "qwen-2")]


def test_steps_about_others_are_left_to_others(scene):
    assert not scene.on_ray.do(Step(Do.ADD, "other"), plan())
    assert not scene.on_ray.do(Step(Do.REMOVE, "gone"), plan())
    assert scene.cluster.calls == []


def test_what_takes_a_replicas_name_is_left_to_others_once_the_replica_is_removed(scene):
    scene.known.add("other")
    assert not scene.on_ray.do(Step(Do.REPLACE, "other"), plan())
    assert scene.cluster.calls == [("remove", "other")]


def test_a_stand_in_is_known_until_its_replica_is_there(scene):
    scene.on_ray.wait_for("qwen-2", ENTRY, "it is being placed", 0.0)
    scene.on_ray.wait_for("qwen-2", ENTRY, "it starts", 0.0)
    assert scene.plane.calls == [("add", "qwen-2"), ("withdraw", "qwen-2"), ("withdraw", "qwen-2")]
    assert scene.on_ray.stand_ins["qwen-2"].backend.models == {"qwen": "qwen"}
    assert scene.on_ray.stand_ins["qwen-2"].told(0)["url"] == "on Ray"
    scene.on_ray.stop_waiting("qwen-2")
    assert scene.plane.calls[3:] == [("retire", "qwen-2"), ("drop", "qwen-2")]
    assert scene.on_ray.stand_ins == {}


def test_its_router_has_joined_once_it_can_be_reached_and_has_told_its_models(scene):
    scene.peers.by_name = {}
    assert not scene.on_ray.has_joined("qwen")
    scene.peers.by_name = {"qwen": SimpleNamespace(away="it can't be reached")}
    backend = Backend("qwen/qwen", {"qwen": "qwen"})
    scene.members["qwen/qwen"] = Member(SimpleNamespace(config=BackendConfig, launch=None), backend)  # type: ignore[arg-type]
    assert not scene.on_ray.has_joined("qwen")
    scene.peers.by_name["qwen"].away = ""
    assert scene.on_ray.has_joined("qwen")
    assert not scene.on_ray.has_joined("qwe")


def test_a_router_that_leaves_is_counted_by_what_its_models_still_have(scene):
    backend = Backend("qwen/qwen", {"qwen": "qwen"})
    scene.members["qwen/qwen"] = Member(SimpleNamespace(config=None, launch=None), backend)  # type: ignore[arg-type]
    in_flight = scene.on_ray.leaves("qwen")
    assert scene.peers.calls == [("remove", "qwen")]
    assert in_flight() == 0
    backend.in_flight = 2
    assert in_flight() == 2
