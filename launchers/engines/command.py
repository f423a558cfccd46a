"""A program of any kind as an engine: what router.yaml says of it is all that is known.

The router does for it what it does for the others: it starts it on a port of its own, waits until it is ready, sends it
requests, and stops it. It changes no body, and learns from answers which of OpenAI's, Anthropic's and Ollama's APIs the
program has. Where router.yaml says which engine it is, it gets nothing that is private to that, and no paths but APIs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launchers.engines import bodies, common, private
from launchers.spec import ArgValue, Command, LaunchSpec

if TYPE_CHECKING:
    from launchers.engines.base import Files, Options

NAME = "command"

PORT = "{port}"
"""Stands in a command, or in one of its variables, for the port that the router chose."""

KEY = "ROUTER_KEY"
"""The variable with the key that the router shows the program with each request."""

CMD, PARALLEL = "cmd", "parallel"
"""The arguments of a spec that say which command it is, and how many requests it works on."""


@dataclass(frozen=True, slots=True)
class AnyCommand:
    """See launchers.engines.Engine for the meaning of each member. `private` are those of the engine that it is."""

    ready_path: str = "/health"
    parallel: int = 1
    apis: frozenset[str] = frozenset()
    name: str = NAME
    module: str = ""
    program: str | None = None
    suits: str = "any program that serves HTTP"
    install: str = ""
    options: "Options | None" = None
    ready_request: tuple[str, bytes] | None = None
    key_variable: str = KEY
    uuid_request_ids: bool = False
    accepts_slowly: bool = False
    opaque: bool = True
    private: frozenset[str] = frozenset()
    counter: str = ""
    mends: frozenset[str] = frozenset()
    usage_in_streams: str = "asked"
    publishes: bool = True
    works_on_cpu: bool = True

    def works_on(self, args: Mapping[str, ArgValue]) -> int:
        """As many as router.yaml says."""
        return common.number(args, PARALLEL) or self.parallel

    def find_model(self, model: str, files: "Files") -> str:  # noqa: ARG002  (as of all engines)
        """What it serves is its own affair."""
        return model

    def command(self, spec: LaunchSpec, port: int, python: str) -> Command:
        """Run the command; `python` is its program."""
        said = spec.args[CMD]
        assert isinstance(said, tuple)  # noqa: S101  (the plan wrote it)
        return Command(
            argv=(python, *(str(each).replace(PORT, str(port)) for each in said[1:])),
            env={name: value.replace(PORT, str(port)) for name, value in spec.env.items()},
            unset=(),
        )

    def put_right(self, path: str, body: bytes, spec: LaunchSpec | None = None) -> bytes:
        """Change nothing; refuse fields and paths that are private to the engine, if it is known which one it is."""
        if self.private:
            # Those of any engine: which of them it has, its answers show.
            bodies.check_path(path, self.apis | bodies.APIS, "a command", spec.allow if spec else ())
            private.refuse(bodies.fields(body)[0], self.private, "the engine of this model", spec)
        return body
