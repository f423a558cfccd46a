"""What clients of ours trust: contexts that are made once, and again when their files change."""

import ssl
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from router.config.keys.tls import BackendTlsConfig
from router.tls import trust
from router.tls.faults import TlsError, why_not
from router.tls.trust import SYSTEM, Trust, context_of, trusting
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Give a CA."""
    return Authority(tmp_path)


def test_it_is_read_from_router_yaml(tmp_path):
    """Relative paths count from its folder."""
    config = BackendTlsConfig.model_validate({"ca": "a.pem", "cert": "/b.crt", "key": "~/b.key", "name": "gpu-box"})
    found = Trust.of(config, tmp_path)
    assert found == Trust(True, tmp_path / "a.pem", Path("/b.crt"), Path.home() / "b.key", "gpu-box")
    assert Trust.of(None, tmp_path) is SYSTEM


def test_a_context_is_made_once(authority):
    """For all connections of its kind."""
    one = Trust(ca=authority.pem)
    context = context_of(one)
    assert context_of(Trust(ca=authority.pem)) is context
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    anybody = context_of(Trust(verify=False))
    assert (anybody.verify_mode, anybody.check_hostname) == (ssl.CERT_NONE, False)
    assert context_of(SYSTEM).verify_mode is ssl.CERT_REQUIRED


def test_another_is_made_when_its_files_change(authority):
    """Files that can't be used change nothing, and that is said once."""
    files = authority.issue("own", "router.lan")
    of = Trust(ca=authority.pem, cert=files.cert, key=files.key)
    first = context_of(of)
    files.key.write_bytes(b"half of")
    with capture_logs() as logs:
        assert context_of(of) is context_of(of) is first
    assert [each["event"].partition(": ")[0] for each in logs] == ["a backend's tls.key"]
    authority.issue("own", "router.lan")
    second = context_of(of)
    assert second is not first
    authority.pem.unlink()
    with capture_logs():
        assert context_of(of) is second


def test_files_that_can_not_be_used(authority, tmp_path):
    """They are named, with the key of router.yaml."""
    files = authority.issue("own", "router.lan")
    for of, key in (
        (Trust(ca=tmp_path / "no.pem"), "ca"),
        (Trust(ca=files.key), "ca"),
        (Trust(cert=tmp_path / "no.crt", key=files.key), "cert"),
        (Trust(cert=files.cert, key=files.cert), "key"),
    ):
        with pytest.raises(TlsError) as told:
            context_of(of)
        assert told.value.key == key
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    with pytest.raises(TlsError, match="it is broken"):
        trusting(broken, "--ca")


def test_what_is_kept_is_bounded(authority, monkeypatch):
    """However often router.yaml changes."""
    monkeypatch.setattr(trust, "MOST", 3)
    monkeypatch.setattr(trust, "_MADE", {})
    for number in range(5):
        context_of(Trust(ca=authority.pem, name=f"n{number}"))
    assert len(trust._MADE) <= 3


def unverified(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "what OpenSSL says"
    return error


def failed(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] words (_ssl.c:1)")
    error.reason = reason
    return error


def behind(error: Exception) -> Exception:
    outer = aiohttp.ServerDisconnectedError()
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (unverified(10), "its certificate has expired: it needs a new one"),
        (unverified(9), "its certificate isn't valid yet: is this machine's clock right?"),
        (
            unverified(18),
            "its certificate isn't trusted: it is self-signed; name the file with its CA's certificate, or",
        ),
        (unverified(20), "its certificate isn't trusted: the CA that it comes from isn't trusted here; name"),
        (unverified(62), "its certificate is for another name than the URL's host: set tls.name to one that it has"),
        (unverified(64), "its certificate is for another name than the URL's host"),
        (unverified(26), "its certificate isn't one for servers"),
        (unverified(99), "its certificate isn't trusted: what OpenSSL says"),
        (failed("WRONG_VERSION_NUMBER"), "TLS failed: what answers there speaks no TLS"),
        (failed("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "TLS failed: it wants a certificate from its clients"),
        (failed("SOME_NEW_REASON"), "TLS failed: some new reason"),
        (behind(failed("DH_KEY_TOO_SMALL")), "TLS failed: its keys are too short to be safe"),
        (behind(ConnectionResetError()), "TLS failed: it broke off the handshake"),
        (ConnectionResetError(104, "Connection reset by peer"), ""),
        (aiohttp.ServerDisconnectedError(), ""),
        (OSError("other"), ""),
    ],
)
def test_what_is_wrong_in_words(error, says):
    """What isn't about TLS is for others to tell."""
    told = why_not(error)
    assert told.startswith(says)
    assert bool(told) == bool(says)


def test_what_helps_depends_on_who_asks():
    """A person at a command has no router.yaml."""
    assert why_not(unverified(18), ca="with --ca").endswith("or its own, with --ca")
    assert why_not(unverified(62), name="ask by one that it has").endswith("host: ask by one that it has")
