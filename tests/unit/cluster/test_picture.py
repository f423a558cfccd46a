import json

import msgspec
import pytest

from launchers.abilities import Abilities
from router.api.admin.peers import PictureTold, ServedTold
from router.cluster import picture as pictures
from router.cluster.picture import (
    MOST_MODELS,
    SHORT,
    UNKNOWN_LOAD,
    Events,
    Served,
    Standing,
    Told,
    abilities_of,
    after,
    apis_of,
    listed,
    settled,
    standing,
    taken,
)
from router.core.apis import UNKNOWN

OWN, OTHER, FAR = "a" * 16, "b" * 16, "c" * 16


def picture(*models: Served) -> dict[str, Served]:
    return {each.name: each for each in models}


def test_a_picture_comes_whole_and_then_changes():
    """What is said last counts; what is gone is gone; a new start has nothing of what was."""
    first = after({}, Told(OTHER, models=(Served("a"), Served("b"))))
    assert list(first) == ["a", "b"]
    second = after(first, Told(OTHER, whole=False, models=(Served("b", "unloaded"), Served("c")), gone=("a",)))
    assert {name: each.state for name, each in second.items()} == {"b": "unloaded", "c": "loaded"}
    assert list(after(second, Told(FAR, models=(Served("d"),)))) == ["d"]


def test_names_that_can_not_be_shown_are_left_out():
    """And so are more models than anybody has."""
    told = Told(OTHER, models=tuple(Served(name) for name in ("", "a\nb", "x" * 513, "fine")))
    assert list(after({}, told)) == ["fine"]
    many = Told(OTHER, models=tuple(Served(f"m{number}") for number in range(MOST_MODELS + 1)))
    assert len(after({}, many)) == MOST_MODELS


def test_a_router_that_was_just_started_may_not_know_its_models_yet():
    """What it had is awaited for a while; what it tells stands as it says, and what it takes back is gone."""
    first = after({}, Told(OTHER, models=(Served("a"), Served("b"))))
    second = after(first, Told(FAR, models=(Served("b", "unloaded"),)), is_new=True)
    assert standing(second["a"]) == Standing("its router was started, and hasn't told of it yet", coming=True)
    assert second["b"].state == "unloaded"
    assert list(settled(second)) == ["b"]
    third = after(second, Told(FAR, whole=False, models=(Served("a"),), gone=("b",)), is_new=True)
    assert third == settled(third) == {"a": Served("a")}


def test_all_models_are_taken_and_no_routes():
    """Under the names that they have there."""
    found = taken(picture(Served("qwen"), Served("gpt", targets=("qwen",))), {}, OWN, ())
    assert found == {"qwen": {"qwen": "qwen"}}


def test_what_router_yaml_names_is_taken():
    """Under its names, of which one model may have two; also a route; what isn't there isn't."""
    there = picture(Served("qwen"), Served("llama"), Served("gpt", targets=("qwen",)))
    wanted = {"big": "qwen", "best": "qwen", "gpt-4": "gpt", "gone": "gone"}
    assert taken(there, wanted, OWN, ()) == {"qwen": {"big": "qwen", "best": "qwen"}, "gpt": {"gpt-4": "gpt"}}


@pytest.mark.parametrize(
    ("through", "found"),
    [((), ["m"]), ((OWN,), []), ((FAR, OWN), []), ((OTHER,), []), ((FAR,), ["m"])],
)
def test_what_comes_back_is_not_taken(through, found):
    """Neither our own models, nor those of a peer that is asked itself."""
    assert list(taken(picture(Served("m", through=through)), {}, OWN, (OTHER,))) == found


@pytest.mark.parametrize(
    ("served", "stands"),
    [
        (Served("m"), Standing()),
        (Served("m", "unloaded", 20.0), Standing(seconds=20.0)),
        (Served("m", "queued", 40.0), Standing(seconds=40.0)),
        (Served("m", "loading", 12.5, share=0.4), Standing(seconds=12.5, runs=True)),
        (Served("m", "loading", 0.0), Standing(seconds=SHORT, runs=True)),
        (Served("m", "unloaded"), Standing(seconds=UNKNOWN_LOAD)),
        (Served("m", "draining", 8.0), Standing(seconds=8.0)),
        (Served("m", "failed", reason="no memory", retry_in=30.0), Standing("no memory")),
        (Served("m", "drained", reason="it is drained by ops"), Standing("is drained there", coming=True)),
    ],
)
def test_how_a_model_stands(served, stands):
    """It serves, has to be loaded first, or is out."""
    assert standing(served) == stands


