"""Who may ask without a key, and which pages may read the answers. Pure: it decides by what a request's head says.

Whatever reaches the port of a router without keys may use it. So what reaches it must come from this machine and from
no page of another site. A browser says where a page is from, and can't be made to lie by that page:

    Host             A page whose name was made to point here (DNS rebinding) still sends its own name. So the Host is
                     an address, localhost or a name of server.hosts. Only a browser can be misled, and every browser
                     sends a Host: a client without one passes.
    Origin           A page of another site sends its origin with whatever it could read or change. So it is the
                     router's own, or one of server.cors. `null` (a sandboxed frame, a file) is nobody's.
    Sec-Fetch-Site   Where there is no Origin (images, scripts, frames), this still tells a page of another site. A
                     person who follows a link is let in: nobody but that person sees the answer.
    Forwarded, …     A reverse proxy on this machine makes everybody look local. So nothing forwarded is.

A key is no cookie: no page has it unless it was given one. Whoever shows a valid key is asked nothing of the above.
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
_OWN_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_REMEMBERED = 256  # different texts of a header: nearly always there are a few
_MOST_SHOWN = 100  # letters of what a client said

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
    """Tell whether a header of this name, in lower case, is a proxy's word about its client."""
    return name in _FORWARDED or name.startswith(_FORWARDED_BEGINS) or name.endswith(_FORWARDED_ENDS)


class Asked(NamedTuple):
    """What a request's head says of where it comes from."""

    hosts: tuple[str, ...] = ()  # each that it names
    origins: tuple[str, ...] = ()
    site: str = ""  # Sec-Fetch-Site
    is_visit: bool = False  # whether a person opened it in a window of its own
    forwarded: str = ""  # the header that says that it came through a proxy


NOTHING_SAID = Asked()


def asked_of(headers: Iterable[tuple[bytes, bytes]], authority: str = "") -> Asked:
    """Gather it from a head's headers, their names in lower case, and from its target's authority, if it has one."""
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
    """Decides who may ask without a key, and which pages may read answers.

    `hosts` are names that are answered beside addresses and localhost; `*.example.org` is every name that ends so.
    `cors` are origins of other pages. With `is_open`, other machines may ask without a key: what is forwarded, too.
    """

    def __init__(self, hosts: Iterable[str] = (), cors: Iterable[str] = (), *, is_open: bool = False) -> None:
        self._names = _any_of([_name(host) for host in hosts])
        self._named = _any_of(list(cors))
        self._is_open = is_open

    def check(self, asked: Asked) -> None:
        """Raise ForbiddenError for who may not use the models without a key."""
        self._check_hosts(asked)
        if asked.forwarded and not self._is_open:
            raise ForbiddenError(
                f"The request came through a proxy, as its {asked.forwarded} says, and only this machine may ask "
                "without a key. Set auth.keys and send one, or auth.open: true to let in whoever the proxy lets in."
            )
        if not asked.origins:
            _check_site(asked)
        elif not self.reader(asked):
            raise unnamed(asked)

    def check_admin(self, asked: Asked, remote: str, *, http11: bool = True) -> None:
        """Raise UnauthorizedError or ForbiddenError for who may not manage the router without an admin key.

        `remote` is the address of the connection's other end. Origins of server.cors are for the models alone. What
        isn't `http11` counts as forwarded: nginx, of itself, says so of no request but asks by HTTP/1.0.
        """
        if not is_loopback(remote) or asked.forwarded or not http11:
            raise UnauthorizedError(
                "From another machine, or through a proxy, this needs a key: set auth.admin_keys in router.yaml."
            )
        self._check_hosts(asked)
        if not asked.origins:
            _check_site(asked)
        elif not self._is_own(asked):
            raise ForbiddenError(
                f"A page of another origin, {_shown(asked.origins)}, needs a key here: set auth.admin_keys."
            )

    def reader(self, asked: Asked) -> str:
        """Give the origin whose page may read the answer; empty: none may."""
        if len(asked.origins) == 1 and (self._is_named(asked.origins[0]) or self._is_own(asked)):
            return asked.origins[0]
        return ""

    def _check_hosts(self, asked: Asked) -> None:
        if not self._answers(asked):
            raise ForbiddenError(
                f"The Host {_shown(asked.hosts)} isn't one that is answered without a key. "
                "Name it in server.hosts, or set auth.keys and send one."
            )

    def _answers(self, asked: Asked) -> bool:
        """Tell whether every Host is one of ours."""
        for host in asked.hosts:
            authority = _authority(host)
            if authority is None or not (_is_address(authority[0]) or self._is_own_name(authority[0])):
                return False
        return True

    def _is_own_name(self, name: str) -> bool:
        return name in _OWN_NAMES or (self._names is not None and self._names.fullmatch(name) is not None)

    def _is_named(self, origin: str) -> bool:
        return self._named is not None and self._named.fullmatch(origin.lower()) is not None

    def _is_own(self, asked: Asked) -> bool:
        """Tell whether the page is the router's own: of the Host that it asks, or of another name for it."""
        if len(asked.origins) != 1 or len(asked.hosts) != 1 or not self._answers(asked):
            return False
        origin, host = _origin(asked.origins[0]), _authority(asked.hosts[0])
        if origin is None or host is None:
            return False
        scheme, name, port = origin
        if port != (host[1] or _PORTS[scheme]):
            return False
        return name == host[0] or (self._is_own_name(name) and self._is_own_name(host[0]))


