"""The building blocks of router.yaml's types: one validator a kind of value, each with one sentence for its errors.

A validator takes what YAML gives (and `scalars.FromEnvironment`), returns a plain immutable value, and raises
ValueError with `{got}` where the value would stand. Where a list or mapping holds several values, `_each` reports all
that are wrong, at their own paths. No pydantic union is used: its errors speak of branches that no user has heard of.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from router.config.problems import Fault, did_you_mean, either
from router.config.scalars import FromEnvironment, read, typed

T = TypeVar("T")

ENGINES = ("mlx", "vllm", "llama_cpp", "llama_server")
MOST_TEXT = 4096
MOST_ITEMS = 10_000

Item = str | int | float | bool
Argument = Item | None | tuple[Item, ...]

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[\w.~!$&'()*+,;=:@%/-]*)?",
    re.IGNORECASE | re.ASCII,
)


def faulty(faults: Iterable[Fault]) -> ValidationError:
    """An error at several places at once, each relative to where it is raised."""
    return ValidationError.from_exception_data(
        "router.yaml",
        [
            InitErrorDetails(type=PydanticCustomError("fault", fault.message), loc=fault.path, input=None)
            for fault in faults
        ],
    )


# ------------------------------------------------------------------ scalars


def text(value: object) -> str:
    """Printable text that isn't empty. A whole number will do: see `scalars`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, bool | float):
        raise ValueError("expected text, got {got}; put it in quotes")  # noqa: TRY004 - pydantic wants ValueError
    if not isinstance(value, str):
        raise ValueError("expected text, got {got}")  # noqa: TRY004
    if not value.strip():
        raise ValueError("expected text, got an empty one")
    if not value.isprintable() or len(value) > MOST_TEXT:
        raise ValueError(f"expected one line of printable text, {MOST_TEXT} characters at most")
    return str(value)


def file_name(value: object) -> str:
    """Text that is safe as a file's name on every system."""
    if _FILE_NAME.fullmatch(name := text(value)):
        return name
    raise ValueError(
        "expected a name of letters, digits, '.', '_' and '-' that starts with a letter or digit, got {got}"
    )


