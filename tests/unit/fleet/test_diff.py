from dataclasses import replace

import pytest

from launchers.engines import ENGINES
from launchers.engines.command import AnyCommand
from launchers.gpus import Claim
from launchers.spec import LaunchSpec
from profiles.parsers import Gpu
from router.config import Config
from router.core.catalog import Route
from router.core.reshape import reshaped
from router.fleet.diff import Do, Plan, Room, Step, steps
from router.fleet.launching import Launch

GIB = 1 << 30
ROOMY = Room(free=64 * GIB)


def plan(*backends, **sections) -> Plan:
    """A plan as a machine would make it that has every model, and llama_cpp."""
    config = Config.model_validate({"backends": list(backends), **sections})
    launches = []
    for backend in config.backends:
        asked = backend.launch
        if asked is None:
            continue
        for i in range(asked.replicas):
            name = backend.name if i == 0 else f"{backend.name}-{i + 1}"
            served = next(iter(backend.models))
            spec = LaunchSpec(name, "llama_cpp", str(asked.model), served, dict(asked.args), dict(asked.env), 60.0)
            launches.append(Launch(backend, spec, ENGINES["llama_cpp"], "python", "why"))
    return Plan.of(config, tuple(launches), "profile")


def url(name="a", port=1, **more):
    return {"name": name, "url": f"http://127.0.0.1:{port}", "models": ["m"], **more}


def launched(name="demo", model="demo.gguf", **launch):
    return {"name": name, "models": ["demo"], "launch": {"model": model, **launch}}


def done(old: Plan, new: Plan, room: Room = ROOMY) -> list[str]:
    """What is done, but for what is kept."""
    return [f"{step.do.value} {step.name}" for step in steps(old, new, room) if step.do is not Do.KEEP]


def test_nothing_changes():
    """Every backend is kept, and nothing else is said."""
    one = plan(url(), launched(replicas=2))
    assert steps(one, plan(url(), launched(replicas=2)), ROOMY) == [
        Step(Do.KEEP, "a"),
        Step(Do.KEEP, "demo"),
        Step(Do.KEEP, "demo-2"),
    ]


def test_the_first_plan_adds_all():
    """From nothing: each backend is new, in the file's order."""
    assert done(Plan(plan(url()).config, {}, ""), plan(url("b"), launched(), url("a"))) == [
        "add b",
        "add demo",
        "add a",
    ]


def test_backends_come_and_go():
    """What is removed goes first: it makes room."""
    assert done(plan(url("a"), url("b")), plan(url("b"), url("c"))) == ["remove a", "add c"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"weight": 2}, "tune a: other weight"),
        ({"models": ["m", "n"]}, "tune a: other models"),
        ({"port": 2}, "replace a: other url"),
        ({"api_key": "secret"}, "replace a: other api_key"),
    ],
)
def test_an_entry_of_a_server_changes(changed, said):
    """What another address takes, and what doesn't; the key itself is not shown."""
    (step,) = [each for each in steps(plan(url()), plan(url(**changed)), ROOMY) if each.name == "a"]
    assert f"{step.do.value} {step.name}: {step.why}" == said
    assert step.new_first


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"start_timeout": "1m"}, "tune demo: other start_timeout"),
        ({"load": "on_demand", "unload_after": "5m"}, "tune demo: other load, unload_after"),
        ({"allow": ["n_discard"], "media_hosts": ["a.org"]}, "tune demo: other allow, media_hosts"),
        ({"pinned": True, "memory": "1GiB", "warm_up": True}, "tune demo: other pinned, memory, warm_up"),
        ({"gpus": 1}, "replace demo: other gpus; the new one first"),
        ({"args": {"n_ctx": 512}}, "replace demo: other args; the new one first"),
        ({"env": {"A": "b"}}, "replace demo: other env; the new one first"),
        ({"model": "other.gguf"}, "replace demo: other model; the new one first"),
    ],
)
def test_a_launch_changes(changed, said):
    """A process is replaced for what it was started with, and for nothing else."""
    found = steps(plan(launched()), plan(launched(**changed)), ROOMY)
    assert [f"{step.do.value} {step.name}: {step.why}" for step in found] == [said]


def test_another_python_replaces_it():
    """The engine was installed anew, elsewhere."""
    old, new = plan(launched()), plan(launched())
    place = new.backends["demo"]
    assert place.launch is not None
    new = replace(new, backends={"demo": replace(place, launch=replace(place.launch, python="other"))})
    assert done(old, new) == ["replace demo"]


@pytest.mark.parametrize(
    ("before", "after", "said"), [(1, 3, ["add demo-2", "add demo-3"]), (3, 1, ["remove demo-2", "remove demo-3"])]
)
def test_replicas_come_and_go_alone(before, after, said):
    """Those that stay aren't touched."""
    assert done(plan(launched(replicas=before)), plan(launched(replicas=after))) == said


