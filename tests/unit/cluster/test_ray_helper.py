"""The helper's decisions, which need no Ray."""

import subprocess

import pytest

from router.cluster.ray_helper import NODE_ID, NodeRouter, Suspects, bundles, counted, options_of, reason
from router.cluster.ray_placing import Asks


def test_an_actor_asks_for_what_its_replica_takes():
    asks = Asks(2, 1.0, 1 << 30, {"slot": 1}).told()
    assert options_of(asks, {"zone": "a"}) == {
        "num_cpus": 1.0,
        "num_gpus": 2,
        "memory": 1 << 30,
        "resources": {"slot": 1},
        "label_selector": {"zone": "a"},
        "max_concurrency": 8,
        "scheduling_strategy": "SPREAD",
    }


def test_without_memory_and_labels_none_are_asked_for():
    assert options_of(Asks().told(), {}).keys() & {"memory", "label_selector"} == set()


def test_an_engine_over_several_nodes_asks_for_its_gpus_itself():
    asks = Asks(16, 1.0, nodes=2).told()
    assert options_of(asks, {})["num_gpus"] == 0
    assert bundles(asks) == [{"CPU": 1.0, "GPU": 8}] * 2


def test_a_node_that_was_lost_is_avoided_for_a_minute():
    suspects = Suspects()
    assert suspects.avoided({"a": "b"}, 0) == {"a": "b"}
    suspects.add("n2", 0)
    suspects.add("n1", 1)
    assert suspects.avoided({"a": "b"}, 2) == {"a": "b", NODE_ID: "!in(n1,n2)"}
    assert suspects.avoided({}, 61) == {}


def test_a_reason_is_one_line_of_the_cause():
    error = RuntimeError("ray::NodeRouter.start()\n  Traceback\nRuntimeError: it ended")
    assert reason(error) == "RuntimeError: it ended"
    assert reason(ValueError()) == "ValueError"
    died = RuntimeError("The actor is dead because its worker process has died. Some common causes include: …")
    assert reason(died) == "The actor is dead because its worker process has died"


def test_names_of_nodes_are_no_resources():
    assert counted({"CPU": 2, "node:10.0.0.1": 1, "node:__internal_head__": 1}) == {"CPU": 2}


@pytest.mark.parametrize(
    ("ends", "said"),
    [("exit 2", "14:35:31 demo: starting"), ("kill -KILL $$", "killed by signal 9")],
    ids=["by itself", "by a signal"],
)
def test_what_a_router_said_last_is_why_it_ended_unless_it_was_killed(tmp_path, ends, said):
    """Its log goes on until the moment that it is killed."""
    router = NodeRouter()
    router.folder = tmp_path
    (tmp_path / "said").write_text("14:35:31 demo: starting\n")
    router.process = subprocess.Popen(["/bin/sh", "-c", ends])
    assert router.wait()["said"] == said
