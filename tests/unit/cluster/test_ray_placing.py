"""What is asked of Ray for a launch, what is said of it, and what its node router is told."""

from typing import Any

import pytest

from router.cluster.ray_placing import Asks, Node, Replica, State, asks_of, lacking, node_config, nodes_for
from router.config import Config

HASHES = ("sha256:" + "a" * 64, "sha256:" + "b" * 64)


def written(**launch: object) -> Config:
    """A configuration with one launch on Ray."""
    return Config.model_validate({"backends": [{"name": "qwen", "launch": {"model": "x/y", "on": "ray", **launch}}]})


def asked(nodes: list[Node] | None = None, **launch: object) -> Asks:
    entry = written(**launch).backends[0]
    assert entry.launch is not None
    return asks_of(entry.launch, nodes or [])


def node(name: str = "n", *, gpus: float = 0, cpus: float = 4, free_gpus: float | None = None, **more: float) -> Node:
    total = {"GPU": gpus, "CPU": cpus, **more}
    return Node(name, f"10.0.0.{name}", total, {**total, "GPU": gpus if free_gpus is None else free_gpus})


# What is asked for


def test_a_launch_asks_for_its_gpus_and_a_cpu():
    assert asked(gpus=2).of_each == {"GPU": 2, "CPU": 1}
    assert str(asked(gpus=2)) == "2 GPUs and 1 CPU"


def test_without_a_number_vllm_takes_one_gpu_and_others_none():
    assert asked(engine="vllm").gpus == 1
    assert asked(engine="llama_server").gpus == 0


def test_memory_resources_and_labels_are_asked_for_too():
    on = {"cluster": "ray", "cpus": 0, "memory": "3GiB", "resources": {"slot": 1}, "labels": {"zone": "a"}}
    asks = asked(on=on)
    assert asks.of_each == {"memory": 3 << 30, "slot": 1}
    assert str(asks) == "3 GiB of memory and 1 slot, with zone=a"
    assert asks.told()["labels"] == {"zone": "a"}


def test_who_asks_for_nothing_says_so():
    assert str(asked(on={"cluster": "ray", "cpus": 0})) == "nothing"


@pytest.mark.parametrize(
    ("gpus", "most", "nodes"), [(1, 8, 1), (8, 8, 1), (16, 8, 2), (12, 8, 2), (20, 8, 4), (7, 4, 7), (4, 0, 1)]
)
def test_gpus_are_spread_in_equal_parts_over_as_few_nodes_as_it_takes(gpus, most, nodes):
    assert nodes_for(gpus, [node(gpus=1), node(gpus=most)] if most else [node()]) == nodes


def test_only_vllm_is_spread_and_what_is_written_counts():
    there = [node(gpus=8), node(gpus=8)]
    assert asked(there, gpus=16, engine="vllm").nodes == 2
    assert asked(there, gpus=16, engine="vllm", on={"cluster": "ray", "nodes": 4}).nodes == 4
    assert asked(there, gpus=16, engine="llama_server").nodes == 1
    assert str(asked(there, gpus=16, engine="vllm")) == "8 GPUs and 1 CPU on each of 2 nodes"


# What is there


def test_nothing_is_said_where_there_is_room():
    assert lacking(Asks(2), [node(gpus=1), node(gpus=2)]) == ""


def test_without_a_node_that_is_said():
    assert lacking(Asks(1), []) == "no node is there"


def test_a_node_that_is_too_small_is_told_with_what_it_has():
    assert lacking(Asks(4), [node(gpus=1), node(gpus=2)]) == (
        "there are 2 nodes, and no node has as much: the one with most has 2 GPUs and 4 CPUs"
    )


def test_one_node_is_one():
    assert lacking(Asks(1), [node()]).startswith("there is 1 node, and no node has as much")


def test_what_waits_at_a_node_waits_for_as_long_as_its_engine_may_take_to_start():
    """Who waits here is bounded by what router.yaml says."""
    assert of_node(written(start_timeout="20m"))["limits"]["queue_timeout"] == "20m"
    assert of_node(written(start_timeout="5s"))["limits"]["queue_timeout"] == "1m"


def test_what_others_use_is_told():
    assert lacking(Asks(2), [node(gpus=2, free_gpus=1), node(gpus=2, free_gpus=0)]) == (
        "there are 2 nodes, and what is left of the least used is 1 of 2 GPUs and 4 of 4 CPUs"
    )


def test_too_few_large_nodes_are_told():
    there = [node(gpus=8), node(gpus=2)]
    assert "only 1 of them has as much" in lacking(Asks(16, nodes=2), there)


def test_a_helpers_message_is_read_as_a_node():
    said = {"node": "a", "ip": "1.2.3.4", "total": {"GPU": 1}, "free": {}, "labels": {"zone": "a"}}
    assert Node.of(said) == Node("a", "1.2.3.4", {"GPU": 1}, {}, {"zone": "a"})


# The life of a replica

PLACED = {"is": "placed", "ip": "10.0.0.3", "gpus": ["0", "1"]}
UP = {"is": "up", "url": "http://10.0.0.3:1234"}
GONE = {"is": "gone", "why": "it died"}


def up(at: float = 0.0) -> Replica:
    replica = Replica("qwen", Asks(2))
    replica.asked(Asks(2), at)
    for said in (PLACED, UP):
        replica.hear(said, at)
    return replica


