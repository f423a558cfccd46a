"""`ray`, and a launch's `on`: engines that run on the nodes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema

from router.config.keys.groups import each_value
from router.config.keys.section import Section, setting
from router.config.keys.units import Size, sized
from router.config.keys.values import TEXT, Number, Text, Whole, absent_if_empty, choice, number, text

_MOST_CPUS = 1024
_OTHERS = {"CPU": "cpus", "GPU": "launch.gpus", "memory": "memory"}


def _count(value: object) -> float:
    if 0 < (count := number(value)) <= 1_000_000:
        return float(count)
    raise ValueError("expected how many, above 0, got {got}")


def _resources(value: object) -> Mapping[str, float]:
    """How much of each resource of the cluster's own."""
    found = each_value(value, _count)
    for name, key in _OTHERS.items():
        if name in found:
            raise ValueError(f"{name} has a key of its own: `{key}`")
    return found


def placeable(on: OnConfig | None, launch: Mapping[str, Any]) -> OnConfig | None:
    """Check a launch's `on` against what stands beside it. Raises ValueError."""
    gpus = launch.get("gpus")
    if on is None:
        return on
    if isinstance(gpus, tuple):
        raise ValueError("Ray says which GPUs of a node are free: write how many as `gpus`, not which ones")
    if on.nodes is not None and on.nodes > 1 and launch.get("engine") != "vllm":
        raise ValueError("vllm alone runs on several nodes together: write `engine: vllm`, or leave out `nodes`")
    if on.nodes is not None and (not isinstance(gpus, int) or not gpus or gpus % on.nodes):
        raise ValueError("`gpus` says how many there are on all nodes together: write a multiple of `nodes` there")
    return on


class OnConfig(Section):
    """Where an engine runs, if not on this machine: `on: ray` is on a node of the cluster that `ray` names."""

    short_for: ClassVar[str | None] = "cluster"

    example: ClassVar[str] = """\
backends:
  - name: qwen
    launch: {model: Qwen/Qwen3-8B, engine: vllm, gpus: 1, replicas: 4, on: ray}
  - name: huge
    launch:
      model: Qwen/Qwen3-235B-A22B
      engine: vllm
      gpus: 16                            # more than a node has: of several nodes
      on: {cluster: ray, nodes: 2, labels: {ray.io/accelerator-type: H200}}
"""

    cluster: Annotated[Literal["ray"], choice("a cluster", "ray")] = setting("ray", "Which cluster.")
    # One: Ray counts CPUs by what is asked of it, and without any, it would place all replicas on one node.
    cpus: Annotated[Number, Field(ge=0, le=_MOST_CPUS)] = setting(1, "How many CPUs Ray keeps for a replica.")
    memory: Annotated[Annotated[Size, sized("1MiB", "1024TiB")] | None, absent_if_empty] = setting(
        None, "How much of a node's memory Ray keeps for a replica; without it, none."
    )
    resources: Annotated[
        Mapping[str, float],
        PlainValidator(_resources),
        PlainSerializer(dict, when_used="json"),
        WithJsonSchema({"type": ["object", "null"], "additionalProperties": {"type": "number", "exclusiveMinimum": 0}}),
    ] = setting({}, "How much a replica takes of resources that the cluster names itself.")
    labels: Annotated[
        Mapping[str, str],
        PlainValidator(lambda value: each_value(value, text)),
        PlainSerializer(dict, when_used="json"),
        WithJsonSchema({"type": ["object", "null"], "additionalProperties": TEXT}),
    ] = setting({}, "Labels that a node must have, as Ray writes them: `H200`, `!H200`, `in(H100,H200)`, `!in(H100)`.")
    nodes: Annotated[Annotated[Whole, Field(ge=1, le=64)] | None, absent_if_empty] = setting(
        None,
        "Over how many nodes a replica's GPUs are spread, in equal parts; vllm alone can be. If left out, one, or as "
        "few as it takes by the cluster's largest node.",
    )


class RayConfig(Section):
    """The Ray cluster on which launches with `on: ray` run."""

    example: ClassVar[str] = """\
ray:
  address: 10.0.0.2:6379                  # of the head; auto: this machine is one of its nodes
  python: /opt/ray/bin/python             # the cluster's Ray, and its Python's version
"""

    address: Text = setting(
        "auto",
        "Which cluster: this machine must be a node of it, perhaps one without resources. `auto` is the one that runs "
        "here; `host:port` is that of its head.",
    )
    python: Text | None = setting(
        None,
        "The Python on this machine whose environment has the cluster's version of Ray. If left out, the router's own.",
    )
    node_python: Text | None = setting(
        None, "The Python on each node whose environment has this router. If left out, that of Ray's own workers."
    )
