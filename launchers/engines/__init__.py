"""The engines, a file each: what to run, how to find out that it is ready, and how to put requests. Pure.

An engine here is a description. It starts nothing and reads nothing: the port, the Python and a view of the disk are
arguments, so every command line can be tested as a value. Lessons from running an engine (variables that override its
arguments, ids that it refuses) belong in its file and nowhere else.

docs/adding-an-engine.md shows a whole engine, and each place that must name it. The programs that run in an engine's
own process are in launchers/wrappers.
"""

from collections.abc import Mapping
from types import MappingProxyType

from launchers.engines.base import Engine, Files
from launchers.engines.llama_cpp import LlamaCpp
from launchers.engines.llama_server import LlamaServer
from launchers.engines.mlx_lm import Mlx
from launchers.engines.vllm import Vllm

__all__ = ["ENGINES", "Engine", "Files"]

ENGINES: Mapping[str, Engine] = MappingProxyType({
    engine.name: engine for engine in (LlamaCpp(), LlamaServer(), Mlx(), Vllm())
})  # fmt: skip
