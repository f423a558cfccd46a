"""Which requests are answered without a key, and which pages may read the answers. Pure: it decides by the head alone.

Whatever reaches the port of a router without keys could use it. So a request must come from this machine, and not from
a page of another site. A browser says where a page is from, and the page can't make it lie:

    Host             A page whose name was made to point here (DNS rebinding) still sends its own name. So the Host
                     must be an address, localhost or a name of server.hosts. Only a browser can be misled, and every
                     browser sends a Host, so a client without one passes. A name without a dot, as machines have on
                     a network of their own, can't be registered: programs, which send no Origin, may use the models
                     by it, but not manage the router.
    Origin           A page of another site sends its origin with every request that it could read or that changes
                     anything. So the origin must be the router's own or one of server.cors. `null` (a sandboxed frame,
                     a file) is never allowed by itself.
    Sec-Fetch-Site   Without an Origin (images, scripts, frames), this still shows a page of another site. A person who
                     follows a link is let in: only that person sees the answer.
    Forwarded, …     A reverse proxy on this machine makes all its clients look local. So nothing forwarded counts as
                     local.

A key is no cookie: a page has it only if it was given one. With a valid key, none of the above is checked.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from router.core.errors import ForbiddenError, UnauthorizedError

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+(?:%[a-z0-9._~%-]+)?\]|[a-z0-9._-]+)(?::([0-9]{0,5}))?")
_ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://(?:{_AUTHORITY.pattern})?")
_PORTS = {"http": "80", "https": "443"}
_LOCAL_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_OWN_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_REMEMBERED = 256
"""Parsed values that are cached of each header: nearly always there are a few."""

_MOST_SHOWN = 100
"""Letters of a client's header that an error message shows."""

_FORWARDED = frozenset({
    b"forwarded",
    b"via",
    b"cdn-loop",
    b"x-azure-clientip",
    b"x-envoy-external-address",
    b"x-proxyuser-ip",
    b"x-real-ip",
})  # fmt: skip
_FORWARDED_BEGINS = (b"x-forwarded", b"x-original-", b"tailscale-")
_FORWARDED_ENDS = (b"client-ip", b"connecting-ip", b"forwarded-for", b"remote-ip", b"remote-addr")


def is_forwarded(name: bytes) -> bool:
    """Tell whether a header of this name, in lower case, is one that proxies add about their clients."""
    return name in _FORWARDED or name.startswith(_FORWARDED_BEGINS) or name.endswith(_FORWARDED_ENDS)


def is_for_page(method: str, path: str, accept: str) -> bool:
    """Tell whether a browser asks for the web page, or a file of it. Everybody may have these: they tell nothing."""
    return method in {"GET", "HEAD"} and (path.startswith("/web/") or (path == "/" and "text/html" in accept))


class Asked(NamedTuple):
    """Where a request comes from, by its head: all its Hosts and Origins, and Sec-Fetch-Site (`site`).

    `is_visit`: a person opened it in a window of its own. `forwarded` is the header that shows a proxy; empty: none.
    """

    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    site: str = ""
    is_visit: bool = False
    forwarded: str = ""


NOTHING_SAID = Asked()


def asked_of(headers: Iterable[tuple[bytes, bytes]], authority: str = "") -> Asked:
    """Read it from the headers, their names in lower case, and from the target's authority, if it has one."""
    hosts, origins = [authority] if authority else [], []
    site = mode = into = forwarded = ""
    for name, value in headers:
        if name == b"host":
            hosts.append(value.decode("latin-1"))
        elif name == b"origin":
            origins.append(value.decode("latin-1"))
        elif name == b"sec-fetch-site":
            site = value.decode("latin-1")
        elif name == b"sec-fetch-mode":
            mode = value.decode("latin-1")
        elif name == b"sec-fetch-dest":
            into = value.decode("latin-1")
        elif is_forwarded(name):
            forwarded = name.decode("latin-1")
    return Asked(tuple(hosts), tuple(origins), site, mode == "navigate" and into == "document", forwarded)


