"""One file an engine: what to run, and how to tell that it is ready. Data and pure functions.

An engine here is a description. It starts nothing and reads nothing: the port, the Python and a view of the
disk are passed in, so that every command line can be tested as a value. What an engine has learned the hard way
(variables that would override its arguments, ids that it refuses) belongs in its file and nowhere else.

docs/adding-an-engine.md shows a whole one, and each place that has to name it. The programs that run in an engine's own
process are in launchers/wrappers.
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
