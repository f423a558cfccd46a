"""What /admin/explain tells is taken as the dispatcher gives it."""

from router.api.admin.status import Explained
from router.core.balance import policy_of
from router.core.catalog import Backend, Candidate
from router.core.estimate.ask import Ask
from router.core.load import Load


def test_an_engine_that_publishes_its_load():
    """It is no mapping in the figures."""
    backend = Backend("a")
    backend.estimate.published(Load(1.0, 2.0), 0.0, 0.0)
    (figures,) = policy_of("least_latency").explain([Candidate(backend, "m")], Ask(1), 0.0)
    told = Explained.model_validate([figures._asdict() | {"tier": 0, "policy": "least_latency"}])
    assert told.model_dump()[0]["published"] == {"running": 1.0, "waiting": 2.0}