class Access:
    """Decides which requests are answered without a key, and which pages may read the answers.

    `hosts` are Host names that are answered, besides addresses and localhost; `*.example.org` is every name that ends
    so. `cors` are the allowed origins of other pages. With `is_open`, other machines need no key, also through a proxy.
    With `tls`, clients reach the router by https alone, and so does its own page.
    """

    def __init__(
        self, hosts: Iterable[str] = (), cors: Iterable[str] = (), *, is_open: bool = False, tls: bool = False
    ) -> None:
        self._names = _any_of([_name(host) for host in hosts])
        self._named = _any_of(list(cors))
        self._is_open = is_open
        self._tls = tls

    def check(self, asked: Asked) -> None:
        """Raise ForbiddenError if a request may not use the models without a key."""
        self._check_hosts(asked, local=not asked.origins)
        if asked.forwarded and not self._is_open:
            raise ForbiddenError(
                f"The request came through a proxy, as its {asked.forwarded} says, and only this machine may ask "
                "without a key. Set auth.keys and send one, or auth.open: true to let in whoever the proxy lets in."
            )
        if not asked.origins:
            _check_site(asked)
        elif not self.reader(asked):
            raise unnamed(asked)

    def check_admin(self, asked: Asked, remote: str, *, http11: bool = True, changes: bool = False) -> None:
        """Raise UnauthorizedError or ForbiddenError if a request may not manage the router without an admin key.

        One that `changes` something must not come from another site at all: there, a page can have its reader follow a
        link.

        `remote` is the address of the connection's other end. Origins in server.cors may only use the models. A request
        that isn't `http11` counts as forwarded: nginx by default adds no header, but uses HTTP/1.0.
        """
        if not is_loopback(remote) or asked.forwarded or not http11:
            raise UnauthorizedError(
                "From another machine, or through a proxy, this needs a key: set auth.admin_keys in router.yaml."
            )
        self._check_hosts(asked)
        if not asked.origins:
            _check_site(asked._replace(is_visit=False) if changes else asked)
        elif not self._is_own(asked):
            raise ForbiddenError(
                f"A page of another origin, {_shown(asked.origins)}, needs a key here: set auth.admin_keys."
            )

    def reader(self, asked: Asked) -> str:
        """Give the origin whose page may read the answer; empty: none may."""
        if len(asked.origins) == 1 and (self._is_named(asked.origins[0]) or self._is_own(asked)):
            return asked.origins[0]
        return ""

    def _check_hosts(self, asked: Asked, *, local: bool = False) -> None:
        if not self._answers(asked, local=local):
            raise ForbiddenError(
                f"The Host {_shown(asked.hosts)} isn't one that is answered without a key. "
                "Name it in server.hosts, or set auth.keys and send one."
            )

    def _answers(self, asked: Asked, *, local: bool = False) -> bool:
        """Tell whether every Host is one that is answered; with `local`, so is every name without a dot."""
        for host in asked.hosts:
            authority = _authority(host)
            if authority is None:
                return False
            name = authority[0]
            if not (_is_address(name) or self._is_own_name(name) or (local and _LOCAL_NAME.fullmatch(name))):
                return False
        return True

    def _is_own_name(self, name: str) -> bool:
        return name in _OWN_NAMES or (self._names is not None and self._names.fullmatch(name) is not None)

    def _is_named(self, origin: str) -> bool:
        return self._named is not None and self._named.fullmatch(origin.lower()) is not None

    def _is_own(self, asked: Asked) -> bool:
        """Tell whether the page is the router's own: its origin is the Host that it asks, or another name for it."""
        if len(asked.origins) != 1 or len(asked.hosts) != 1 or not self._answers(asked):
            return False
        origin, host = _origin(asked.origins[0]), _authority(asked.hosts[0])
        if origin is None or host is None:
            return False
        scheme, name, port = origin
        if port != (host[1] or _PORTS[scheme]) or (self._tls and scheme != "https"):
            return False
        return name == host[0] or (self._is_own_name(name) and self._is_own_name(host[0]))


def unnamed(asked: Asked) -> ForbiddenError:
    """Make the error for a page that isn't allowed; it says what would allow it."""
    more = " That needs auth.keys, too: every page can take on this origin." if "null" in asked.origins else ""
    return ForbiddenError(
        f"The page's origin {_shown(asked.origins)} isn't one that may ask. Name it in server.cors.{more}"
    )


def is_loopback(remote: str) -> bool:
    """Tell whether an address is a loopback address."""
    try:
        address = ip_address(remote)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def is_wide(host: str) -> bool:
    """Tell whether listening at an address lets other machines in. For a name, this isn't known: False."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return not is_loopback(host)


def _check_site(asked: Asked) -> None:
    if asked.site and asked.site not in {"same-origin", "none"} and not asked.is_visit:
        raise ForbiddenError("A page of another site asks, and without an Origin. Name its origin in server.cors.")


@lru_cache(maxsize=_REMEMBERED)
def _authority(said: str) -> tuple[str, str] | None:
    """Split `host:port`; the host in lower case, without a dot at its end. None if it isn't valid."""
    match = _AUTHORITY.fullmatch(said.lower())
    return None if match is None else (_name(match[1]), match[2] or "")


@lru_cache(maxsize=_REMEMBERED)
def _origin(said: str) -> tuple[str, str, str] | None:
    """Split the origin of a web page into scheme, host and port; None if it is anything else."""
    match = _ORIGIN.fullmatch(said.lower())
    if match is None or match[1] not in _PORTS or match[2] is None:
        return None
    return match[1], _name(match[2]), match[3] or _PORTS[match[1]]


def _name(host: str) -> str:
    return host.lower().removesuffix(".")


@lru_cache(maxsize=_REMEMBERED)
def _is_address(host: str) -> bool:
    """Tell whether a host is an IP address in its usual form, so that no name server was involved."""
    try:
        if host.startswith("["):
            IPv6Address(host[1:-1])
        else:
            IPv4Address(host)
    except ValueError:
        return False
    return True


def _any_of(patterns: list[str]) -> re.Pattern[str] | None:
    """Compile names or origins: `*` matches any part of a host, any port in a port's place, and alone everything."""
    return re.compile("|".join([_compiled(pattern) for pattern in patterns])) if patterns else None


def _compiled(pattern: str) -> str:
    if pattern == "*":
        return ".*"
    before, any_port, _ = pattern.lower().partition(":*")
    return re.escape(before).replace(r"\*", "[a-z0-9._-]+") + ("(?::[0-9]+)?" if any_port else "")


def _shown(said: Iterable[str]) -> str:
    """Quote a client's headers, shortened."""
    words = " and ".join([f"'{each[:_MOST_SHOWN]}'" for each in said])
    return words[: 2 * _MOST_SHOWN]
