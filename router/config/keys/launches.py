"""`backends[].launch`: how the router starts an engine of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from router.config.keys.groups import all_hidden, as_it_is, as_shown, each_item, each_value, faulty, listed, mapping
from router.config.keys.programs import ProgramConfig
from router.config.keys.ray import OnConfig, placeable
from router.config.keys.section import Section, setting
from router.config.keys.units import BOUNDS, SIZE, Duration, DurationOrNever, lasting, size, size_in_words
from router.config.keys.values import (
    ENGINES,
    TEXT,
    HostName,
    Item,
    RequestField,
    Switch,
    Whole,
    choice,
    plain,
    program_text,
    whole,
)
from router.config.problems import Fault, either, repeated
from router.config.scalars import FromEnvironment

Argument = Item | None | tuple[Item, ...]

DEVICES = ("ram", "gpu")
"""The kinds of devices whose memory may be given separately: the machine's memory, and all GPUs together."""

SELECTORS = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
"""The environment variables that choose GPUs for a process."""

_MOST_GPUS = 64
_MOST_MEMORY = "1024TiB"


def _arguments(value: object) -> Mapping[str, Argument | Mapping[str, Argument]]:
    """Options for any engine; below an engine's name, options for that engine alone."""
    given = mapping(value)
    faults = [
        Fault((name,), "is an engine: below it stand options for it alone, such as `n_ctx: 4096`")
        for name, it in given.items()
        if name in ENGINES and not isinstance(it, Mapping)
    ]
    if faults:
        raise faulty(faults)
    for_all = each_value({name: it for name, it in given.items() if name not in ENGINES}, _argument)
    for_one = each_value(
        {name: it for name, it in given.items() if name in ENGINES}, lambda it: each_value(it, _argument)
    )
    return MappingProxyType({**for_all, **for_one})


def _argument(value: object) -> Argument:
    return each_item(value, _item) if isinstance(value, list | tuple) else plain(value)


def _item(value: object) -> Item:
    if (item := plain(value)) is not None:
        return item
    raise ValueError("expected text, a number, true or false; nothing can't stand in a list")


