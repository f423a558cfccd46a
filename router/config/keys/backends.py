"""`backends`: the places that requests can be sent to, and how the router starts those that are its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar

from pydantic import (
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from router.config.keys.groups import all_hidden, as_it_is, each, each_item, each_value, faulty, mapping
from router.config.keys.launches import LaunchConfig
from router.config.keys.prices import PriceConfig, Prices
from router.config.keys.section import Section, setting
from router.config.keys.tls import BackendTlsConfig
from router.config.keys.units import Duration, Size, lasting, sized
from router.config.keys.values import (
    TEXT,
    MaybeSecret,
    Number,
    Url,
    Whole,
    absent_if_empty,
    file_name,
    header,
    host_and_port,
    model_name,
    path,
    text,
)
from router.config.keys.wake import Mac
from router.config.problems import Fault, repeated
from router.config.scalars import FromEnvironment

HEALTH = "/health"
"""The path of a probe, unless router.yaml says another."""

_ADDRESS = re.compile(r"[0-9.]+")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_WRITTEN = frozenset({
    "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
    "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "x-request-id",
})  # fmt: skip
_WORDS = {"type": ["object", "null"], "additionalProperties": TEXT}


def _names(value: object) -> Mapping[str, str]:
    """Public name → the backend's own name. In a list both are the same."""
    if not isinstance(value, list | tuple):
        names = each_value(value, text)
        each(((name, name) for name in names), model_name)
        return names
    listing = each_item(value, model_name)
    if again := [Fault((index,), "{got} is listed twice") for index, _ in repeated(listing)]:
        raise faulty(again)
    return MappingProxyType(dict(zip(listing, listing, strict=True)))


def _headers(value: object) -> Mapping[str, SecretStr]:
    """Header lines by their names, in lower case; one whose value the environment leaves empty isn't sent."""
    given = mapping(value)
    faults = [Fault((name,), why) for name in given if (why := _unfit(name))]
    if again := [name for name, count in Counter(name.lower() for name in given).items() if count > 1]:
        faults += [Fault((name,), "stands here twice") for name in given if name.lower() in again]
    if faults:
        raise faulty(faults)
    said = {name: it for name, it in given.items() if not isinstance(it, FromEnvironment) or it}
    return MappingProxyType({name.lower(): SecretStr(it) for name, it in each_value(said, header).items()})


def _unfit(name: str) -> str:
    """Tell why a header can't be sent; nothing if it can."""
    if _HEADER.fullmatch(name) is None:
        return "is no name of a header"
    return "is a header that the router writes itself" if name.lower() in _WRITTEN else ""


def _probe(value: object) -> str:
    return "never" if value == "never" else path(value, "`never`, or a path")


def _host(url: str) -> str:
    """Name a router: by its host, where that tells it from others."""
    place = host_and_port(url)
    host = place.rpartition(":")[0]
    return place if host == "localhost" or host[-1] == "]" or _ADDRESS.fullmatch(host) else host


Headers = Annotated[
    Mapping[str, SecretStr],
    PlainValidator(_headers),
    all_hidden,
    WithJsonSchema(_WORDS),
]
Probe = Annotated[
    str,
    PlainValidator(_probe),
    as_it_is,
    WithJsonSchema({"anyOf": [{"const": "never"}, {"title": "path", "type": "string", "pattern": "^/"}]}),
]
Names = Annotated[
    Mapping[str, str],
    PlainValidator(_names),
    PlainSerializer(dict, when_used="json"),
    WithJsonSchema(
        {"anyOf": [{"type": "array", "items": TEXT}, {"type": ["object", "null"], "additionalProperties": TEXT}]}
    ),
]