def test_what_a_model_lacks_there():
    """Then it has all else that nothing translates; a peer that says nothing may have anything."""
    apis = apis_of(Served("m", lacks=("/v1/embeddings",), engine="mlx"))
    assert [apis.has_path(path) for path in ("/v1/embeddings", "/v1/rerank", "/v1/messages")] == [False, True, None]
    assert apis.engine == "mlx"
    assert apis_of(Served("m"), apis) == UNKNOWN


def test_what_a_model_can_do_there():
    """What isn't said isn't known."""
    assert abilities_of(Served("m", context=4096, capabilities=("tools",))) == Abilities(4096, tools=True)


def test_events_are_read_as_they_come():
    """Cut anywhere, with comments between them, and with fields that a later version has."""
    told = {"instance": OWN, "whole": True, "models": [{"name": "m", "state": "loaded", "later": 1}], "gone": []}
    stream = b": connected\n\nid: 1\nevent: models\ndata: %b\n\n: still here\n\n" % json.dumps(told).encode()
    for ends in (b"\n", b"\r\n"):
        events, said = Events(), stream.replace(b"\n", ends)
        found = [each for at in range(0, len(said), 7) for each in events.feed(said[at : at + 7])]
        assert found == [Told(OWN, models=(Served("m"),))]
        assert not events._line


def test_what_is_read_is_what_a_router_tells():
    """Each field of it, by the same name: two types describe it, as a reader takes what a later version may have."""
    model = ServedTold(
        name="m", state="loading", seconds=9.0, share=0.5, reason="r", retry_in=5.0, waiting=1, in_flight=2,
        max_in_flight=3, footprint={"ram": 4}, engine="mlx", backends=("m-1",), targets=("n",), context=5,
        capabilities=("tools",), lacks=("/v1/rerank",), through=(FAR,),
    )  # fmt: skip
    assert model.model_fields_set == set(ServedTold.model_fields)
    told = PictureTold(instance=OTHER, whole=False, models=(model,), gone=("x",))
    (read,) = Events().feed(f"data: {told.model_dump_json()}\n\n".encode())
    assert json.loads(msgspec.json.encode(read)) == told.model_dump(mode="json")


def test_an_endless_event(monkeypatch):
    """No byte is looked at again when more comes, and it ends at the bound: in one line, or in many."""
    monkeypatch.setattr(pictures, "MOST_BYTES", 1000)
    for piece in (b"data: xxx", b"data:\n", b": comment\n"):
        events, lines = Events(), piece.count(b"\n")
        for _ in range(1000 // (len(piece) - lines)):
            assert events.feed(piece) == []
        with pytest.raises(ValueError, match="more than 1000 bytes"):
            events.feed(piece)


def test_what_is_no_event():
    """It is said, and nothing is believed."""
    with pytest.raises(ValueError, match="truncated"):
        Events().feed(b"data: {\n\n")
    with pytest.raises(ValueError, match="more than"):
        Events().feed(b"x" * (16 * 1024 * 1024 + 1))


def test_a_list_for_everybody():
    """It tells all, but no load times."""
    page = {
        "object": "list",
        "instance": OTHER,
        "data": [
            {"id": "a", "state": "ready", "context_length": 99, "capabilities": ["tools"], "owned_by": "router"},
            {"id": "b", "state": "loading", "progress": 0.5},
            {"id": "c", "state": "unavailable", "through": [FAR]},
            {"id": "r", "state": "unloaded", "targets": ["a"]},
            {"id": "other"},
        ],
    }
    assert listed(json.dumps(page).encode()) == Told(
        OTHER,
        models=(
            Served("a", context=99, capabilities=("tools",)),
            Served("b", "loading", share=0.5),
            Served("c", "failed", through=(FAR,)),
            Served("r", "unloaded", targets=("a",)),
            Served("other"),
        ),
    )
    with pytest.raises(ValueError, match="JSON"):
        listed(b"<html>")
