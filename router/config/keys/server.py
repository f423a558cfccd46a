"""`server`: where the router listens, and whom it answers without a key."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from router.config.keys.groups import listed
from router.config.keys.section import Section, setting
from router.config.keys.tls import ServerTlsConfig
from router.config.keys.values import Address, HostName, Origin, Switch, Whole, choice

Discover = Annotated[Literal["mdns"], choice("a way to find routers", "mdns")]


class ServerConfig(Section):
    """Where the router listens."""

    example: ClassVar[str] = """\
server:
  host: 0.0.0.0          # let other machines in; auth.keys says which clients
  port: 8080
  hosts: [router.lan]
  cors: ["https://chat.example.org", "http://localhost:*"]
auth: {keys: ["${ROUTER_KEY:-change-me}"]}
"""

    host: Address = setting(
        "127.0.0.1",
        "Address to listen at. 0.0.0.0 is every network of this machine, `::` includes IPv6; both need auth.keys or "
        "auth.open.",
    )
    port: Annotated[Whole, Field(ge=0, le=65535)] = setting(8001, "Port to listen at; 0 takes a free one.")
    ollama_port: Annotated[Whole, Field(ge=0, le=65535)] | None = setting(
        None,
        "Port to listen at, too, for programs that look for Ollama: 11434 is Ollama's. If left out, only `port`, which "
        "answers the same requests.",
    )
    tls: ServerTlsConfig | None = setting(None, ServerTlsConfig.__doc__ or "")
    keep_engines: Switch = setting(
        default=False,
        meaning="Whether launched engines run on when the router stops; its next start takes them over.",
    )
    hosts: Annotated[tuple[HostName, ...], BeforeValidator(listed)] = setting(
        (),
        "Host names of this machine that clients without a key may use, besides localhost and addresses; "
        "*.example.org is every name that ends so.",
    )
    discover: Discover | None = setting(
        None,
        "`mdns`: find other routers on the network, and let them find this one where its address isn't loopback alone "
        "(docs/machines.md). They are shown, and used only if `backends` names them. "
        "`pip install 'llm-engine-router[mdns]'`.",
    )
    cors: Annotated[tuple[Origin, ...], BeforeValidator(listed)] = setting(
        (),
        "Origins of web pages and browser extensions that may ask, such as http://localhost:*, "
        "chrome-extension://*, app://obsidian.md. With auth.keys, * is every page.",
    )