class BackendConfig(Section):
    """One place that requests can be sent to: a URL, or an engine that the router launches."""

    example: ClassVar[str] = """\
backends:
  - url: http://gpu-box:8000              # all that is needed: it is asked for its models
  - url: https://example.openai.azure.com/openai/v1?api-version=preview
    headers: {api-key: "${AZURE_KEY:-}"}
    probe: never                          # it is sent clients' requests alone
    models: {gpt-4o: my-deployment}
  - name: mac-mini
    url: http://mac-mini:8080
    models: {qwen2.5-7b: mlx-community/Qwen2.5-7B-Instruct-4bit}
    api_key: ${MAC_KEY:-}                 # none, where the environment has none
    weight: 2                             # takes twice what a backend of weight 1 takes
  - url: http://gaming-pc:8000
    wake: 00:11:22:33:44:55               # it sleeps, and is woken for a request that nothing else serves
  - router: http://mac-studio:8001        # another router: its models join, and are loaded there on demand
    api_key: ${STUDIO_KEY:-}
    admin_key: ${STUDIO_ADMIN_KEY:-}      # tells their states at once, and load times; without one they are asked for
"""

    # The order matters: each of the first five is checked against those before it.
    url: Url | None = setting(
        None,
        "Address of a server that runs already. A path in it is the base, behind which stands what clients' paths have "
        "behind /v1; without one, /v1 is the base. A query in it is sent with each request.",
    )
    router: Url | None = setting(
        None,
        "Address of another router of this kind, a peer. Each of its models is a backend here, named `NAME/MODEL`, "
        "with its state there: one that isn't loaded is loaded for a request, and the time for that counts where "
        "backends are compared. What it has from this router, or from another peer of this one, is left out.",
    )
    launch: LaunchConfig | None = setting(
        None, "How to start it here. A backend has one of `launch`, `url` and `router`."
    )
    name: Annotated[str, WithJsonSchema({"anyOf": [TEXT, {"type": "null"}]})] = setting(
        None,
        "Its name in logs and in /admin, different from all others. If left out, the host:port of the url; of a "
        "router, the host alone, unless that is an address or localhost.",
    )
    models: Names = setting(
        None,
        "Models it serves: a list, or a mapping of the name clients use to the name it knows. "
        "If left out, a url is asked for its models, a router tells all of its own, and a launched backend serves one "
        "of its own name. A router's routes are taken only where they are named here.",
    )
    api_key: MaybeSecret = setting(None, "Bearer token sent to it.")
    admin_key: MaybeSecret = setting(
        None,
        "Key of a router's management API. With it, all that changes there is told at once, with load times, queues "
        "and memory, and its models can be managed from here. Without it, its list of models is read now and then.",
    )
    headers: Headers = setting(
        {}, "Headers sent to a url with each request, in the place of clients' own, such as a key by another name."
    )
    tls: BackendTlsConfig | None = setting(None, BackendTlsConfig.__doc__ or "")
    probe: Probe = setting(
        HEALTH,
        "Path that shows whether a url lives, by any answer below 500; it counts from the url's path, without a /v1 at "
        "its end. `never`: its health is known from clients' requests alone, and its load isn't read either.",
    )
    weight: Annotated[Number, Field(gt=0, le=1000)] = setting(1.0, "Capacity hint before anything is measured.")
    max_in_flight: Annotated[Annotated[Whole, Field(ge=1, le=100_000)] | None, absent_if_empty] = setting(
        None, "Most requests sent to it at a time; of a router, to each of its models."
    )
    max_prompt_bytes: Annotated[Annotated[Size, sized("1KiB", "1TiB")] | None, absent_if_empty] = setting(
        None, "Most bytes of request bodies that it works on at a time; a larger request is sent there alone."
    )
    wake: Annotated[Mac | None, absent_if_empty] = setting(
        None,
        "Hardware address of its machine's network card, if that machine sleeps: it is woken (Wake-on-LAN) when a "
        "request wants one of its models and nothing else serves it (docs/machines.md). Probes and lists of models "
        "wake nobody.",
    )
    # A PC that was shut down starts, and its servers with it, within two minutes; one that sleeps takes seconds.
    wake_timeout: Annotated[Duration, lasting("1s", "1h")] = setting(
        "2m", "How long requests wait for its machine to wake, before they are told that it doesn't."
    )
    price: PriceConfig | None = setting(
        None, "What a million tokens of its models cost, for usage and budgets in money."
    )
    prices: Prices = setting({}, "The same for single models, by the names that clients use; it goes before `price`.")

    @property
    def elsewhere(self) -> str | None:
        """The address of what runs elsewhere: a server, or another router; None: it is launched here."""
        return self.router or self.url

    @property
    def here(self) -> LaunchConfig | None:
        """How it is started on this machine; None: it runs elsewhere, perhaps on a cluster."""
        return None if self.launch is None or self.launch.on is not None else self.launch

    @field_validator("launch")
    @classmethod
    def _one_of_three(cls, launch: LaunchConfig | None, info: ValidationInfo) -> LaunchConfig | None:
        elsewhere = [info.data[key] for key in ("url", "router") if key in info.data]
        if len(elsewhere) == 2 and sum(each is not None for each in (*elsewhere, launch)) != 1:
            places = "`url` (it runs elsewhere), `launch` (it is started here) or `router` (another router)"
            raise ValueError(f"a backend has either {places}")
        return launch

    @field_validator("wake")
    @classmethod
    def _only_of_another_machine(cls, wake: str | None, info: ValidationInfo) -> str | None:
        if wake is not None and info.data.get("launch") is not None:
            raise ValueError("this is for another machine: a launched engine runs on this one")
        return wake

    @field_validator("admin_key")
    @classmethod
    def _only_of_a_router(cls, key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if key is not None and info.data.get("router") is None and info.data.keys() >= {"url", "router", "launch"}:
            raise ValueError("this is for a `router`: nothing else has a management API of this kind")
        return key

    @field_validator("headers", "probe")
    @classmethod
    def _only_of_a_url(cls, value: object, info: ValidationInfo) -> object:
        if info.data.get("launch") is not None and value not in ({}, HEALTH):
            raise ValueError("this is for a `url`: a launched engine is probed and sent requests as its kind needs")
        if isinstance(value, Mapping) and "authorization" in value and info.data.get("api_key") is not None:
            raise ValueError("`api_key` is the authorization header: write one of the two")
        if info.data.get("router") is not None and isinstance(value, str) and value != HEALTH:
            raise ValueError("this is for a `url`: whether a router lives is known without it")
        return value

    @field_validator("tls")
    @classmethod
    def _only_with_https(cls, tls: BackendTlsConfig | None, info: ValidationInfo) -> BackendTlsConfig | None:
        url = info.data.get("url") or info.data.get("router")
        if tls is not None and info.data.get("launch") is not None:
            raise ValueError("this is for a `url`: a launched engine is asked at this machine's own address")
        if tls is not None and url is not None and not url.startswith("https:"):
            raise ValueError("this is for a url that begins with https://, and this one doesn't")
        return tls

    @field_validator("name", mode="before")
    @classmethod
    def _is_named(cls, name: object, info: ValidationInfo) -> str:
        url, peer, launch = (info.data.get(key) for key in ("url", "router", "launch"))
        if name is not None:
            return file_name(name) if launch else text(name)
        if launch:
            raise ValueError("a launched backend needs a name: its log file has it")
        # Without a url, an error is reported, and nobody sees the name.
        return host_and_port(url) if url else _host(peer) if peer else "unnamed"

    @field_validator("models", mode="before")
    @classmethod
    def _serves_something(cls, models: object, info: ValidationInfo) -> object:
        launched = info.data.get("launch") is not None
        if models is None:
            return [info.data["name"]] if launched and "name" in info.data else []
        if launched and models in ([], (), {}):
            raise ValueError("a launched backend serves at least one model; left out, it is one of its own name")
        return models
