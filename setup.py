"""Compiles the hot path: with mypyc, from the same typed sources, which cost half as much then.

    pip install .                            compiled, where there is a C compiler
    ROUTER_PURE=1 pip install -e .           as they stand: what is edited is what runs
    ROUTER_COMPILED=1 pip wheel .            compiled, or it fails: for wheels that others install
    python setup.py build_ext --inplace      compiled beside the sources (`make fast`; `make pure` undoes it)

Everything else about the package stands in pyproject.toml.
"""

import os

from setuptools import Extension, setup

HOT = [
    *(
        f"router/core/{name}.py"
        for name in (
            "access",
            "accounts",
            "admission",
            "affinity",
            "apis",
            "aside",
            "balance",
            "budget",
            "catalog",
            "changes",
            "decision",
            "dispatch",
            "ending",
            "gate",
            "health",
            "hops",
            "estimate/ask",
            "estimate/estimate",
            "estimate/hearing",
            "estimate/loading",
            "estimate/others",
            "estimate/penalty",
            "estimate/readers",
            "estimate/reading",
            "estimate/slots",
            "keys",
            "latest",
            "ledger",
            "limits",
            "loads",
            "memory/lives",
            "memory/order",
            "memory/residency",
            "memory/resident",
            "memory/states",
            "memory/wanting",
            "progress",
            "prompts",
            "record",
            "retry",
            "spending",
            "stall",
            "timeline",
            "turns",
            "usage",
            "wildcards",
        )
    ),
    *(f"router/http1/{name}.py" for name in ("bodies", "heads", "requests", "responses")),
    *(
        f"router/proxy/{name}.py"
        for name in (
            "answer",
            "attempt",
            "attempts",
            "caller",
            "charging",
            "connections",
            "directory",
            "downstream",
            "exchange",
            "heads",
            "hedge",
            "incoming",
            "interpreter",
            "lane",
            "loading",
            "plane",
            "pool",
            "queues",
            "recording",
            "refusals",
            "repeating",
            "requests",
            "roles",
            "speaking",
            "stalls",
            "upstream",
            "uploads",
            "usage",
            "waiting",
            "writing",
        )
    ),
    "router/ended.py",
    *(f"router/telemetry/{name}.py" for name in ("access", "history", "lines", "metrics")),
    *(
        f"router/translate/{name}.py"
        for name in (
            "chat",
            "events",
            "mending",
            "messages",
            "messages_answer",
            "ollama",
            "ollama_answer",
            "ollama_conversation",
            "responses",
            "responses_answer",
            "responses_custom",
            "responses_items",
            "responses_tools",
            "speech",
            "thinking",
            "writer",
        )
    ),
]
"""What runs for each request and each piece of an answer, but for classes that others read the annotations of."""


def compiled() -> list[Extension]:
    """Turn the hot path to C; where mypyc isn't at hand, nothing."""
    if os.environ.get("ROUTER_PURE"):
        return []
    must = bool(os.environ.get("ROUTER_COMPILED"))
    try:
        from mypyc.build import mypycify  # noqa: PLC0415
    except ImportError:
        if must:
            raise
        return []
    # Types are checked by `make check`; what is missing here (an isolated build has no dependencies) is Any.
    options = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent", "--explicit-package-bases"]
    level = os.environ.get("ROUTER_OPTIMISE", "3")
    extensions: list[Extension] = mypycify([*options, *HOT], group_name="router", opt_level=level, debug_level="0")
    for extension in extensions:
        extension.optional = not must  # without a compiler the sources run as they are
        # Python's own flags have -Wall. For this warning, GCC reads the C file from its beginning again and again:
        # it has 80 MB, and that is more than nine tenths of the time. The list is one for all extensions.
        extension.extra_compile_args = [*extension.extra_compile_args, "-Wno-misleading-indentation"]
    return extensions


setup(ext_modules=compiled())
