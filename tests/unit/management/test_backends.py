"""Which backend a name means that is drained, restarted, scaled, or whose log is read."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from router.core.catalog import Backend
from router.core.errors import ConflictError
from router.management.backends import meant
from router.management.elsewhere import Elsewhere
from router.proxy.resolve import Names


class Fleet:
    """Backends with their models; those of `server` are processes of one entry."""

    def __init__(self) -> None:
        served = {
            "qwen": ["qwen"], "server": ["two", "both"], "server-2": ["two", "both"], "box": ["both", "its"],
            "mac/far": ["far", "qwen"],
        }  # fmt: skip
        self.members = {
            name: SimpleNamespace(name=name, backend=Backend(name, dict.fromkeys(models, "there")))
            for name, models in served.items()
        }

    def entry_of(self, name: str) -> str:
        """Name its entry."""
        return name.partition("-")[0]


def found(name: str, *, whole: bool = False) -> str:
    elsewhere = Elsewhere(cast("Any", SimpleNamespace(by_name={"mac": None})), Names())
    return meant(cast("Any", Fleet()), elsewhere, name, whole=whole)


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("qwen", "qwen"), ("its", "box"), ("far", "mac/far"), ("mac/far", "mac/far"), ("mac/other", "mac/other"),
        ("mac", "mac"), ("nothing", "nothing"),
    ],
)  # fmt: skip
def test_a_backend_is_found_by_its_model(name, backend):
    """A backend of that name goes before."""
    assert found(name) == found(name, whole=True) == backend


def test_of_several_the_names_are_told():
    """What concerns one process could be meant for any; a launch is scaled by any of its own."""
    with pytest.raises(ConflictError, match="'two' is a model that several backends serve: name one of server, ser"):
        found("two")
    assert found("two", whole=True) == "server"
    with pytest.raises(ConflictError, match="name one of server, server-2, box"):
        found("both", whole=True)
