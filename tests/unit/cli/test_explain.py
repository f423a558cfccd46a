from router.api.admin.status import CandidateTold, Explained
from router.cli import explain


def candidate(backend, passed_over="", **told):
    return CandidateTold(backend=backend, tier=0, policy="least_latency", passed_over=passed_over, **told)


def test_where_a_request_would_go():
    """To one that takes it, or that is loaded for it; else the reasons."""
    told = [candidate("a", "it is drained by ops"), candidate("b", loads_in=75.2), candidate("c", in_flight=1)]
    head, *rows = [line.split("  ") for line in explain.lines(Explained(tuple(told)))]
    assert head[0] == "BACKEND"
    assert [[word.strip() for word in row if word][:2] for row in rows] == [
        ["a", "no: it is drained by ops"],
        ["b", "yes, once it is loaded: in 1m 15s"],
        ["c", "yes"],
    ]


def test_nobody_serves_it():
    assert explain.lines(Explained(())) == ["No backend serves it."]
