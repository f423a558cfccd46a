"""The interface of engines: what the router must know to launch and to use one; and their view of a disk."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from launchers.spec import ArgValue, Command, LaunchSpec


class Files(Protocol):
    """A view of a disk. `launchers.files.Disk` is the real one."""

    @property
    def home(self) -> str:
        """The user's home folder, which `~` stands for."""

    def is_file(self, path: str) -> bool:
        """Whether `path` is a file."""

    def is_dir(self, path: str) -> bool:
        """Whether `path` is a folder."""

    def list(self, folder: str) -> Sequence[str]:
        """The names in `folder`, sorted."""


@dataclass(frozen=True, slots=True)
class Options:
    """Where the names of an engine's options stand, which `pattern` finds.

    In those `files` of its module's folder that there are; or in what its program prints for --help, as our `script`
    does in its Python.
    `abbreviates`: the beginning of a name is enough for it.
    """

    pattern: re.Pattern[str]
    files: tuple[str, ...] = ()
    script: str = ""
    abbreviates: bool = False


class Engine(Protocol):
    """What the router must know of an engine to launch it and to speak with it."""

    @property
    def name(self) -> str:
        """What router.yaml and the profiles call it."""

    @property
    def module(self) -> str:
        """The top-level Python module that shows that the engine is installed."""

    @property
    def program(self) -> str | None:
        """A program on PATH that serves as well as the module; None if there is none."""

    @property
    def suits(self) -> str:
        """Its strengths in a few words, by which a person chooses."""

    @property
    def install(self) -> str:
        """The one command that installs it."""

    @property
    def options(self) -> Options | None:
        """Where to read which options the installed version has; None: nowhere."""

    @property
    def ready_path(self) -> str:
        """A path whose GET is answered with 200 once requests can be served, busy or not, and not before.

        If there is a `ready_request`, this 200 only shows that the engine lives.
        """

    @property
    def ready_request(self) -> tuple[str, bytes] | None:
        """A path and a body whose POST is answered with 200 once requests can be served; None if the GET is enough."""

    @property
    def key_variable(self) -> str:
        """The environment variable with the key that each request must show; the router makes the key."""

    @property
    def uuid_request_ids(self) -> bool:
        """Whether it refuses requests whose X-Request-ID is no UUID."""

    @property
    def parallel(self) -> int:
        """How many requests it works on at once by default; further ones wait inside it."""

    @property
    def accepts_slowly(self) -> bool:
        """Whether it accepts connections slowly while busy: the router then opens some ahead of need."""

    @property
    def opaque(self) -> bool:
        """Whether nothing is known of its models and its APIs: names pass as they are, and answers show its APIs."""

    @property
    def apis(self) -> frozenset[str]:
        """The paths that it serves, those beside /v1 included; some only with certain arguments or models."""

    @property
    def private(self) -> frozenset[str]:
        """Fields of requests that are private to it: `put_right` refuses them unless `LaunchSpec.allow` has them."""

    @property
    def counter(self) -> str:
        """The path whose POST of a chat's body is answered with `{"input_tokens": n}`; empty if there is none.

        The tokens are those of the prompt that the engine would make of this chat. `put_right` takes it as a chat.
        """

    @property
    def mends(self) -> frozenset[str]:
        """Those of `apis` whose answers lack what official clients need: fields, or a format that is asked for."""

    @property
    def usage_in_streams(self) -> str:
        """When streams report the usage of tokens; all that do do so if `stream_options.include_usage` is set.

        `always`: otherwise, too, where clients ignore it, in the last chunk that has choices. `asked`: not otherwise,
        so the router asks. Empty: never.
        """

    @property
    def publishes(self) -> bool:
        """Whether its /metrics reports how many requests it works on, and how many wait in it."""

    def works_on(self, args: Mapping[str, ArgValue]) -> int:
        """How many requests it works on at once with these arguments."""

    @property
    def works_on_cpu(self) -> bool:
        """Whether CPU time shows progress: it takes next to none while it waits or hangs."""

    def find_model(self, model: str, files: Files) -> str:
        """Find the configured model, and give its name for the command; such a name is returned unchanged.

        Raises ModelNotFoundError, which names what was looked for, and what to do.
        """

    def command(self, spec: LaunchSpec, port: int, python: str) -> Command:
        """Build the command that serves `spec`, whose model was found, on 127.0.0.1:`port`.

        `python` is the interpreter in which the engine is installed, or the path of its `program`. Raises
        ArgumentError for an argument that the user can't set.
        """

    def put_right(self, path: str, body: bytes, spec: LaunchSpec | None = None) -> bytes:
        """Give the body of a POST of `path` as this engine must get it; the same object if nothing must change.

        `spec` is the engine's launch, for engines whose abilities depend on it. Raises UnfitRequestError for a request
        that would stall or end the engine, or that it would answer with less than was asked for.
        """
