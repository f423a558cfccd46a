"""The certificate that the router shows to its clients: loaded whole with its key, and tried, before it is used.

The two files are replaced one after the other when a certificate is renewed, by whoever does that. So they are read,
loaded, and read again: what has changed meanwhile isn't taken. Then a client in memory makes a handshake with them.
That tells what no look at the files would: that the two work together, with which names, and how long.
"""

import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NoReturn

from router.config.keys.tls import ServerTlsConfig
from router.tls.faults import TlsError, certificates_in, key_in, read

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: those with forward secrecy that authenticate what they encrypt. Those of 1.3 all do."""

NO_CHECK_TIME: Final = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python's ssl has no name for."""

SOON: Final = 14 * 86400.0
"""Seconds before its end from which on a certificate's date deserves a look: renewals come a month ahead."""

_FIRST = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that can be used. `names` are the hosts that it is for; `ends` is in seconds since the epoch.

    `digest` is that of both files. One that `is_self_signed` has no CA: clients have to be given it.
    """

    context: ssl.SSLContext = field(repr=False)
    names: tuple[str, ...]
    begins: float
    ends: float
    digest: str = field(repr=False)
    is_self_signed: bool = False

    @property
    def until(self) -> str:
        """The day on which it ends."""
        return time.strftime("%Y-%m-%d", time.gmtime(self.ends))

    def late(self, now: float) -> str:
        """Say that no client takes it at this time; empty if they do."""
        if now > self.ends:
            return f"it has expired, on {self.until}"
        if now < self.begins:
            return f"it isn't valid before {time.strftime('%Y-%m-%d', time.gmtime(self.begins))}"
        return ""

    def __str__(self) -> str:
        """For whom it is, and how long: `router.lan, 127.0.0.1, until 2027-03-01`."""
        return f"{', '.join(self.names) or 'no name'}, until {self.until}"


def files_of(config: ServerTlsConfig, folder: Path) -> tuple[Path, Path]:
    """Give the files of the certificate and of its key; relative paths count from router.yaml's folder."""
    return folder / Path(config.cert).expanduser(), folder / Path(config.key).expanduser()


def load(cert: Path, key: Path) -> Certificate:
    """Load a certificate with its key, and try it. Blocks. Raises TlsError."""
    context = _context()
    files = put_into(context, cert, key)
    told = _tried(context, cert, files[0])
    names = tuple(dict.fromkeys(str(name) for _, name in told.get("subjectAltName", ())))
    begins, ends = (float(ssl.cert_time_to_seconds(str(told[each]))) for each in ("notBefore", "notAfter"))
    alone = told.get("issuer") == told.get("subject")
    return Certificate(context, names, begins, ends, sha256(b"\0".join(files)).hexdigest(), is_self_signed=alone)


def put_into(context: ssl.SSLContext, cert: Path, key: Path) -> tuple[bytes, bytes]:
    """Have a context show a certificate; give the files' bytes. Raises TlsError."""
    files = _read(cert, key)
    certificates_in(cert, files[0], "cert")
    key_in(key, files[1])
    try:
        context.load_cert_chain(cert, key, password=_encrypted)
    except ssl.SSLError as error:
        raise _unfit(cert, key, error) from error
    except OSError as error:
        raise TlsError("cert", f"{cert}: it can't be read ({error.strerror or error})") from error
    if _read(cert, key) != files:
        raise TlsError("cert", f"{cert}: it, or its key, is being written")
    return files


def _read(cert: Path, key: Path) -> tuple[bytes, bytes]:
    return read(cert, "cert"), read(key, "key")


def _encrypted() -> NoReturn:
    raise ssl.SSLError(1, "encrypted")


def _context() -> ssl.SSLContext:
    """Make a server's context: TLS 1.2 and 1.3, no renegotiation, no compression, HTTP/1.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    return context


def _unfit(cert: Path, key: Path, error: ssl.SSLError) -> TlsError:
    if error.reason == "KEY_VALUES_MISMATCH":
        return TlsError("key", f"{key}: it isn't the key of the certificate in {cert}")
    if error.reason in {"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"}:
        return TlsError("cert", f"{cert}: its key or its signature is too weak for clients of today: make a new one")
    broken = _broken(cert)
    which, path = ("cert", cert) if broken else ("key", key)
    return TlsError(which, f"{path}: it is broken, or wasn't written to its end ({error.reason or error})")


def _broken(cert: Path) -> bool:
    """Whether the certificate can't be read, so that the key may be right."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=cert)
    except (ssl.SSLError, OSError):
        return True
    return False


def _tried(server: ssl.SSLContext, cert: Path, data: bytes) -> Mapping[str, Any]:
    """Make a handshake in memory; give what a client learns of the certificate. Raises TlsError."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(there, back, server_side=True)
    theirs = pinned(data, cert).wrap_bio(back, there)
    waiting = [theirs, ours]
    try:
        # A handshake takes two steps of each; a few more do no harm.
        for each in waiting * 4:
            try:
                each.do_handshake()
            except ssl.SSLWantReadError:
                continue
    except ssl.SSLError as error:
        why = getattr(error, "verify_message", "") or error.reason or str(error)
        raise TlsError("cert", f"{cert}: clients can't use it ({why})") from error
    return theirs.getpeercert() or {}


def pinned(data: bytes, path: Path) -> ssl.SSLContext:
    """Make the context of a client that takes the first certificate of a file, and no other, at any time, by any name.

    Raises TlsError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    first = _FIRST.search(data)
    try:
        context.load_verify_locations(cadata="" if first is None else first[0].decode("ascii", "replace"))
    except (ssl.SSLError, ValueError) as error:
        raise TlsError("cert", f"{path}: it is broken, or wasn't written to its end") from error
    return context
