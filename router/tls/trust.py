"""What a client of ours trusts: the proxy of its backends, the command line of a router.

A context is made once for all connections of one kind, and again when its files have changed: a renewed certificate is
shown, and a renewed CA trusted, by the connections to come. Files that can't be used any more change nothing.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from launchers.files import Stamp, stamp
from router.config.keys.tls import BackendTlsConfig
from router.tls.certificate import put_into
from router.tls.faults import TlsError, certificates_in, read

log = structlog.get_logger("router")


@dataclass(frozen=True, slots=True)
class Trust:
    """How a server is known: by the CAs of this system, or those in `ca`; not at all unless it is to `verify`.

    `cert` and `key` are what the router shows there. `name` is the one that its certificate has, if it isn't the host.
    """

    verify: bool = True
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    name: str = ""

    @classmethod
    def of(cls, config: BackendTlsConfig | None, folder: Path) -> "Trust":
        """Read it from router.yaml, from whose folder relative paths count."""
        if config is None:
            return SYSTEM
        ca, cert, key = (
            None if each is None else folder / Path(each).expanduser() for each in (config.ca, config.cert, config.key)
        )
        return cls(config.verify, ca, cert, key, config.name or "")

    @property
    def _files(self) -> list[str]:
        return [str(each) for each in (self.ca, self.cert, self.key) if each is not None]

    def stamp(self) -> Stamp:
        """What shows that its files have changed."""
        return stamp(self._files) if self._files else ()


UNVERIFIED: Final = (
    "its certificate isn't checked (tls.verify: false): whoever sits between can read and change all that is sent; "
    "tls.ca names a certificate to trust instead"
)
"""What is said of a backend that may be anybody."""

SYSTEM: Final = Trust()
"""Servers that the whole world trusts."""

MOST: Final = 256
"""Contexts that are kept, those of earlier versions of router.yaml among them."""

_MADE: Final[dict[Trust, tuple[Stamp, ssl.SSLContext]]] = {}


def context_of(trust: Trust) -> ssl.SSLContext:
    """Give the context for these servers. Blocks for milliseconds the first time. Raises TlsError."""
    now, (then, context) = trust.stamp(), _MADE.get(trust, ((), None))
    if context is not None and now == then:
        return context
    try:
        context = _made(trust)
    except TlsError as error:
        if context is None:
            raise
        log.warning(f"a backend's tls.{error.key}: what is new isn't taken, and what was before stays: {error}")
    if len(_MADE) >= MOST:
        _MADE.clear()
    _MADE[trust] = now, context
    return context


def _made(trust: Trust) -> ssl.SSLContext:
    context = trusting(trust.ca, "ca") if trust.verify else _trusting_all()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # What answers at the port may speak HTTP/2, too.
    context.set_alpn_protocols(["http/1.1"])
    if trust.cert is not None and trust.key is not None:
        put_into(context, trust.cert, trust.key)
    return context


def trusting(ca: Path | None, key: str) -> ssl.SSLContext:
    """Make a context that trusts the certificates of a file, be they of CAs or not; without one, this system's CAs.

    Raises TlsError, which names the file by this `key`.
    """
    if ca is None:
        return ssl.create_default_context()
    certificates_in(ca, read(ca, key), key)
    try:
        context = ssl.create_default_context(cafile=ca)
    except (ssl.SSLError, OSError) as error:
        raise TlsError(key, f"{ca}: it is broken, or wasn't written to its end") from error
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _trusting_all() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
