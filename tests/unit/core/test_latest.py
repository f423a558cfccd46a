from router.core.latest import Latest
from router.core.record import ANSWERED, Record


def record(id_: str) -> Record:
    return Record(id_, "/v1/chat/completions", "m", "b", 200, ANSWERED, 1, None, 9.0, 10, 0, b"")


def test_so_many_are_kept():
    """And their numbers go on from the time of the start, whatever is forgotten."""
    latest = Latest(5.0, most=2)
    for number, id_ in enumerate("abc"):
        latest.add(record(id_), 6.0 + number)
    assert [(at, each.id) for at, each in latest.kept] == [(7.0, "b"), (8.0, "c")]
    assert latest.last == 5003
