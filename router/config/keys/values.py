"""Single values: text, numbers, switches, names, URLs, secrets; each with its error message.

A validator takes a value from YAML or from the environment (`scalars.FromEnvironment`), returns a plain immutable
value, and raises ValueError, with `{got}` in place of the value. Unions of pydantic are avoided: their errors mention
branches that users know nothing of. Lists and mappings are in `groups`, durations and sizes in `units`.
"""

from __future__ import annotations

import math
import re
from hashlib import sha256
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, SecretStr, WithJsonSchema

import launchers.engines
from router.config.problems import did_you_mean, either
from router.config.redact import HIDDEN
from router.config.scalars import FromEnvironment, read, typed
from router.core.paths import meant

if TYPE_CHECKING:
    from collections.abc import Callable

ENGINES = tuple(launchers.engines.ENGINES)
MOST_TEXT = 4096

Item = str | int | float | bool
"""An item in a list of an engine's arguments."""

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NAME = r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
_HOST_NAME = re.compile(_NAME, re.ASCII)
_ORIGIN = re.compile(
    rf"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\*|{_NAME}|\[[0-9a-f:.]+\])?(?::(?P<port>[0-9]{{1,5}}|\*))?", re.ASCII
)
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[\w.~!$&'()*+,;=:@%/-]*)?(?P<query>\?[\w.~!$&'()*+,;=:@%/?-]*)?",
    re.IGNORECASE | re.ASCII,
)
_REQUEST_FIELD = re.compile(r"[A-Za-z_][\w.-]{0,127}|/[\w./-]{1,127}", re.ASCII)
_PATH = re.compile(r"/[\w.~!$&'()*+,;=:@%/?-]*", re.ASCII)
_KEY_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_OF_NOTHING = sha256().hexdigest()
_ENDPOINT = re.compile(r"/(?:chat/completions|completions|embeddings|messages|responses)\Z")


def text(value: object) -> str:
    """Printable text, not empty. A whole number counts as text: see `scalars`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, bool | float):
        raise ValueError("expected text, got {got}; put it in quotes")
    if not isinstance(value, str):
        raise ValueError("expected text, got {got}")
    if not value.strip():
        raise ValueError("expected text, got an empty one")
    if not value.isprintable() or len(value) > MOST_TEXT:
        raise ValueError(f"expected one line of printable text, {MOST_TEXT} characters at most")
    return str(value)


def header(value: object) -> str:
    """Text for a header of HTTP. Blanks around it would get lost there; other letters are sent in different ways."""
    if (said := text(value).strip()).isascii():
        return said
    raise ValueError("expected ASCII text: it is sent in a header of HTTP")


def file_name(value: object) -> str:
    """Text that is safe as a file name on every system."""
    if _FILE_NAME.fullmatch(name := text(value)):
        return name
    raise ValueError(
        "expected a name of letters, digits, '.', '_' and '-' that starts with a letter or digit, got {got}"
    )


def model_name(value: object) -> str:
    """A model's name, as clients write it. Only routes may have patterns as names."""
    if "*" in (name := text(value)):
        raise ValueError("a model's name can't have a * in it: patterns are the names of `routes`")
    return name


