"""One engine to start, as it was planned."""

from dataclasses import dataclass

from launchers.engines import Engine
from launchers.spec import LaunchSpec
from profiles.parsers import Gpu
from router.config import BackendConfig


@dataclass(frozen=True, slots=True)
class Launch:
    """One engine to start: a replica of one backend of router.yaml.

    `python` is the interpreter that has the engine, or the engine's own program. `why` is the reason for this engine.
    `on_cpu`: it can only work on the CPU, as it has nothing else. `version` is the engine's, or the place of its
    program: "at /usr/bin/llama-server". `written` are the names, with dashes, of the arguments that a person wrote.
    `gpus` are those that it may use.
    """

    backend: BackendConfig
    spec: LaunchSpec
    engine: Engine
    python: str
    why: str
    on_cpu: bool = False
    version: str = ""
    written: frozenset[str] = frozenset()
    gpus: tuple[Gpu, ...] = ()

    @property
    def is_on_demand(self) -> bool:
        """Whether it is loaded with the first request that wants it."""
        return self.backend.launch is not None and self.backend.launch.load == "on_demand"