def _variable(value: object) -> str:
    """The value of an environment variable. A whole number counts as text: see `scalars`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return program_text(value, "text; put it in quotes")


def _memory(value: object) -> int | Mapping[str, int] | None:
    """Bytes, or bytes by kind of device. Nothing at all, from the environment too, means that it is learned."""
    if value is None or (isinstance(value, FromEnvironment) and not value):
        return None
    if not isinstance(value, Mapping):
        return _bytes(value)
    if unknown := [
        Fault((name,), f"unknown key; known here: {either(DEVICES)}") for name in value if name not in DEVICES
    ]:
        raise faulty(unknown)
    if not value:
        raise ValueError(f"expected a size, or one for {either(DEVICES)}, got nothing")
    return each_value(value, _bytes)


def _bytes(value: object) -> int:
    if (count := size(value)) > size(_MOST_MEMORY):
        raise ValueError(f"must be from 0 to {_MOST_MEMORY}, got {{got}}")
    return count


def _gpus(value: object) -> str | int | tuple[int, ...]:
    """`auto`, how many, or which ones."""
    if isinstance(value, list | tuple):
        numbers = each_item(value, _gpu_number)
        if not numbers:
            raise ValueError("an empty list: write 0 if it may use no GPU")
        if again := [Fault((index,), "{got} is listed twice") for index, _ in repeated(numbers)]:
            raise faulty(again)
        return numbers
    if value == "auto":
        return "auto"
    try:
        count = whole(value)
    except ValueError:
        raise ValueError("expected auto, how many GPUs, or a list of their numbers, got {got}") from None
    if 0 <= count <= _MOST_GPUS:
        return count
    raise ValueError(f"must be from 0 to {_MOST_GPUS}, got {{got}}")


def _gpu_number(value: object) -> int:
    if 0 <= (number := whole(value)) < _MOST_GPUS:
        return number
    raise ValueError(f"expected the number of a GPU, from 0 to {_MOST_GPUS - 1}, got {{got}}")


Arguments = Annotated[
    Mapping[str, Argument | Mapping[str, Argument]],
    PlainValidator(_arguments),
    as_shown,
    WithJsonSchema({"type": ["object", "null"]}),
]
Variables = Annotated[
    Mapping[str, str],
    PlainValidator(lambda value: each_value(value, _variable)),
    all_hidden,
    WithJsonSchema({"type": ["object", "null"], "additionalProperties": {**TEXT, "minLength": 0}}),
]


Memory = Annotated[
    int | Mapping[str, int] | None,
    PlainValidator(_memory),
    PlainSerializer(
        lambda value: (
            {name: size_in_words(count) for name, count in value.items()}
            if isinstance(value, Mapping)
            else None
            if value is None
            else size_in_words(value)
        ),
        when_used="json",
    ),
    WithJsonSchema(
        {
            "anyOf": [
                SIZE,
                {
                    "type": "object",
                    "properties": dict.fromkeys(DEVICES, SIZE),
                    "additionalProperties": False,
                    "minProperties": 1,
                },
                {"type": "null"},
            ],
            BOUNDS: f"From 0 to {_MOST_MEMORY}.",
        }
    ),
]
Gpus = Annotated[
    str | int | tuple[int, ...],
    PlainValidator(_gpus),
    as_it_is,
    WithJsonSchema(
        {
            "anyOf": [
                {"const": "auto"},
                {"type": "integer", "minimum": 0, "maximum": _MOST_GPUS},
                {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 0, "maximum": _MOST_GPUS - 1},
                    "minItems": 1,
                    "uniqueItems": True,
                },
            ]
        }
    ),
]


class LaunchConfig(Section, ProgramConfig):
    """How to start an engine's own server, one process a replica."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["model"]}, {"required": ["cmd"]}]})

    example: ClassVar[str] = """\
backends:
  - name: qwen
    models: [qwen2.5-7b]
    launch:
      model:                              # the profile says which engine; each has its own form of the model
        mlx: mlx-community/Qwen2.5-7B-Instruct-4bit
        vllm: Qwen/Qwen2.5-7B-Instruct
        llama_cpp: models/qwen2.5-7b-instruct-q4_k_m.gguf
      replicas: 2
      args: {n_ctx: 16384}
      env: {CUDA_VISIBLE_DEVICES: "0"}
  - name: whisper
    launch:                               # any other program
      cmd: [whisper-server, --port, "{port}", -m, ggml-base.bin]
      ready: /health
      parallel: 1
      paths: [/inference]
      memory: 2GiB
"""

    replicas: Annotated[Whole, Field(ge=1, le=64)] = setting(1, "How many processes run it.")
    args: Arguments = setting(
        {}, "Options of the engine, which win over the profile's; below an engine's name, options for it alone."
    )
    env: Variables = setting({}, "Environment variables of the engine's process, which win over the router's own.")
    load: Annotated[Literal["startup", "on_demand"], choice("a time to load", "startup", "on_demand")] = setting(
        "startup", "When to start it: with the router, or with the first request that wants it."
    )
    unload_after: Annotated[DurationOrNever, lasting("1s", "8760h")] = setting(
        "never", "How long it may be idle before it is stopped, unless a request's own `keep_alive` or `ttl` says it."
    )
    pinned: Switch = setting(
        default=False,
        meaning="Whether it stays loaded, also when other models need its memory: only a command unloads it.",
    )
    # None: a measured figure is better than a person's, and follows every change of the arguments.
    memory: Memory = setting(
        None,
        "Memory that one process takes, instead of what the router estimates and learns: of the GPUs if it runs on "
        "GPUs, else of the machine; or `ram` and `gpu` separately. Several GPUs share it equally.",
    )
    # auto: what starts with the router is spread as the profile says, as nothing else may need the GPUs; what is loaded
    # on demand shares them with others.
    gpus: Gpus = setting(
        "auto",
        "How many GPUs it uses, or which ones, by the numbers that `doctor` shows; 0 is the CPU. `auto`: on demand the "
        "fewest on which it fits, else as the profile says. It can't stand together with CUDA_VISIBLE_DEVICES and the "
        "like in `env`.",
    )
    on: OnConfig | None = setting(None, OnConfig.__doc__ or "")
    # Off: a load that a request caused is followed by that request, which warms the engine up itself.
    warm_up: Switch = setting(
        default=False,
        meaning="Whether it is sent a request for one token after each load, so that the first client's request finds "
        "kernels compiled and weights read.",
    )
    start_timeout: Annotated[Duration, lasting("1s", "24h")] = setting(
        "10m", "How long it may take to become ready, counted anew whenever its load goes on; 12 times this in all."
    )

    allow: Annotated[tuple[RequestField, ...], BeforeValidator(listed)] = setting(
        (),
        "Fields of requests that clients may send though they are private to the engine, such as n_discard; or paths.",
    )
    media_hosts: Annotated[tuple[HostName, ...], BeforeValidator(listed)] = setting(
        (),
        "Hosts from which the engine may fetch images, sounds and videos that requests name; *.example.org is every "
        "name that ends so. All others have to be in the request, as data: URLs.",
    )

    @field_validator("args")
    @classmethod
    def _not_of_a_command(cls, args: Mapping[str, object], info: ValidationInfo) -> Mapping[str, object]:
        if args and info.data.get("cmd"):
            raise ValueError("a `cmd` has its arguments in itself: leave out `args`")
        return args

    @field_validator("env")
    @classmethod
    def _is_told_the_port(cls, env: Mapping[str, str], info: ValidationInfo) -> Mapping[str, str]:
        if (cmd := info.data.get("cmd")) and not any("{port}" in each for each in (*cmd, *env.values())):
            raise ValueError("the command must be told its port: write {port} in `cmd`, or here")
        return env

    @field_validator("pinned")
    @classmethod
    def _stays_or_leaves(cls, pinned: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic gives it so
        if pinned and info.data.get("unload_after", math.inf) != math.inf:
            raise ValueError("a pinned model stays loaded: leave out `unload_after`, or `pinned`")
        return pinned

    @field_validator("gpus")
    @classmethod
    def _chosen_once(cls, gpus: str | int | tuple[int, ...], info: ValidationInfo) -> str | int | tuple[int, ...]:
        selector = next((name for name in SELECTORS if name in info.data.get("env", {})), None)
        if gpus != "auto" and selector is not None:
            raise ValueError(f"env.{selector} chooses its GPUs already: write one of the two")
        return gpus

    @field_validator("on")
    @classmethod
    def _can_be_placed(cls, on: OnConfig | None, info: ValidationInfo) -> OnConfig | None:
        return placeable(on, info.data)