def whole(value: object) -> int:
    """A whole number."""
    value = typed(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("expected a whole number, got {got}")


def number(value: object) -> int | float:
    """A finite number; a whole one stays an int."""
    value = typed(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    raise ValueError("expected a number, got {got}")


def plain(value: object) -> Item | None:
    """Text, a finite number, true, false or None; a word from the environment is read unless it had quotes.

    Text from the environment stays marked, because it must not be shown.
    """
    if isinstance(value, FromEnvironment) and value.unquoted:
        value = read(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected a finite number")
    if value is None or isinstance(value, bool | int | float):
        return value
    return program_text(value, "text, a number, true, false, null, or a list of these")


def program_text(value: object, expected: str) -> str:
    """Text that can be an argument or a variable of a program; it may be empty, or have several lines."""
    if not isinstance(value, str):
        raise ValueError(f"expected {expected}")
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError("a program can't be given this text: it has a character that is none")
    return value


def _switch(value: object) -> bool:
    value = typed(value)
    if isinstance(value, bool):
        return value
    raise ValueError("expected true or false, got {got}")


def _absent_if_empty(value: object) -> object:
    """`api_key: ${KEY:-}` means no key, as `api_key:` does."""
    return None if isinstance(value, FromEnvironment) and not value else value


def words(*choices: str) -> WithJsonSchema:
    """The JSON Schema of one of a few words."""
    return WithJsonSchema({"enum": list(choices), "type": "string"})


def choice(noun: str, *choices: str, other: Callable[[object], str] = lambda _: "") -> BeforeValidator:
    """One of a few words; errors call it `noun`, which has its article. `other` may know what another word means."""

    def check(value: object) -> str:
        if isinstance(value, str) and value in choices:
            return str(value)
        if known := other(value):
            raise ValueError(known)
        near = did_you_mean(value, choices) if isinstance(value, str) else None
        right = f"; did you mean {near!r}?" if near else f"; expected {either(choices)}"
        raise ValueError(f"{{got}} is not {noun}{right}")

    return BeforeValidator(check)


def url(value: object) -> str:
    """`http(s)://host[:port][/path][?query]`, the host in lower case, without a slash at the path's end."""
    match = _URL.fullmatch(text(value))
    if match is None:
        raise ValueError("expected http://host:port, with a path if there must be one, got {got}")
    if match["port"] and not 1 <= int(match["port"]) <= 65535:
        raise ValueError("expected a port from 1 to 65535 in the URL, got {got}")
    port, path = f":{int(match['port'])}" if match["port"] else "", (match["path"] or "").rstrip("/")
    if endpoint := _ENDPOINT.search(path):
        raise ValueError(f"the url is what stands before {endpoint[0]}: leave that out")
    query = match["query"] if match["query"] not in {None, "?"} else ""
    checked = f"{match['scheme']}://{match['host']}".lower() + port + path + query
    return FromEnvironment(checked) if isinstance(value, FromEnvironment) else checked


def path(value: object, expected: str = "a path") -> str:
    """A path of an HTTP server, with a query if there must be one."""
    if isinstance(value, str) and _PATH.fullmatch(value):
        return str(value)
    raise ValueError(f"expected {expected} such as /health, got {{got}}")


def path_pattern(value: object) -> str:
    """A pattern of paths, in the form that the router knows them by: `paths.meant`."""
    said = text(value)
    if said == "*":
        return said
    if not said.startswith("/") or _PATH.fullmatch(said) is None or "?" in said:
        raise ValueError("expected a path, such as /v1/* or /v1/chat/completions, got {got}")
    return meant(said.encode()).target.decode()


def key_hash(value: object) -> str:
    """The digits of a key's SHA-256."""
    match = _KEY_HASH.fullmatch(text(value).lower())
    if match is None:
        raise ValueError("expected sha256: and 64 hexadecimal digits, as `python -m router key new` prints them")
    if match[1] == _OF_NOTHING:
        raise ValueError("this is the hash of no text at all: whatever should have been the key was empty")
    return match[1]


def host_name(value: object) -> str:
    """A host name, in lower case; `*.example.org` is every name that ends so."""
    match = _HOST_NAME.fullmatch(said := text(value).lower().removesuffix("."))
    if match is None:
        raise ValueError("expected a host's name alone, such as router.lan or *.example.org, got {got}")
    return said


def request_field(value: object) -> str:
    """The name of a field in requests; or a path of an engine."""
    if _REQUEST_FIELD.fullmatch(said := text(value)):
        return said
    raise ValueError("expected the name of a field in requests, such as n_discard, or a path, got {got}")


def origin(value: object) -> str:
    """The origin of a web page as browsers send it, in lower case; or a pattern of origins; or `*`, or `null`."""
    said = text(value).lower()
    said = said if said.endswith("://") else said.removesuffix("/")
    match = _ORIGIN.fullmatch(said)
    if said in {"*", "null"}:
        return said
    if match is None:
        raise ValueError(
            "expected an origin, such as https://chat.example.org or http://localhost:*: no path behind it; got {got}"
        )
    if match["scheme"] in {"http", "https"}:
        if match["host"] in {None, "*"}:
            raise ValueError("{got} would be every page there is; '*' says so, and needs auth.keys")
        # Browsers leave out the default port.
        if match["port"] == ("80" if match["scheme"] == "http" else "443"):
            said = said.rpartition(":")[0]
    return said


def address(value: object) -> str:
    """An address or a name to listen at. An IPv6 address may be in brackets, as in URLs."""
    said = text(value).strip()
    inner = said[1:-1] if said.startswith("[") and said.endswith("]") else said
    try:
        return str(ip_address(inner))
    except ValueError:
        if inner is said and not any(letter in "[]/@ " for letter in said) and said.count(":") != 1:
            return said
    if match := re.fullmatch(r"([^:/@ ]+|\[[0-9a-f:]+\]):([0-9]{1,5})", said):
        raise ValueError(f"the port is a key of its own: write `host: {match[1]}` and `port: {match[2]}`")
    raise ValueError("expected an address or a name to listen at, such as 127.0.0.1, without a port, got {got}")


def _url_shown(checked: str) -> str:
    """A URL without its query; if it comes from the environment, without its path: some services take a key there."""
    base, query, _ = checked.partition("?")
    scheme, _, rest = base.partition("://")
    place, slash, _ = rest.partition("/")
    if slash and isinstance(checked, FromEnvironment):
        return f"{scheme}://{place}/{HIDDEN}"
    return f"{base}?{HIDDEN}" if query else base


def host_and_port(checked: str) -> str:
    """The `host:port` of a URL that `url` has checked."""
    scheme, _, rest = checked.partition("://")
    place = rest.partition("?")[0].partition("/")[0]
    return place if re.search(r":[0-9]+$", place) else f"{place}:{443 if scheme == 'https' else 80}"


TEXT = {"title": "text", "type": ["string", "integer"], "minLength": 1}
"""The JSON Schema of text."""

absent_if_empty = BeforeValidator(_absent_if_empty)

Text = Annotated[str, BeforeValidator(text), WithJsonSchema(TEXT)]
FileName = Annotated[
    str, BeforeValidator(file_name), WithJsonSchema({**TEXT, "title": "name", "pattern": f"^{_FILE_NAME.pattern}$"})
]
Url = Annotated[
    str,
    PlainValidator(url),
    PlainSerializer(_url_shown, when_used="json"),
    WithJsonSchema({"title": "URL", "type": "string", "pattern": "^[hH][tT][tT][pP][sS]?://"}),
]
Address = Annotated[str, BeforeValidator(address), WithJsonSchema(TEXT)]
HostName = Annotated[str, BeforeValidator(host_name), WithJsonSchema(TEXT)]
RequestField = Annotated[str, BeforeValidator(request_field), WithJsonSchema(TEXT)]
Origin = Annotated[str, BeforeValidator(origin), WithJsonSchema(TEXT)]
PathPattern = Annotated[str, BeforeValidator(path_pattern), WithJsonSchema(TEXT)]
Switch = Annotated[bool, BeforeValidator(_switch)]
Whole = Annotated[int, BeforeValidator(whole)]
Number = Annotated[float, BeforeValidator(number)]
Secret = Annotated[
    SecretStr,
    BeforeValidator(header),
    PlainSerializer(lambda _: HIDDEN, when_used="json"),
    WithJsonSchema(TEXT),
]
Hash = Annotated[
    str,
    BeforeValidator(key_hash),
    PlainSerializer(lambda _: HIDDEN, when_used="json"),
    WithJsonSchema({"title": "hash", "type": "string", "pattern": "^[sS][hH][aA]256:[0-9a-fA-F]{64}$"}),
]
"""The SHA-256 of a key: 64 hexadecimal digits."""

MaybeSecret = Annotated[Secret | None, absent_if_empty]
