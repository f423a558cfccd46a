"""What a model will take in an engine, before its first load. Pure."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from launchers.footprints import llama, mlx, vllm
from launchers.footprints.model import Model
from launchers.footprints.parts import Breakdown, Device
from launchers.spec import ArgValue

NOTHING: Mapping[str, str] = MappingProxyType({})


def estimate(
    model: Model,
    engine: str,
    args: Mapping[str, ArgValue],
    devices: Sequence[Device],
    env: Mapping[str, str] = NOTHING,
) -> Breakdown:
    """Tell what each of `devices` will hold of a model that `engine` runs with these arguments and variables.

    `devices` are RAM and the GPUs that the engine may use, in its order. Raises KeyError for an engine that is none.
    """
    match engine:
        case "llama_cpp":
            return llama.estimate(model, llama.llama_cpp(args), devices)
        case "llama_server":
            return llama.estimate(model, llama.llama_server(args, env), devices)
        case "mlx":
            return mlx.estimate(model, args)
        case "vllm":
            return vllm.estimate(model, args, env, devices)
    raise KeyError(engine)
