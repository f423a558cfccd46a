"""One file an engine: what to run, and how to tell that it is ready. Data and pure functions.

An engine here is a description. It starts nothing and reads nothing: the port, the Python and a view of the
disk are passed in, so that every command line can be tested as a value. What an engine has learned the hard way
(variables that would override its arguments, ids that it refuses) belongs in its file and nowhere else.

A new engine is one file beside this one, and one line in ENGINES.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from launchers.engines.llama_cpp import LlamaCpp
from launchers.spec import Command, LaunchSpec


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
    def install(self) -> str:
        """The one command that installs it."""

    @property
    def ready_path(self) -> str:
        """A path whose GET is answered with 200 once requests can be served, busy or not, and not before."""

    @property
    def uuid_request_ids(self) -> bool:
        """Whether a request is refused when its X-Request-ID is no UUID."""

    @property
    def parallel(self) -> int:
        """How many requests it works on at once; more wait inside of it."""

    def find_model(self, model: str, files: Files) -> str:
        """The model to name in the command, for what was configured; its own answer it returns unchanged.

        Raises ModelNotFoundError, which says what was looked for and what to do.
        """

    def command(self, spec: LaunchSpec, port: int, python: str) -> Command:
        """What to execute so that `spec`, its model found already, is served on 127.0.0.1:`port`.

        `python` is the interpreter in which the engine is installed. Raises ArgumentError for an argument that
        isn't the user's to set.
        """


ENGINES: Mapping[str, Engine] = MappingProxyType({engine.name: engine for engine in (LlamaCpp(),)})
