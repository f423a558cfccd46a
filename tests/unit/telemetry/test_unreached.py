"""Why a connection couldn't be made is said in the system's words."""

import errno
import os
import socket
import ssl

import aiohttp
import pytest

from launchers.ports import free_port
from router.hub import asking
from router.proxy.dialling import Address
from router.proxy.resolve import UnknownNameError
from router.telemetry.unreached import reason


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.2', 1)"), "Connection refused"),
        (OSError(errno.EHOSTUNREACH, "Connect call failed ('10.0.0.2', 1)"), os.strerror(errno.EHOSTUNREACH)),
        (socket.gaierror(8, "nodename nor servname provided"), "nodename nor servname provided"),
        (ssl.SSLError(1, "wrong version number"), "wrong version number"),
        (UnknownNameError("nowhere", "no such name"), str(UnknownNameError("nowhere", "no such name"))),
        (OSError("Multiple exceptions: …"), "Multiple exceptions: …"),
    ],
)
def test_whose_words_are_given(error, said):
    """A number of the system's has its words; names and TLS have numbers of their own."""
    assert reason(error) == said


async def test_a_refused_connection_is_said_without_words_of_the_client():
    """Neither where it was, which is told beside it, nor `ssl:default`: of a peer, a backend and a hub."""
    url = f"http://127.0.0.1:{free_port()}"
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError) as raised:
            await session.get(url)
    assert Address.of(url).fault(raised.value) == "Connection refused"
    assert asking.reason(raised.value) == "Connection refused"
