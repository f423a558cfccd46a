"""What the router must know of an engine to launch it and to speak with it, and what an engine is shown of the disk."""

from collections.abc import Mapping, Sequence
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


class Engine(Protocol):
    """What the router must know of an engine to launch it and to speak with it."""

    @property
    def name(self) -> str:
        """What router.yaml and the profiles call it."""

    @property
    def module(self) -> str:
        """The top-level Python module that can be found where the engine is installed."""

    @property
    def program(self) -> str | None:
        """A program on PATH that does as well as the module; None where there is none."""

    @property
    def suits(self) -> str:
        """What it is good for, in a few words: a person chooses by them."""

    @property
    def install(self) -> str:
        """The one command that installs it."""

    @property
    def ready_path(self) -> str:
        """A path whose GET is answered with 200 once requests can be served, busy or not, and not before.

        Where there is a `ready_request`, a 200 only says that it lives.
        """

    @property
    def ready_request(self) -> tuple[str, bytes] | None:
        """A path and a body whose POST is answered with 200 once requests can be served; None where a GET can tell."""

    @property
    def key_variable(self) -> str:
        """The variable that gives it the key without which it answers nobody; the router makes one."""

    @property
    def uuid_request_ids(self) -> bool:
        """Whether a request is refused when its X-Request-ID is no UUID."""

    @property
    def parallel(self) -> int:
        """How many requests it works on at once, unless its arguments say otherwise; more wait inside of it."""

    @property
    def accepts_slowly(self) -> bool:
        """Whether a busy one takes long to accept a connection: the router then has some open before it needs them."""

    @property
    def apis(self) -> frozenset[str]:
        """The paths that it may serve, all below /v1/; some only with certain arguments or models."""

    @property
    def usage_in_streams(self) -> bool:
        """Whether a stream tells the usage of tokens, when `stream_options.include_usage` asks for it."""

    @property
    def publishes(self) -> bool:
        """Whether its /metrics says how many requests it works on, and how many wait in it."""

    def works_on(self, args: Mapping[str, ArgValue]) -> int:
        """How many requests it works on at once with these arguments."""

    @property
    def works_on_cpu(self) -> bool:
        """Whether CPU time shows that it works: whether it takes next to none while it waits, or hangs."""

    def find_model(self, model: str, files: Files) -> str:
        """The model to name in the command, for what was configured; its own answer it returns unchanged.

        Raises ModelNotFoundError, which says what was looked for and what to do.
        """

    def command(self, spec: LaunchSpec, port: int, python: str) -> Command:
        """What to execute so that `spec`, its model found already, is served on 127.0.0.1:`port`.

        `python` is the interpreter in which the engine is installed, or the path of its `program`. Raises
        ArgumentError for an argument that isn't the user's to set.
        """

    def put_right(self, path: str, body: bytes, spec: LaunchSpec | None = None) -> bytes:
        """The body of a POST of `path`, as this engine must get it; the same object where nothing is to be changed.

        `spec` is how the engine was launched, where what it can do depends on that. Raises UnfitRequestError for a
        request that would stall the engine or end it, or that it would answer with less than was asked for.
        """
