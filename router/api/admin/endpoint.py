"""What an endpoint of the management API is: an entry of the one table that all else is made from.

The handlers' checks (`serving`), /admin/openapi.json (`openapi`), the command line's client, docs/management.md, and a
test of who may ask for what.
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Generic, TypeVar
from urllib.parse import quote, urlencode

from pydantic import BaseModel, BeforeValidator, ConfigDict, RootModel, WithJsonSchema
from pydantic_core import PydanticCustomError

from router.core.scopes import Admin, Scope

FIELD = re.compile(r"{(\w+)}")


class Asked(BaseModel):
    """What a request may say: the fields of its path, and others in its query or, as a JSON object, in its body.

    `raw` names the field that is the body itself, where that is text; `headers` are fields that are headers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    raw: ClassVar[str] = ""
    headers: ClassVar[Mapping[str, str]] = {}


_SWITCH: Final[dict[object, bool]] = {"true": True, "1": True, "": True, "false": False, "0": False}


def _switch(value: object) -> object:
    """Take what a query may say for true and false: not `no` and `off`, which router.yaml doesn't take, either."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value not in _SWITCH:
        raise PydanticCustomError("bool_parsing", "expected true or false")
    return _SWITCH[value]


Switch = Annotated[
    bool,
    BeforeValidator(_switch),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": ["", "0", "1"]}]}),
]


class Nothing(Asked):
    """Says nothing."""


class Told(BaseModel):
    """Plain data of an answer. A later version may add fields, but takes none away."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ErrorText(Told):
    """An error, as OpenAI's API has it. `code` is for programs; `param` is the field that is wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorTold(Told):
    """Why a request was refused, or failed."""

    error: ErrorText


class ErrorSentence(Told):
    """The same as Ollama and llama-swap have it, for paths that begin with /api/."""

    error: str


OF_PEERS: Final[Mapping[int, str]] = {
    502: "The peer can't be asked, or doesn't take its `admin_key`.",
    504: "The peer says nothing.",
}
"""Errors of what may be asked of a peer; others that it answers with are passed on."""

P = TypeVar("P")
A = TypeVar("A", bound=Asked)
T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """An answer whose status isn't 200, or that has headers of its own."""

    told: T
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sent(Generic[T]):
    """One event of a stream. `id` is what a client may send as Last-Event-ID, to go on from there."""

    id: int
    kind: str
    told: T

    @cached_property
    def event(self) -> bytes:
        """What is written of it: once for all who follow."""
        return f"id: {self.id}\nevent: {self.kind}\ndata: {self.told.model_dump_json(exclude_unset=True)}\n\n".encode()


@dataclass(frozen=True, slots=True)
class Stream(Generic[T]):
    """An answer that goes on: server-sent events, some at a time; none at all is a sign of life."""

    events: AsyncGenerator[Sequence[Sent[T]], None]


Handle = Callable[[A, Admin], Awaitable[T | Reply[T] | Stream[T]]]
"""Answers a request of an admin. Raises RouterError."""


# Without slots: with them, Python 3.11 makes no generic ones.
@dataclass(frozen=True, kw_only=True)
class Endpoint(Generic[P, A, T]):
    """One endpoint. A part of the router, of type P, handles it.

    `doc` is a sentence for the docs; `example` the fields of a request that a router with a backend `qwen` and a model
    `qwen` answers. `others` are the statuses of answers of type `tells` beside 200, with their meaning, and `errors`
    those of answers with a `fails` beside 400, 401 and 403; a status that is in both may have either. With `streams`,
    the answer is a stream of server-sent events, each with a `tells`. With `passes`, the part gets the request itself,
    and gives the response. `ends`: it ends requests, and is answered while the router stops, as what only reads. With
    None for a `scope`, it only reads, and any admin may ask.
    """

    operation: str
    method: str
    path: str
    scope: Scope | None
    doc: str
    asks: type[A]
    tells: type[T]
    handle: Callable[[P], Handle[A, T]]
    others: Mapping[int, str] = field(default_factory=dict)
    errors: Mapping[int, str] = field(default_factory=dict)
    example: Mapping[str, Any] = field(default_factory=dict)
    streams: bool = False
    fails: type[ErrorTold | ErrorSentence] = ErrorTold
    passes: bool = False
    ends: bool = False

    @property
    def lasts(self) -> bool:
        """Whether it is answered while the router stops."""
        return self.ends or self.reads

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.scope in {None, Scope.READ}

    @property
    def is_text(self) -> bool:
        """Whether its answers are plain text, and not JSON."""
        return issubclass(self.tells, RootModel) and self.tells.model_fields["root"].annotation is str

    @property
    def in_path(self) -> list[str]:
        """The fields that stand in the path."""
        return FIELD.findall(self.path)

    def target(self, fields: Mapping[str, str | int]) -> str:
        """Write the target of a request with these fields: those of the path in it, the others as its query."""
        path = self.path.format(**{name: quote(str(fields[name]), safe="") for name in self.in_path})
        rest = {name: value for name, value in fields.items() if name not in self.in_path}
        return f"{path}?{urlencode(rest)}" if rest else path


Endpoints = tuple[Endpoint[P, Any, Any], ...]