def test_a_backend_becomes_a_launch_and_back():
    """The same name, another kind."""
    server, engine = plan(url("demo")), plan(launched())
    assert done(server, engine) == ["replace demo"]
    assert done(engine, server) == ["replace demo"]


# Which goes first


@pytest.mark.parametrize(
    ("room", "new_first"),
    [
        (Room(free=2 * GIB, take={"demo": GIB}), True),
        (Room(free=GIB, take={"demo": GIB}), False),
        (Room(free=64 * GIB, take={"demo": GIB}, gpus=True), False),
        (Room(), False),
    ],
)
def test_the_new_one_first_where_there_is_room_for_both(room, new_first):
    """As much as the old one takes, and some to spare; a GPU's memory is shared out already."""
    (step,) = steps(plan(launched()), plan(launched(model="other.gguf")), room)
    assert step.new_first is new_first


def test_room_is_given_once():
    """Of two that are replaced there is room beside one; who makes room goes first."""
    old = plan(launched("a"), launched("b"))
    new = plan(launched("a", model="other.gguf"), launched("b", model="other.gguf"))
    found = steps(old, new, Room(free=2 * GIB, take={"a": GIB, "b": GIB}))
    assert [(step.name, step.new_first) for step in found] == [("b", False), ("a", True)]


def test_what_outlives_the_router_has_one_record():
    """So the old one ends first."""
    old, new = plan(launched()), plan(launched(model="other.gguf"))
    place = new.backends["demo"]
    assert place.launch is not None
    kept = replace(place.launch, spec=replace(place.launch.spec, keep=True))
    (step,) = steps(old, replace(new, backends={"demo": replace(place, launch=kept)}), ROOMY)
    assert not step.new_first


# What doesn't fit on a GPU

CARD = Gpu("NVIDIA", "NVIDIA H100", 80 * GIB, free_bytes=79 * GIB)


def on_gpu(found: Plan, *shares: float) -> Plan:
    """Have the backends of a plan claim shares of the GPU, whose models need 20 GiB."""
    places = {}
    for (name, place), share in zip(found.backends.items(), shares, strict=True):
        assert place.launch is not None
        claim = Claim(("NVIDIA 0",), share, least=20 * GIB)
        args = {"gpu-memory-utilization": share}
        places[name] = replace(
            place, launch=replace(place.launch, spec=replace(place.launch.spec, claim=claim, args=args))
        )
    return replace(found, backends=places)


def test_what_will_not_fit_beside_what_runs_is_said_with_what_to_write():
    old, new = on_gpu(plan(launched("a")), 0.9), on_gpu(plan(launched("a"), launched("b")), 0.9, 0.45)
    room = Room(take={"a": GIB}, gpus=True, cards=(replace(CARD, free_bytes=7 * GIB),))
    add, keep = steps(old, new, room)
    assert (add.do, keep.do, keep.but) == (Do.ADD, Do.KEEP, "")
    assert "a has 0.9; to share it, write `args: {gpu-memory-utilization: 0.45}`" in add.but
    assert str(add) == f"add     b: starts llama_cpp; but {add.but}"


def test_what_the_replaced_one_has_is_there_for_its_successor_and_others():
    old, new = on_gpu(plan(launched("a")), 0.9), on_gpu(plan(launched("a"), launched("b")), 0.45, 0.45)
    room = Room(take={"a": GIB}, gpus=True, cards=(replace(CARD, free_bytes=7 * GIB),))
    assert [(step.do, step.but) for step in steps(old, new, room)] == [(Do.REPLACE, ""), (Do.ADD, "")]


def test_what_is_kept_but_does_not_run_yet_gets_its_memory_first():
    old, new = on_gpu(plan(launched("b")), 0.9), on_gpu(plan(launched("a"), launched("b")), 0.45, 0.9)
    add, _ = steps(old, new, Room(gpus=True, cards=(CARD,)))
    assert "b has 0.9" in add.but


def test_what_is_loaded_on_demand_lacks_nothing_now():
    """Memory is made for it when it is wanted."""
    old, new = plan(launched("a")), plan(launched("a"), launched("b", load="on_demand"))
    room = Room(take={"a": GIB}, gpus=True, cards=(replace(CARD, free_bytes=7 * GIB),))
    add, _ = steps(on_gpu(old, 0.9), on_gpu(new, 0.9, 0.9), room)
    assert (add.name, add.but) == ("b", "")


# The rest of the file


def test_routes():
    """New ones, those that lead elsewhere, those that are no more."""
    two = url(models=["m", "n"])
    old = plan(two, routes={"x": "m", "y": "m", "z": "m"})
    new = plan(two, routes={"x": "m", "y": ["n", "m"], "w": "m"})
    assert [str(step) for step in steps(old, new, ROOMY) if step.do is Do.ROUTE] == [
        "route   z: is no more",
        "route   y: changes",
        "route   w: is new",
    ]


