"""The fake engine as one that the router launches: it starts at once, and does as its arguments say."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launchers.engines import Engine, Files
from launchers.errors import ModelNotFoundError
from launchers.spec import ArgValue, Command, LaunchSpec
from profiles import Facts

PROGRAM = Path(__file__).with_name("engine.py")


@dataclass(frozen=True)
class LaunchedFake:
    """Each of a launch's arguments is a flag of the fake engine; there is no model called `missing`."""

    name: str = "llama_cpp"
    module: str = "llama_cpp"
    program: str | None = None
    suits: str = "tests"
    install: str = "nothing to install"
    options: None = None
    ready_path: str = "/health"
    ready_request: tuple[str, bytes] | None = None
    key_variable: str = "ENGINE_API_KEY"
    uuid_request_ids: bool = False
    parallel: int = 8
    accepts_slowly: bool = False
    opaque: bool = False
    apis: frozenset[str] = frozenset({"/v1/chat/completions"})
    private: frozenset[str] = frozenset()
    counter: str = ""
    mends: frozenset[str] = frozenset()
    usage_in_streams: str = ""
    publishes: bool = False
    works_on_cpu: bool = False

    def works_on(self, args: Mapping[str, ArgValue]) -> int:  # noqa: ARG002
        """Always as many."""
        return self.parallel

    def find_model(self, model: str, files: Files) -> str:  # noqa: ARG002
        """Every model is found but one."""
        if model == "missing":
            raise ModelNotFoundError("missing: there is no such model")
        return model

    def command(self, spec: LaunchSpec, port: int, python: str) -> Command:
        """Run the fake engine."""
        own = [(name.replace("_", "-"), value) for name, value in spec.args.items() if not name.startswith("n_")]
        flags = [
            word for name, value in own for word in (f"--{name}", str(value)) if word != "True"
        ]  # not the profile's
        said = (python, str(PROGRAM), "--port", str(port), "--model", spec.served_name, *flags)
        return Command(said, dict(spec.env), ())

    def put_right(self, path: str, body: bytes, spec: LaunchSpec | None = None) -> bytes:  # noqa: ARG002
        """It takes everything."""
        return body


ENGINES: Mapping[str, Engine] = {"llama_cpp": LaunchedFake()}
FACTS = Facts("Linux", "x86_64", "3.11.7", cpus=2, memory_bytes=8 << 30, engines={"llama_cpp": "0.3.36"})
