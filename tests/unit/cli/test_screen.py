import re

import pytest
from rich.cells import cell_len

from router.api.admin.logs import EventTold
from router.api.admin.requests import RequestsTold, RequestTold
from router.api.admin.status import BackendTold, DeviceTold, MachineTold, RouterTold, StatusTold, WaitingTold
from router.cli import screen
from router.cli.screen import Seen

GIB = 1 << 30
SIZES = [(80, 24), (120, 40), (200, 60), (40, 10), (20, 5), (1, 1)]


def backend(name: str, in_flight: int = 0, **told) -> BackendTold:
    usual = {
        "health": "up", "reason": "", "models": ("demo",), "answered": 5, "weight": 1.0, "max_in_flight": None,
        "bytes_in_flight": 0, "expected_ttft": 0.1,
    }  # fmt: skip
    return BackendTold(**{**usual, "name": name, "in_flight": in_flight, **told})


def request(number: int, state: str = "answered", **told) -> RequestTold:
    usual = {
        "id": f"id-{number}", "path": "/v1/chat/completions", "model": "demo", "key": "", "stream": True,
        "backend": "box", "age": 1.5, "bytes": 100,
    }  # fmt: skip
    return RequestTold(**{**usual, "state": state, **told})


def event(number: int, message: str = "", level: str = "info") -> EventTold:
    return EventTold(id=number, at=0.0, kind="log", level=level, message=message or f"event {number}")


def seen(backends=(), requests=(), events=(), *, gpus=0, queues=None, lost="", total=None, **sensors) -> Seen:
    router = RouterTold(
        version="0.1.0", pid=1, started=0.0, uptime=250.0, cpu_percent=3.0, memory_bytes=GIB // 8, descriptors=9,
        loop_lag=0.0, in_flight=len(requests), queued=0,
    )  # fmt: skip
    devices = [DeviceTold(name=f"NVIDIA {each}", bytes=80 * GIB, free=20 * GIB, **sensors) for each in range(gpus)]
    machine = MachineTold(
        cpus=64, cpu_percent=12.0, memory_bytes=512 * GIB, memory_available=400 * GIB,
        devices=(DeviceTold(name="ram", bytes=512 * GIB, free=400 * GIB), *devices),
    )  # fmt: skip
    status = StatusTold(router=router, machine=machine, backends=tuple(backends), queues=queues or {}, reload=None)
    told = RequestsTold(total=len(requests) if total is None else total, requests=tuple(requests))
    return Seen(status, told, tuple(events), lost)


def drawn(what: Seen, width: int = 80, height: int = 24) -> list[str]:
    lines = [line.plain.rstrip() for line in screen.frame(what, width, height)]
    assert len(lines) <= height
    assert all(cell_len(line) <= width for line in lines), lines
    return lines


def begins(lines: list[str], word: str) -> list[str]:
    """Give the first words of the lines of a table, whose head begins so."""
    at = next(number for number, line in enumerate(lines) if line.startswith(word))
    until = next((at + n for n, line in enumerate(lines[at:]) if line.startswith("and ")), None)
    return [line.split()[0] for line in lines[at + 1 : until]]


BUSY = seen(
    [backend(f"box-{number:02}", in_flight=int(number >= 45), health="down" if number == 7 else "up")
     for number in range(50)],
    [request(number) for number in range(200)],
    [event(number) for number in range(50)],
    gpus=8, total=1500,
)  # fmt: skip


def test_a_small_router():
    """All of it is there, and nothing is counted as left out."""
    lines = drawn(seen([backend("box", 1)], [request(1)], [event(1), event(2, "it fell", "error")], gpus=1))
    assert lines[:3] == [
        "router 0.1.0, up 4m 10s, 1 requests under way, 0 waiting, CPU 3%, 0.1 GiB",
        "machine: CPU 12% of 64, 400.0 GiB of 512.0 GiB RAM free",
        "NVIDIA 0 20.0 GiB of 80.0 GiB free",
    ]
    assert lines[3].split()[:3] == ["BACKEND", "STATE", "MODELS"]
    assert lines[4].split()[:5] == ["box", "up", "demo", "1", "5"]
    assert lines[5].split()[:3] == ["ID", "MODEL", "BACKEND"]
    assert lines[6].split()[:4] == ["id-1", "demo", "box", "answered"]
    assert lines[7] == "LAST EVENTS"
    assert [line[9:] for line in lines[8:]] == ["event 1", "! it fell"]


def test_a_router_that_does_nothing():
    """It says so."""
    assert drawn(seen())[2:] == ["No backend is configured.", "No request is under way."]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_no_size_is_overrun(width, height):
    """However much there is, nothing is wider or longer than the terminal."""
    lines = drawn(BUSY, width, height)
    assert len(lines) == height


