import pytest

from router.core import hops
from router.core.hops import LoopError

A, B, C = "a" * 16, "b" * 16, "c" * 16


def test_a_request_that_comes_from_no_router():
    """It has passed none, and the next one is told of this one alone."""
    assert hops.hops_of(((b"accept", b"*/*"),)) == b""
    assert hops.passed(b"", A) == frozenset()
    assert hops.line(b"", A.encode()) == b"x-router-hops: %s\r\n" % A.encode()


def test_a_request_on_its_way():
    """The ids are kept in their order, however they are written; what is none is left out."""
    said = hops.hops_of(((b"x-router-hops", f"{A}, no id".encode()), (b"x-router-hops", B.encode())))
    assert hops.passed(said, C) == {A, B}
    assert hops.line(said, C.encode()) == f"x-router-hops: {A},{B},{C}\r\n".encode()


def test_a_request_that_has_come_back():
    """It is refused by the router that it passed before."""
    with pytest.raises(LoopError, match="in a circle") as told:
        hops.passed(f"{A},{B}".encode(), A)
    assert told.value.status == 508


def test_a_request_that_has_passed_too_many():
    """Some of them may tell no id."""
    said = ",".join(f"{number:016x}" for number in range(hops.MOST)).encode()
    with pytest.raises(LoopError, match="has passed 8 routers"):
        hops.passed(said, A)