def test_a_replica_is_asked_for_placed_and_up():
    replica = Replica("qwen", Asks(2))
    assert "wasn't asked" in replica.told([], 0)
    replica.asked(Asks(2), 0)
    assert replica.told([node(gpus=4)], 0) == "Ray is asked for 2 GPUs and 1 CPU; it is being placed."
    assert "no node has as much" in replica.told([node(gpus=1)], 0)
    replica.hear(PLACED, 1)
    assert replica.told([], 1) == "its router starts on 10.0.0.3, GPU 0 and 1"
    replica.hear(UP, 2)
    assert (replica.state, replica.url) == (State.UP, "http://10.0.0.3:1234")
    assert replica.told([], 2) == "its router runs on 10.0.0.3, GPU 0 and 1"


def test_one_that_is_away_may_come_back():
    replica = up()
    replica.hear({"is": "away"}, 1)
    assert replica.told([], 1) == "its router on 10.0.0.3, GPU 0 and 1 can't be reached"
    replica.hear({"is": "back"}, 2)
    assert replica.state is State.UP


def test_the_first_end_is_followed_by_the_next_try_at_once():
    replica = up()
    replica.hear(GONE, 1)
    assert (replica.state, replica.due, replica.url, replica.where) == (State.GONE, 1, "", "")
    assert replica.told([], 1) == "it ended: it died; Ray is asked again at once"
    replica.asked(Asks(), 2)
    replica.hear(GONE, 3)
    assert replica.told([], 3) == "it ended: it died; Ray is asked again in 1 s"


def test_further_tries_come_later_each_time():
    replica, pauses = Replica("qwen", Asks()), []
    for _ in range(8):
        replica.asked(Asks(), 0)
        replica.hear(GONE, 0)
        pauses.append(replica.due)
    assert pauses == [0, 1, 2, 4, 8, 16, 30, 30]


def test_one_that_has_worked_for_long_counts_as_new():
    replica = up()
    replica.failures = 5
    replica.hear(GONE, 100)
    assert (replica.due, replica.failures) == (100, 0)


def test_why_the_one_before_ended_is_told_while_it_waits():
    replica = up()
    replica.hear(GONE, 1)
    replica.asked(Asks(2), 1)
    assert replica.told([node(gpus=4)], 1).endswith("The one before it ended: it died.")


@pytest.mark.parametrize("said", [PLACED, UP, {"is": "away"}, {"is": "back"}, GONE, {"is": "removed"}])
def test_messages_that_come_too_late_change_nothing(said):
    replica = Replica("qwen", Asks())
    replica.hear(said, 1)
    assert replica == Replica("qwen", Asks())


# What the node router is told


def of_node(config: Config, asks: Asks | None = None) -> dict[str, Any]:
    entry = config.backends[0]
    return node_config(config, entry, str.lower, asks or Asks(), HASHES)


def test_a_node_router_has_the_launch_alone_and_two_keys():
    said = of_node(written(args={"n_ctx": 4096, "stop": ["a", "b"]}, env={"A": "1"}, replicas=3, start_timeout="5m"))
    assert said["backends"] == [
        {
            "name": "qwen",
            "models": {"qwen": "qwen"},
            "launch": {
                "model": "x/y",
                "args": {"n_ctx": 4096, "stop": ["a", "b"]},
                "env": {"A": "1"},
                "start_timeout": "5m",
                "gpus": 0,
            },
        }
    ]
    assert said["auth"]["keys"] == [{"name": "router", "hash": HASHES[0]}]
    assert said["auth"]["admin_keys"][0]["scopes"] == ["read", "manage"]
    Config.model_validate(said)


def test_its_gpus_are_left_to_what_ray_assigns():
    assert "gpus" not in of_node(written(gpus=2), Asks(2))["backends"][0]["launch"]


def test_a_model_is_told_by_its_place():
    assert of_node(written(model="A"))["backends"][0]["launch"]["model"] == "a"
    said = of_node(written(model={"llama_server": "A", "vllm": "B"}))
    assert said["backends"][0]["launch"]["model"] == {"llama_server": "a", "vllm": "b"}


def test_a_command_goes_there_as_it_is():
    entry = {"name": "w", "launch": {"cmd": ["serve", "--port", "{port}"], "parallel": 2, "on": "ray"}}
    config = Config.model_validate({"backends": [entry]})
    launch = of_node(config)["backends"][0]["launch"]
    assert (launch["cmd"], launch["parallel"], "model" in launch) == (["serve", "--port", "{port}"], 2, False)


def test_over_several_nodes_vllm_has_rays_executor_unless_another_is_written():
    config = written(engine="vllm", gpus=16, args={"pipeline-parallel-size": 4})
    args = of_node(config, Asks(16, nodes=2))["backends"][0]["launch"]["args"]
    assert args == {"distributed-executor-backend": "ray", "tensor-parallel-size": 8, "pipeline-parallel-size": 4}


def test_sections_that_count_at_the_nodes_go_there():
    config = Config.model_validate({
        "profile": "cpu",
        "health": {"stall_after": "9s"},
        "server": {"port": 0},
        "backends": [{"name": "qwen", "launch": {"model": "x", "on": "ray"}}],
    })  # fmt: skip
    said = of_node(config)
    assert (said["profile"], said["health"], "server" in said) == ("cpu", {"stall_after": "9s"}, False)


def test_a_dollar_is_no_reference_there():
    assert of_node(written(env={"A": "$${B}"}))["backends"][0]["launch"]["env"]["A"] == "$$${B}"