def test_what_engines_hold_and_who_has_drained_one():
    """As far as there is room: columns without anything leave first, then the counts, and the reasons stay."""
    backends = [
        backend("qwen-7b", 2, models=("qwen2.5-7b-instruct",), restarts=2, load_seconds=12.34,
                footprint={"NVIDIA 0": 6 * GIB, "ram": GIB // 2}),
        backend("mistral", drained=True, drained_by="ops", drained_since=0.0),
        backend("far", health="down", reason="connection refused"),
    ]  # fmt: skip
    head, *rows = [" ".join(line.split()) for line in drawn(seen(backends), 120)[2:6]]
    assert head == "BACKEND STATE MODELS IN FLIGHT MEMORY RESTARTS LOAD ANSWERED WHY"
    assert rows[0] == "qwen-7b up qwen2.5-7b-instruct 2 6.5 GiB 2 12.3s 5"
    assert rows[1].startswith("mistral drained demo 0 5 by ops since 19")
    assert rows[2] == "far down demo 0 5 connection refused"
    head, *rows = [" ".join(line.split()) for line in drawn(seen(backends))[2:6]]
    assert head == "BACKEND STATE MODELS IN FLIGHT MEMORY RESTARTS WHY"
    assert rows[1].startswith("mistral drained demo 0 by ops")


def test_fifty_backends_at_80_by_24():
    """Those with requests come first, then the one that is down, then the others; all that is left out is counted."""
    lines = drawn(BUSY)
    names = begins(lines, "BACKEND")
    assert names[:6] == ["box-45", "box-46", "box-47", "box-48", "box-49", "box-07"][: len(names)]
    shown = begins(lines, "ID")
    backends, requests = [int(line.split()[1]) for line in lines if re.fullmatch(r"and \d+ more", line)]
    assert backends == 50 - len(names)
    assert requests == 1500 - len(shown)
    assert len(names) >= 4
    assert len(shown) >= 4
    assert lines[-1].endswith("event 49")


def test_more_room_shows_more():
    """At 120 by 40, more backends and their reasons."""
    assert len(begins(drawn(BUSY, 120, 40), "BACKEND")) > len(begins(drawn(BUSY), "BACKEND"))
    assert all(line.startswith(("id-", "and")) is False for line in drawn(BUSY, 120, 40)[:3])


def test_gpus_that_do_not_fit_are_counted():
    assert drawn(BUSY)[2] == "NVIDIA 0 20.0 GiB of 80.0 GiB free, and 7 more"
    assert any(line.endswith("NVIDIA 7 20.0 GiB of 80.0 GiB free") for line in drawn(BUSY, 120, 40))


SENSORS = {"utilisation": 87, "temperature": 64, "power": 412.3, "power_limit": 700.0}


def test_what_sensors_tell_where_there_is_room():
    """Before GPUs are left out, it is."""
    free = "NVIDIA 0 20.0 GiB of 80.0 GiB free"
    assert drawn(seen(gpus=1, **SENSORS))[2] == f"{free} (87% busy, 64 °C, 412 W of 700 W)"
    assert drawn(seen(gpus=1, utilisation=3))[2] == f"{free} (3% busy)"
    assert drawn(seen(gpus=2, **SENSORS))[2] == f"{free}, NVIDIA 1 20.0 GiB of 80.0 GiB free"
    eight = drawn(seen(gpus=8, **SENSORS), 200, 60)
    assert sum(line.count("(87% busy, 64 °C, 412 W of 700 W)") for line in eight) == 8


def test_requests_that_wait_come_last():
    """Those that an engine works on are shown before them."""
    waiting = [request(number, "queued", ahead=number, backend=None) for number in range(30)]
    lines = drawn(seen([backend("box", 1)], [*waiting, request(99)]))
    assert begins(lines, "ID")[0] == "id-99"


def test_who_waits():
    """Each name that is waited for; of many, a count."""
    one = WaitingTold(request_id="a", key="", priority=0, seconds=2.0, bytes=1)
    lines = drawn(seen([backend("box")], queues={f"model-{number}": (one, one) for number in range(9)}))
    assert lines[2] == "2 wait for model-0, the first for 2.0 s, and 8 more"


NAMES = (
    "x" * 200,
    "日本語のモデル" * 8,
    "🦙" * 60,
    "a\x1b[2Jb\r\nc\x9b31m",
    "\u202eevil\u2066",
    "e\u0301" * 90,
    "[red]x[/]:cat:",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_names_of_every_kind(name, width, height):
    """Long ones are cut, wide ones take two cells a letter, and none controls the terminal."""
    one = WaitingTold(request_id="a", key="", priority=0, seconds=2.0, bytes=1)
    what = seen(
        [backend(name, 1, models=(name, name), reason=name), backend("box")],
        [request(1, model=name, backend=name, key=name, id=name), request(2)],
        [event(1, name)], queues={name: (one,), "demo": (one,)}, lost=name if name.isprintable() else "",
    )  # fmt: skip
    lines = drawn(what, width, height)
    assert all(line.isprintable() for line in lines), lines


def test_columns_stand_below_each_other():
    """Also behind wide letters."""
    lines = drawn(seen([backend("日本語", 3), backend("box", 3)]), 120)
    at = next(number for number, line in enumerate(lines) if line.startswith("BACKEND"))
    ends = {cell_len(line[: line.index("demo")]) for line in lines[at + 1 : at + 3]}
    assert ends == {cell_len(lines[at][: lines[at].index("MODELS")])}


def test_a_lost_router():
    """It is said above all else; what was seen last stays."""
    lines = drawn(seen([backend("box")], lost="LOST for 3 s"))
    assert lines[0] == "LOST for 3 s"
    assert any(line.startswith("box") for line in lines)


@pytest.mark.parametrize(
    ("lines", "wanted", "given"),
    [
        (20, [2, 2, 3], [2, 2, 3]),
        (20, [51, 201, 51], [6, 7, 7]),
        (20, [51, 2, 3], [15, 2, 3]),
        (2, [51, 201, 51], [0, 1, 1]),
        (0, [5, 5, 5], [0, 0, 0]),
    ],
)
def test_lines_are_shared_out(lines, wanted, given):
    """Who wants little gets it; the others get as much as each other."""
    assert screen.shares(lines, wanted) == given
