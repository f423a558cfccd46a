import errno

import aiohttp
import pytest

from router.core.catalog import Backend
from router.proxy.resolve import UnknownNameError
from router.proxy.watching.sleepers import Sleepers, met_nobody


@pytest.mark.parametrize(
    ("error", "nobody"),
    [
        (aiohttp.ConnectionTimeoutError(), True),
        (TimeoutError(), False),  # it accepted the connection, and said nothing
        (OSError(errno.EHOSTUNREACH, "no route"), True),
        (OSError(errno.ENETUNREACH, "no network"), True),
        (OSError(errno.ETIMEDOUT, "timed out"), True),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), False),
        (ConnectionResetError(errno.ECONNRESET, "reset"), False),
        (UnknownNameError("pc.local", "no answer"), True),
        (OSError("Multiple exceptions: [Errno 101] unreachable, [Errno 113] no route"), True),
        (OSError("Multiple exceptions: [Errno 101] unreachable, [Errno 111] Connect call refused"), False),
        (aiohttp.ServerDisconnectedError(), False),
        (aiohttp.ClientPayloadError(), False),
    ],
)
def test_nobody_is_there_where_nobody_answered_at_all(error, nobody):
    """A server that refuses or is silent runs on a machine that is awake."""
    assert met_nobody(error) is nobody


def test_without_anybody_who_wakes_machines_none_is_woken():
    """Whatever is told."""
    nobody, backend = Sleepers(), Backend("b")
    nobody.watch(backend, None)
    nobody.unreached(backend)
    nobody.learned(backend, {})
    nobody.forget(backend)
    assert not nobody.want(backend)
