"""How a connection that could not be made has failed."""

import errno
import ssl

import pytest

from router.core.retry import Failure
from router.proxy.dialling import _failure_of
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
