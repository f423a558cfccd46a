"""What people are told of each launched model: /admin/models, and `python -m router ps`.

`core.memory.telling.described` has the keys of a backend that memory knows. One that it doesn't know, as the router
keeps every engine running, is described with the same keys from what its supervisor says.
"""

from collections.abc import Mapping

from launchers.states import State
from launchers.supervisor import Supervisor
from router.core.memory import states as memory
from router.fleet.members import Member

_STATES = {
    State.STOPPED: memory.State.UNLOADED,
    State.WAITING: memory.State.QUEUED,
    State.STARTING: memory.State.LOADING,
    State.RUNNING: memory.State.LOADED,
    State.BACKOFF: memory.State.LOADING,
    State.STOPPING: memory.State.UNLOADING,
    State.FATAL: memory.State.FAILED,
}


def model_told(
    member: Member, supervisor: Supervisor, known: Mapping[str, object] | None, held: Mapping[str, int]
) -> dict[str, object]:
    """Describe a member with an engine of ours as plain data; `known` is what memory tells of it, if it does.

    `held` is what was measured of it, in bytes by device.

    Beside the keys of `described`: the `models` that it serves, its `engine`, the `pid` of its process if it has one,
    and a `detail` for people. `stays`: the router never unloads it.
    """
    config, status = member.planned.config.launch, supervisor.status
    told = _without_memory(member, supervisor, held) if known is None else dict(known)
    return told | {
        "name": member.name,
        "models": list(member.backend.models),
        "engine": None if member.planned.launch is None else member.planned.launch.spec.engine,
        "load": None if config is None else config.load,
        "pid": status.pid,
        "detail": status.detail,
    }


def _without_memory(member: Member, supervisor: Supervisor, held: Mapping[str, int]) -> dict[str, object]:
    status = supervisor.status
    state = _STATES[status.state]
    taken = {} if status.pid is None else dict(held)
    return {
        "state": state.value,
        "pinned": False,
        "placement": None,
        "footprint": taken,
        "source": "measured" if taken else None,
        "note": "",
        "reserved": {},
        "waiting": 0,
        "in_flight": member.backend.in_flight,
        "leased": 0,
        "idle": None,
        "expires": None,
        "share": None,
        "seconds": 0.0 if state is memory.State.LOADED else None,
        "stays": True,
        "failure": {"reason": status.detail} if state is memory.State.FAILED else None,
    }
