"""What is known of other routers on the network, by what they announce. Pure.

Whoever is on the network can announce anything, so all of it is bounded and made harmless here: a name is letters,
digits and a few marks, an address is one that parses, and no more than `MOST` routers are kept. What is announced is
shown to people, and used for nothing else.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

MOST: Final = 32
"""Routers that are kept: more than a household has, and few enough to be read."""

_MOST_NAME: Final = 63
_MOST_ADDRESSES: Final = 4
_ODD: Final = re.compile(r"[^A-Za-z0-9._() -]+")
_HOST: Final = re.compile(r"[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,4}\.?", re.IGNORECASE)
_VERSION: Final = re.compile(r"[0-9][0-9A-Za-z.+-]{0,31}")


class Neighbour(NamedTuple):
    """Another router: its name, its addresses with IPv4 first, its port, its version (empty: unknown).

    `host` is its name on the network, empty if it tells none. `tls`: it is asked by HTTPS. `keyed`: it wants a key.
    """

    name: str
    addresses: tuple[str, ...]
    port: int
    host: str
    version: str
    tls: bool
    keyed: bool

    @property
    def url(self) -> str:
        """Where it is asked. A certificate is for a name, an address is found without one."""
        host = self.host if self.tls and self.host else self.addresses[0]
        return f"{'https' if self.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def entry(self) -> str:
        """What to write into router.yaml to use it."""
        return f"- {{router: {self.url}, api_key: …}}" if self.keyed else f"- router: {self.url}"


def properties(version: str, instance: str, host: str, *, tls: bool, keyed: bool) -> dict[str, str]:
    """Give what a router announces of itself beside its address: no model, and nothing that only a key would show."""
    return {"version": version, "id": instance, "host": host, "tls": str(int(tls)), "key": str(int(keyed))}


def plain(name: str) -> str:
    """Make a name harmless: in a terminal, in a log, in a page."""
    return _ODD.sub("?", name[:_MOST_NAME]).strip() or "?"


def read(name: str, addresses: Iterable[str], port: int | None, said: Mapping[bytes, bytes | None]) -> Neighbour | None:
    """Read an announcement; None: it leads nowhere."""
    found = []
    for each in addresses:
        with suppress(ValueError):
            address = ipaddress.ip_address(each)
            # A link-local IPv6 address is none without the network's own number.
            if not (address.is_unspecified or address.is_multicast or (address.version == 6 and address.is_link_local)):
                found.append(address)
    found = sorted(dict.fromkeys(found), key=lambda each: each.version)[:_MOST_ADDRESSES]
    if not found or port is None or not 0 < port < 65536:
        return None
    version = _text(said, b"version")
    host = _text(said, b"host").rstrip(".").lower()
    return Neighbour(
        plain(name),
        tuple(map(str, found)),
        port,
        host if _HOST.fullmatch(host) else "",
        version if _VERSION.fullmatch(version) else "",
        _text(said, b"tls") == "1",
        _text(said, b"key") == "1",
    )


def instance_of(said: Mapping[bytes, bytes | None]) -> str:
    """Give the announced id of a router's process, to know one's own by."""
    return _text(said, b"id")


def _text(said: Mapping[bytes, bytes | None], key: bytes) -> str:
    return (said.get(key) or b"")[:64].decode("ascii", "replace")


class Neighbours:
    """The routers that have announced themselves and not gone, by the names of their announcements."""

    def __init__(self) -> None:
        self._known: dict[str, Neighbour] = {}

    def has_room(self, name: str) -> bool:
        """Whether one more may be kept, if this is a new one."""
        return name in self._known or len(self._known) < MOST

    def heard(self, name: str, neighbour: Neighbour | None) -> bool:
        """Note what was announced under a name; tell whether that is a new router, or another address."""
        if neighbour is None:
            self.gone(name)
            return False
        if not self.has_room(name):
            return False
        before, self._known[name] = self._known.get(name), neighbour
        return before != neighbour

    def gone(self, name: str) -> None:
        """Forget a router that has gone."""
        self._known.pop(name, None)

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()

    def told(self) -> list[Neighbour]:
        """Give them, in the order of their names."""
        return sorted(self._known.values())