def _whole(value: object) -> int:
    value = typed(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("expected a whole number, got {got}")


def _number(value: object) -> float:
    value = typed(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    raise ValueError("expected a number, got {got}")


def _switch(value: object) -> bool:
    value = typed(value)
    if isinstance(value, bool):
        return value
    raise ValueError("expected true or false, got {got}")


def _absent_if_empty(value: object) -> object:
    """`api_key: ${KEY:-}` means no key, as `api_key:` does."""
    return None if isinstance(value, FromEnvironment) and not value else value


def choice(noun: str, *choices: str) -> BeforeValidator:
    """One of a few words; `noun` is what they are, with its article."""

    def check(value: object) -> str:
        if isinstance(value, str) and value in choices:
            return str(value)
        near = did_you_mean(value, choices) if isinstance(value, str) else None
        right = f"; did you mean {near!r}?" if near else f"; expected {either(choices)}"
        raise ValueError(f"{{got}} is not {noun}{right}")

    return BeforeValidator(check)


def url(value: object) -> str:
    """`http(s)://host[:port][/path]`, the host in lower case, without a slash at the end."""
    match = _URL.fullmatch(text(value))
    if match is None:
        raise ValueError("expected http://host:port, with a path if there must be one, got {got}")
    if match["port"] and not 1 <= int(match["port"]) <= 65535:
        raise ValueError("expected a port from 1 to 65535 in the URL, got {got}")
    port = f":{int(match['port'])}" if match["port"] else ""
    return f"{match['scheme']}://{match['host']}".lower() + port + (match["path"] or "").rstrip("/")


def host_and_port(checked: str) -> str:
    """`host:port` of a URL that `url` let through."""
    scheme, _, rest = checked.partition("://")
    place = rest.partition("/")[0]
    return place if re.search(r":[0-9]+$", place) else f"{place}:{443 if scheme == 'https' else 80}"


# ------------------------------------------------------- lists and mappings


def listed(value: object) -> tuple[object, ...]:
    """A list, of bounded length. Nothing is an empty one."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise ValueError("expected a list, such as `[a, b]` or lines that start with `- `, got {got}")  # noqa: TRY004
    if len(value) > MOST_ITEMS:
        raise ValueError(f"a list may have {MOST_ITEMS} items at most")
    return tuple(value)


def mapping(value: object) -> Mapping[str, object]:
    """A mapping whose keys are printable text. Nothing is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError("expected a mapping, such as `name: value`, got {got}")  # noqa: TRY004
    if any(not isinstance(key, str) or not key.strip() or not key.isprintable() for key in value):
        raise ValueError("a key in here is empty, or not printable text")
    return value


def _each(items: Iterable[tuple[str | int, object]], check: Callable[[object], T]) -> list[T]:
    """All items checked. Raises for all that are wrong, each at its key or index."""
    faults, values = [], []
    for key, item in items:
        try:
            values.append(check(item))
        except ValueError as error:
            inner = error.errors() if isinstance(error, ValidationError) else []
            faults += [Fault((key, *fault["loc"]), fault["msg"]) for fault in inner] or [Fault((key,), str(error))]
    if faults:
        raise faulty(faults)
    return values


def _each_value(value: object, check: Callable[[object], T]) -> Mapping[str, T]:
    given = mapping(value)
    return MappingProxyType(dict(zip(given, _each(given.items(), check), strict=True)))


def _model_name(value: object) -> str:
    if "*" in (name := text(value)):
        raise ValueError("a model's name can't have a * in it: patterns are the names of `routes`")
    return name


def _names(value: object) -> Mapping[str, str]:
    """Public name → the name that the backend knows. A list is of names that are both."""
    if not isinstance(value, list | tuple):
        names = _each_value(value, text)
        _each(((name, name) for name in names), _model_name)
        return names
    listing = _each(enumerate(listed(value)), _model_name)
    if again := [index for index, name in enumerate(listing) if name in listing[:index]]:
        raise faulty(Fault((index,), "{got} is listed twice") for index in again)
    return MappingProxyType(dict(zip(listing, listing, strict=True)))


def targets(value: object) -> tuple[str, ...]:
    """A model's name, or a list of them in order."""
    if not isinstance(value, list | tuple):
        return (_model_name(value),)
    if not value:
        raise ValueError("a route needs a model to lead to: name one, or several in order")
    return tuple(_each(enumerate(listed(value)), _model_name))


def _routes(value: object) -> Mapping[str, tuple[str, ...]]:
    return _each_value(value, targets)


def _model(value: object) -> str | Mapping[str, str]:
    """A path or hub id, or one for each engine."""
    if not isinstance(value, Mapping):
        return text(value)
    unknown = [
        Fault((name,), f"is not an engine: the keys here are {either(ENGINES)}")
        for name in mapping(value)
        if name not in ENGINES
    ]
    if unknown:
        raise faulty(unknown)
    if not value:
        raise ValueError("expected a path or a hub id, or one for each engine, got nothing")
    return _each_value(value, text)


def _argument(value: object) -> Argument:
    if isinstance(value, list | tuple):
        return tuple(_each(enumerate(listed(value)), _item))
    return _plain(value)


def _item(value: object) -> Item:
    if (item := _plain(value)) is not None:
        return item
    raise ValueError("expected text, a number, true or false; nothing can't stand in a list")


def _plain(value: object) -> Item | None:
    if isinstance(value, FromEnvironment):
        value = read(value) if value.unquoted else str(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected a finite number")
    if value is None or isinstance(value, bool | int | float):
        return value
    return _without_null(value, "text, a number, true, false, null, or a list of these")


def _variable(value: object) -> str:
    """An environment variable's value. A whole number will do: see `scalars`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _without_null(value, "text; put it in quotes")


def _without_null(value: object, expected: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected {expected}")  # noqa: TRY004
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError("a program can't be given this text: it has a character that is none")
    return str(value)


# -------------------------------------------------------------------- types

_dump_as_dict = PlainSerializer(dict, return_type=dict)
_words = {"type": "object", "additionalProperties": {"type": "string"}}

absent_if_empty = BeforeValidator(_absent_if_empty)

Text = Annotated[str, BeforeValidator(text), Field(min_length=1)]
FileName = Annotated[str, BeforeValidator(file_name), Field(pattern=f"^{_FILE_NAME.pattern}$")]
Url = Annotated[str, BeforeValidator(url), Field(examples=["http://gpu-box:8000"])]
Switch = Annotated[bool, BeforeValidator(_switch)]
Whole = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[float, BeforeValidator(_number)]
Secret = Annotated[SecretStr, BeforeValidator(text)]
MaybeSecret = Annotated[Secret | None, absent_if_empty]
Secrets = Annotated[tuple[Secret, ...], BeforeValidator(listed)]

Names = Annotated[
    Mapping[str, str],
    PlainValidator(_names),
    _dump_as_dict,
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "string"}}, _words]}),
]
Routes = Annotated[
    Mapping[str, tuple[str, ...]],
    PlainValidator(_routes),
    _dump_as_dict,
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {
                "anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": {"type": "string"}, "minItems": 1},
                ],
            },
        }
    ),
]
ModelSource = Annotated[
    str | Mapping[str, str],
    PlainValidator(_model),
    PlainSerializer(lambda value: value if isinstance(value, str) else dict(value)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {engine: {"type": "string"} for engine in ENGINES},
                    "additionalProperties": False,
                },
            ],
        }
    ),
]
Arguments = Annotated[
    Mapping[str, Argument],
    PlainValidator(lambda value: _each_value(value, _argument)),
    _dump_as_dict,
    WithJsonSchema({"type": "object"}),
]
Variables = Annotated[
    Mapping[str, str],
    PlainValidator(lambda value: _each_value(value, _variable)),
    _dump_as_dict,
    WithJsonSchema(_words),
]