def test_settings():
    """Each key by itself; what can't change live is said, and holds up nothing else."""
    new = plan(
        url(), server={"port": 9, "ollama_port": 11434}, limits={"retries": 7}, auth={"keys": ["a-secret-key-of-mine"]}
    )
    found = [str(step) for step in steps(plan(url()), new, ROOMY) if step.do is not Do.KEEP]
    assert found == [
        "limit   limits.retries: 2 → 7",
        "limit   auth.keys",
        "stuck   server.port: takes a restart of the router",
        "stuck   server.ollama_port: takes a restart of the router",
    ]


def test_every_setting_that_changes_is_told():
    """Of all sections: what nobody is told of would be in force behind their backs."""
    new = plan(
        url(),
        include="conf.d/*.yaml",
        profile="cpu",
        telemetry={
            "metrics": "open",
            "capture": {"requests": 9, "size": "1MiB"},
            "traces": {"endpoint": "http://127.0.0.1:4318/v1/traces?key=hidden", "share": 1},
        },
    )
    found = [str(step) for step in steps(plan(url()), new, ROOMY) if step.do is not Do.KEEP]
    assert found == [
        "limit   include: none → conf.d/*.yaml",
        "limit   profile: auto → cpu",
        "limit   telemetry.metrics: admin → open",
        "limit   telemetry.capture.requests: 0 → 9",
        "limit   telemetry.capture.size: 64MiB → 1MiB",
        "limit   telemetry.traces.endpoint: none → http://127.0.0.1:4318/v1/traces?(hidden)",
        "limit   telemetry.traces.share: 0.1 → 1.0",
    ]


def test_no_section_is_left_out():
    """Nor a new one."""
    changes: dict[str, dict[str, object]] = {
        "server": {"hosts": ["a.test", "b.test"]},
        "balance": {"retry_share": 0.5},
        "health": {"interval": "9s"},
        "limits": {"retries": 7},
        "memory": {"max_wait": "9m"},
        "auth": {"open": True},
        "logging": {"keep": 3},
        "telemetry": {"metrics": "open"},
        "state": {"dir": "elsewhere"},
        "ray": {"address": "10.0.0.2:6379"},
    }
    assert set(changes) == {name for name, field in Config.model_fields.items() if field.default_factory}
    found = [step.name for step in steps(plan(url()), plan(url(), **changes), ROOMY) if step.do is not Do.KEEP]
    assert sorted(found) == sorted(f"{section}.{next(iter(keys))}" for section, keys in changes.items())


def test_what_a_command_is_said_to_be_replaces_it():
    """What is private to that engine is closed, or open, with the next process."""
    old, new = (plan(launched(), launched("b")) for _ in range(2))
    launch = new.backends["b"].launch
    assert launch is not None
    other = replace(new.backends["b"], launch=replace(launch, engine=AnyCommand(private=frozenset({"id_slot"}))))
    new = replace(new, backends={**new.backends, "b": other})
    (step,) = [each for each in steps(old, new, ROOMY) if each.do is not Do.KEEP]
    assert str(step) == "replace b: other engine; the new one first"


def test_what_models_may_take_of_the_memory_changes_live_and_where_it_is_remembered_does_not():
    """Keys of a section below a section are told by themselves; values as router.yaml has them."""
    new = plan(url(), memory={"limit": {"ram": "2GiB", "gpu": "50%"}, "max_wait": "1m"}, state={"dir": "elsewhere"})
    found = [str(step) for step in steps(plan(url()), new, ROOMY) if step.do is not Do.KEEP]
    assert found == [
        "limit   memory.max_wait: 2m → 1m",
        "limit   memory.limit.ram: none → 2GiB",
        "limit   memory.limit.gpu: none → 50%",
        "stuck   state.dir: takes a restart of the router",
    ]


@pytest.mark.parametrize(
    ("written", "route"),
    [
        ({"to": "m"}, Route(("m",))),
        ({"to": ["m", "n"], "next_on": [500, 429]}, Route(("m", "n"), next_on=frozenset({500, 429}))),
        ({"to": "m", "policy": "random", "hidden": True}, Route(("m",), policy="random", hidden=True)),
    ],
)
def test_a_plan_has_routes_as_they_are_written(written, route):
    """What nobody wrote has no effect: no body is changed by it."""
    assert plan(url(models=["m", "n"]), routes={"x": written}).routes == {"x": route}


@pytest.mark.parametrize(
    ("change", "body"),
    [
        ({"set": {"a": 1}}, b'{"a":1}'),
        ({"default": {"b": 1}}, b'{"a":5,"b":1}'),
        ({"at_most": {"a": 2}}, b'{"a":2}'),
        ({"strip": ["a"]}, b"{}"),
    ],
)
def test_a_route_that_changes_a_field_changes_bodies(change, body):
    """By any one of its ways to."""
    made = plan(url(), routes={"x": {"to": "m", **change}}).routes["x"]
    assert reshaped(b'{"a": 5}', made.reshape, None) == body
