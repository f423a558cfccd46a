import io
import re
import sys

import pytest

from router.api.admin.models import ModelTold, SilentTold
from router.cli import shown

GPU = "NVIDIA 0"


def model(**told) -> ModelTold:
    return ModelTold(**{"name": "qwen", "state": "loaded", "models": ("qwen2.5-7b",), **told})


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"state": "loading", "share": 0.431}, "loading 43%"),
        ({"state": "loading", "share": 0.0}, "loading"),
        ({"state": "queued", "share": None}, "queued"),
    ],
)
def test_the_state(told, words):
    """With the share of the load, where that is known."""
    assert shown.state_of(model(**told)) == words


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"reserved": {"ram": 1 << 30}}, "1.0 GiB"),
        ({"reserved": {"ram": 300 << 20, GPU: 6 << 30}, "footprint": {"ram": 1}}, f"6.0 GiB {GPU}, 0.3 GiB RAM"),
        ({"reserved": {"ram": 0, GPU: 6 << 30}}, f"6.0 GiB {GPU}"),
        ({"footprint": {"ram": 1 << 30}}, "1.0 GiB"),
        ({"footprint": {"ram": 1 << 30}, "state": "unloaded"}, "(1.0 GiB)"),
        ({"state": "unloaded"}, ""),
    ],
)
def test_the_memory(told, words):
    """What it holds by device; in brackets what it would take."""
    assert shown.memory_of(model(**told)) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0s"), (3, "3s"), (59.7, "1m"), (250, "4m 10s"), (7500, "2h 5m"), (7201, "2h 1s"), (360000, "100h")],
)
def test_a_time(seconds, words):
    """In two units at most."""
    assert shown.lasting(seconds) == words


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"pinned": True}, "never, as it is pinned"),
        ({"stays": True}, "never"),
        ({}, "when others need its memory"),
        ({"expires": 250.0, "idle": 5.0}, "in 4m 10s"),
        ({"expires": 900.0}, "15m after its last use"),
        ({"state": "loading", "pinned": True}, ""),
    ],
)
def test_when_it_unloads(told, words):
    """Of what is loaded."""
    assert shown._unloads(model(**told)) == words


def test_what_was_chosen_for_a_model_that_does_not_fit_stands_below():
    assert shown.table([model(note="it has less context")]).splitlines()[-1] == "qwen: it has less context"


def test_the_table():
    """A line a backend, and why one failed; in a pipe no line is broken."""
    failure = {"reason": "no such file", "count": 2, "retry_in": 8.4}
    drawn = shown.table([
        model(engine="llama_server", pid=4711, in_flight=2, waiting=11, reserved={"ram": 5 << 30}, pinned=True),
        model(name="coder", state="failed", models=("a" * 60, "b" * 60), failure=failure),
    ])  # fmt: skip
    head, qwen, coder, why = drawn.splitlines()
    assert head.split("  ")[0] == "MODEL"
    words = qwen.split()
    assert words[:5] == ["qwen2.5-7b", "qwen", "loaded", "5.0", "GiB"]
    assert words[5:7] == ["2", "11"]
    assert words[-2:] == ["llama_server", "4711"]
    assert coder.split()[:4] == ["a" * 60 + ",", "b" * 60, "coder", "failed"]
    assert why == "coder: no such file (a request tries it again in 8s)"


def test_names_are_shown_as_they_are():
    """Rich would take some for colours or little pictures; and no reason of an engine controls the terminal."""
    names = ("[red]x[/]", ":cat:", "日本")
    drawn = shown.table([model(models=names, state="failed", failure={"reason": "\x1b[2Jgone"})])
    assert ", ".join(names) in drawn
    assert drawn.splitlines()[-1] == "qwen: \\x1b[2Jgone"


def test_a_narrow_terminal(monkeypatch):
    """It has fewer columns, and whole words."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "80")
    busy = model(engine="llama_server", pid=47110, expires=250.0, idle=5.0, reserved={"ram": 1 << 30, GPU: 6 << 30})
    lines = [re.sub(r"\x1b\[\d*m", "", line) for line in shown.table([busy]).splitlines()]
    assert max(map(len, lines)) <= 80
    for whole in ("IN FLIGHT", "qwen2.5-7b", "loaded", "6.0 GiB NVIDIA 0", "in 4m 10s"):
        assert any(whole in line for line in lines), whole
    assert "PID" not in lines[0]


def test_a_router_without_launches():
    """It has nothing that loads."""
    assert shown.table([]) == "This router launches no models."


def test_machines():
    """A column of them stands where a peer's model does; when that unloads is told as far as it is known."""
    own = model(name="demo", expires=60.0)
    assert "MACHINE" not in shown.table([own])
    lines = [
        re.split(r"  +", line.strip()) for line in shown.table([own, model(name="mac/qwen", peer="mac")]).splitlines()
    ]
    assert lines[0][:5] == ["MODEL", "BACKEND", "MACHINE", "STATE", "MEMORY"]
    assert [line[1:3] for line in lines[1:]] == [["demo", "this one"], ["mac/qwen", "mac"]]
    assert "when others need its memory" not in "".join(lines[2])


def test_what_a_peer_tells_controls_no_terminal():
    """Its words are another machine's."""
    evil = "\x1b[2J\n"
    drawn = shown.table([model(name=f"mac/{evil}", peer="mac", state=evil, engine=evil, note=evil, models=(evil,))])
    assert "\x1b" not in drawn
    assert "\x1b" not in shown.loaded(model(name=evil))


def test_a_peer_without_a_model_is_told_with_the_reason():
    """Whatever it says."""
    peers = [SilentTold(name="nas", health="down", reason="its router\nis away")]
    assert [line.startswith("nas has no model here: its router") for line in shown.silent(peers)] == [True]
    assert "\n" not in shown.silent(peers)[0]
