"""How a connection that could not be made has failed."""

import errno
import ssl

import aiohttp
import pytest

from router.core.retry import Failure
from router.proxy.dialling import Address, _failure_of
from router.tls.faults import TlsError


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Failure.REFUSED),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Failure.REFUSED),
        (UnicodeError("a label is too long"), Failure.REFUSED),
        (OSError(errno.EMFILE, "no files"), Failure.NO_FILES),
        (OSError(errno.ENFILE, "no files"), Failure.NO_FILES),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), Failure.UNTRUSTED),
        (ssl.SSLError(1, "some reason"), Failure.INSECURE),
        (ConnectionResetError(), Failure.INSECURE),
        (TlsError("ca", "/ca.pem: there is no such file"), Failure.INSECURE),
    ],
)
def test_who_refused_whom(error, failure):
    """Only what the other machine said is a refused connection; an error of TLS is said to be one."""
    assert _failure_of(error) is failure


@pytest.mark.parametrize(
    ("error", "says", "hints"),
    [
        (aiohttp.ClientOSError(errno.EPIPE, "Broken pipe"), f"[Errno {errno.EPIPE}] Broken pipe", True),
        (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), f"[Errno {errno.ECONNRESET}] reset", True),
        (aiohttp.ServerDisconnectedError(), "Server disconnected", True),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), f"[Errno {errno.ECONNREFUSED}] refused", False),
        (aiohttp.ClientPayloadError(), "ClientPayloadError", False),
        (ConnectionResetError(), "TLS failed: it broke off the handshake: it may want a certificate (tls.cert)", False),
    ],
)
def test_a_server_that_closes_may_want_a_certificate(error, says, hints):
    """Over TLS, where nothing else is told."""
    hint = "; it may want a certificate from its clients, or another one: see tls.cert"
    assert Address.of("https://gpu-box").fault(error) == says + (hint if hints else "")
    assert Address.of("http://gpu-box").fault(error) == says