def unnamed(asked: Asked) -> ForbiddenError:
    """Say that a page may not ask, and what would let it."""
    more = " That needs auth.keys, too: every page can take on this origin." if "null" in asked.origins else ""
    return ForbiddenError(
        f"The page's origin {_shown(asked.origins)} isn't one that may ask. Name it in server.cors.{more}"
    )


def is_loopback(remote: str) -> bool:
    """Tell whether an address is this machine's own to itself."""
    try:
        address = ip_address(remote)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def is_wide(host: str) -> bool:
    """Tell whether listening at a host lets other machines in; of a name, only localhost is known not to."""
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
    """Part `host:port`, the host in lower case and without the dot at its end; None if it is none."""
    match = _AUTHORITY.fullmatch(said.lower())
    return None if match is None else (_name(match[1]), match[2] or "")


@lru_cache(maxsize=_REMEMBERED)
def _origin(said: str) -> tuple[str, str, str] | None:
    """Part the origin of a page on the web: its scheme, host and port; None if it is anything else."""
    match = _ORIGIN.fullmatch(said.lower())
    if match is None or match[1] not in _PORTS or match[2] is None:
        return None
    return match[1], _name(match[2]), match[3] or _PORTS[match[1]]


def _name(host: str) -> str:
    return host.lower().removesuffix(".")


@lru_cache(maxsize=_REMEMBERED)
def _is_address(host: str) -> bool:
    """Tell whether a host is an address in its usual form: no name server was asked for it."""
    try:
        if host.startswith("["):
            IPv6Address(host[1:-1])
        else:
            IPv4Address(host)
    except ValueError:
        return False
    return True


def _any_of(patterns: list[str]) -> re.Pattern[str] | None:
    """Compile names or origins: `*` is any part of a host, as a port any port, and by itself anything at all."""
    return re.compile("|".join([_compiled(pattern) for pattern in patterns])) if patterns else None


def _compiled(pattern: str) -> str:
    if pattern == "*":
        return ".*"
    before, any_port, _ = pattern.lower().partition(":*")
    return re.escape(before).replace(r"\*", "[a-z0-9._-]+") + ("(?::[0-9]+)?" if any_port else "")


def _shown(said: Iterable[str]) -> str:
    """Show what a client said, shortened."""
    words = " and ".join([f"'{each[:_MOST_SHOWN]}'" for each in said])
    return words[: 2 * _MOST_SHOWN]
