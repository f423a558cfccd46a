"""What is wrong with a file of TLS, or with the certificate of another program, in words for people."""

import ssl
from pathlib import Path
from typing import Final, TypeGuard

from launchers.files import NoFileError, read_ordinary

MOST: Final = 4 * 1024 * 1024
"""Bytes that are read of a file: a bundle of all public CAs has 250 kB."""

CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
PRIVATE_KEY: Final = b"PRIVATE KEY-----"

_EXPIRED, _NOT_YET, _NAME, _ADDRESS, _PURPOSE = 10, 9, 62, 64, 26
_UNTRUSTED: Final = {
    18: "it is self-signed",
    19: "the CA that it comes from isn't trusted here",
    20: "the CA that it comes from isn't trusted here",
    21: "the CA that it comes from isn't trusted here, or it was sent without the certificates between",
}
"""OpenSSL's codes of what it says of a certificate (X509_V_ERR_…)."""

_REASONS: Final = {
    "WRONG_VERSION_NUMBER": "what answers there speaks no TLS: does its URL begin with http://?",
    "HTTP_REQUEST": "what answers there speaks no TLS: does its URL begin with http://?",
    "UNSUPPORTED_PROTOCOL": "it speaks no TLS newer than 1.1, which isn't safe",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it speaks no version of TLS that is spoken here: 1.2 and 1.3 are",
    "DH_KEY_TOO_SMALL": "its keys are too short to be safe",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate from its clients: set tls.cert and tls.key",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it doesn't take this client's certificate: see tls.cert",
    "TLSV1_ALERT_UNKNOWN_CA": "it doesn't know the CA of this client's certificate: see tls.cert",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "this client's certificate has expired: see tls.cert",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it doesn't take this client's certificate: see tls.cert",
    "TLSV1_ALERT_ACCESS_DENIED": "it doesn't let this client's certificate in: see tls.cert",
    "TLSV1_UNRECOGNIZED_NAME": "it knows no server of this name: see tls.name",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it refused the handshake: it may want a certificate (tls.cert), or another name "
    "(tls.name)",
}  # fmt: skip


MAY_WANT: Final = "it may want a certificate from its clients, or another one: see tls.cert"
"""What is said of a server that closes a connection as soon as its handshake is whole, and tells nothing."""


class TlsError(OSError):
    """A file of TLS can't be used; `key` is the one of router.yaml that names it, below its `tls`."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def read(path: Path, key: str) -> bytes:
    """Read a file that router.yaml names by this key. Raises TlsError."""
    try:
        return read_ordinary(path, MOST)
    except FileNotFoundError:
        why = "there is no such file"
    except PermissionError:
        why = "this user may not read it: let its owner or group be the one that the router runs as"
    except IsADirectoryError:
        why = "it is a folder: name the file"
    except NoFileError:
        why = "it is no ordinary file"
    except OSError as error:
        why = f"it can't be read ({error.strerror or error})"
    raise TlsError(key, f"{path}: {why}")


def certificates_in(path: Path, data: bytes, key: str) -> bytes:
    """Give a file's bytes, if there is a certificate in them. Raises TlsError."""
    if CERTIFICATE in data:
        return data
    if PRIVATE_KEY in data:
        raise TlsError(key, f"{path}: it has a key, and no certificate: are the two files mixed up?")
    der = data.startswith(b"\x30\x82")
    convert = f": convert it with `openssl x509 -inform der -in {path} -out cert.pem`" if der else ""
    raise TlsError(key, f"{path}: it has no certificate in PEM form ({CERTIFICATE.decode()}){convert}")


def key_in(path: Path, data: bytes) -> bytes:
    """Give a file's bytes, if there is a private key in them that needs no passphrase. Raises TlsError."""
    if PRIVATE_KEY not in data:
        mixed = ", but a certificate: are the two files mixed up?" if CERTIFICATE in data else ""
        raise TlsError("key", f"{path}: it has no private key in PEM form (-----BEGIN {PRIVATE_KEY.decode()}){mixed}")
    if b"ENCRYPTED" in data:
        raise TlsError(
            "key",
            f"{path}: it is encrypted, and nobody is there to give its passphrase: write it without one, with "
            f"`openssl pkey -in {path} -out key.pem`",
        )
    return data


def why_not(error: BaseException, *, ca: str = "in tls.ca", name: str = "set tls.name to one that it has") -> str:
    """Say what is wrong with a server's certificate, or its TLS, and what helps; empty if it isn't about that.

    `ca` says where the certificate to trust is named, and `name` what to do about one for another name.
    """
    error = _behind(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return _unverified(error, ca, name)
    if isinstance(error, ssl.SSLError):
        # One that OpenSSL has not raised has no reason.
        reason = getattr(error, "reason", None) or ""
        return f"TLS failed: {_REASONS.get(reason) or reason.replace('_', ' ').lower() or str(error)}"
    # That is how an event loop tells of a handshake that the other side has ended without a word.
    return "TLS failed: it broke off the handshake: it may want a certificate (tls.cert)" if _is_bare(error) else ""


def _behind(error: BaseException) -> BaseException:
    """Give the error of TLS that is behind one of aiohttp's client."""
    for inner in (getattr(error, "certificate_error", None), getattr(error, "os_error", None), error.__cause__):
        if isinstance(inner, ssl.SSLError) or _is_bare(inner):
            return inner
    return error


def _is_bare(error: object) -> TypeGuard[ConnectionResetError]:
    return isinstance(error, ConnectionResetError) and not error.args


def _unverified(error: ssl.SSLCertVerificationError, ca: str, name: str) -> str:
    code = error.verify_code
    if code in {_NAME, _ADDRESS}:
        return f"its certificate is for another name than the URL's host: {name}"
    if code == _EXPIRED:
        return "its certificate has expired: it needs a new one (or is this machine's clock wrong?)"
    if code == _NOT_YET:
        return "its certificate isn't valid yet: is this machine's clock right?"
    if code == _PURPOSE:
        return "its certificate isn't one for servers: it needs another"
    if why := _UNTRUSTED.get(code):
        return f"its certificate isn't trusted: {why}; name the file with its CA's certificate, or its own, {ca}"
    return f"its certificate isn't trusted: {error.verify_message}"
