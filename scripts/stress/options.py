"""The flags of all stress tests: the same flag means the same in each."""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from scripts.instruments.client import LoadTarget
from scripts.stress import distribution, prompts, units
from scripts.stress.load import Asking
from scripts.stress.shapes import Shape
from scripts.stress.tally import Slo

BASE = "base"
"""The name of the target that --base-url gives."""

BASE_URL = "http://127.0.0.1:8001"
_SECRET = "api_key"  # noqa: S105


_T = TypeVar("_T")


def _told(read: Callable[[str], _T]) -> Callable[[str], _T]:
    """Let argparse show what a ValueError says."""

    def reading(text: str) -> _T:
        try:
            return read(text)
        except (ValueError, OSError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return reading


def _slo(text: str) -> Slo:
    pairs = dict(part.partition("=")[::2] for part in text.split(","))
    known = [each.name for each in fields(Slo)]
    if set(pairs) - set(known):
        raise ValueError(f"expected bounds of {', '.join(known)}, such as ttft=2s,tpot=100ms, got {text!r}")
    return Slo(**{name: units.seconds(value) for name, value in pairs.items()})


def _extra(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {text!r}")  # noqa: TRY004  (what argparse is told of)
    return value


def _shared(text: str) -> tuple[float, int]:
    part, _, words = text.partition(":")
    return units.share(part), int(words or Shape.shared_words)


def _arrivals(text: str) -> str:
    distribution.burst(text)
    return text


def _thinking(text: str) -> distribution.Distribution:
    return distribution.distribution(text, units.seconds)


def _other(text: str) -> tuple[str, str, str]:
    name, equals, url = text.partition("=")
    url, _, model = url.partition("#")
    if not (name and equals):
        raise ValueError(f"expected NAME=URL, such as engine=http://127.0.0.1:9001, got {text!r}")
    return LoadTarget(name, url).name, url, model


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def _counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


def _rates(text: str) -> list[float]:
    values = [float(part) for part in text.split(",")]
    if min(values) <= 0:
        raise ValueError(f"expected numbers above 0, such as 0.5,1,2, got {text!r}")
    return values


seconds = _told(units.seconds)
"""Reads a duration, for argparse."""

count = _told(_count)
"""Reads a whole number from 1 on, for argparse."""

counts = _told(_counts)
"""Reads several of these, with commas between them, for argparse."""

rates = _told(_rates)
"""Reads numbers above 0, with commas between them, for argparse."""

arriving = _told(_arrivals)
"""Reads how requests arrive, for argparse."""


Group = argparse._ArgumentGroup  # noqa: SLF001  (its only name)


def parser(purpose: str, own: str) -> tuple[argparse.ArgumentParser, Group]:
    """Make a parser with the flags that all have, and an empty group for a script's own; `purpose` is its docstring."""
    made = argparse.ArgumentParser(
        usage="%(prog)s [flags]",
        description=purpose,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=32, width=120),
        epilog=f"A DIST is {distribution.FORMS}. Exit codes: 0, 1 a bound or a check is broken, 2 it could not begin, "
        "130 interrupted.",
        allow_abbrev=False,
    )
    group = made.add_argument_group(own)
    _of_targets(made.add_argument_group("whom to ask"))
    _of_requests(made.add_argument_group("what to ask"))
    _of_reports(made.add_argument_group("what to make of it"))
    made.set_defaults(max_drift=None)  # which one of them has
    return made, group


def _of_targets(group: Group) -> None:
    add = group.add_argument
    add("--base-url", default=BASE_URL, metavar="URL", help=f"any server with OpenAI's API (default: {BASE_URL})")
    add("--model", default="demo", help="the model to ask for (default: demo)")
    add("--api-key", default="", metavar="KEY", help="sent as a bearer token")
    add("--compare", type=_told(_other), action="append", default=[], metavar="NAME=URL[#MODEL]",
        help="ask this one, too, the same and in turns, and print the ratios; may be repeated")  # fmt: skip
    add("--rounds", type=count, metavar="N", help="turns that each step has (default: 1; 2 with --compare)")
    add("--timeout", type=seconds, default=120.0, metavar="TIME", help="for a whole answer (default: 120s)")


def _of_requests(group: Group) -> None:
    add, shape = group.add_argument, Shape()
    lengths = _told(distribution.distribution)
    add("--prompt", type=lengths, default=shape.prompt, metavar="DIST", help=f"words (default: {shape.prompt})")
    add("--answer", type=lengths, default=shape.answer, metavar="DIST",
        help=f"max_tokens (default: {shape.answer})")  # fmt: skip
    add("--turns", type=lengths, default=shape.turns, metavar="DIST",
        help="of a conversation, each with all before it (default: 1)")  # fmt: skip
    add("--shared", type=_told(_shared), default=(0.0, shape.shared_words), metavar="SHARE[:WORDS]",
        help="of the conversations that begin with one of four system prompts (default: 0:100)")  # fmt: skip
    add("--prompts", type=_told(lambda text: prompts.read(Path(text))), default=(), metavar="FILE",
        help="take the conversations from here: plain lines, JSON lines, or ShareGPT's JSON")  # fmt: skip
    add("--stream", type=_told(units.share), default=1.0, metavar="SHARE", help="of the answers (default: 1)")
    add("--leave", type=_told(units.share), default=0.0, metavar="SHARE", help="of streams left midway (default: 0)")
    add("--think", type=_told(_thinking), default=shape.think, metavar="DIST",
        help="time from an answer to the client's next request, such as exponential:2s (default: 0s)")  # fmt: skip
    add("--unique", action="store_true",
        help="begin each conversation with words of its own: no cache of prompts helps")  # fmt: skip
    add("--endpoint", choices=("chat/completions", "completions"), default="chat/completions",
        help="of /v1/ (default: chat/completions)")  # fmt: skip
    add("--extra", type=_told(_extra), default={}, metavar="JSON",
        help="""more fields for each request, such as '{"ignore_eos": true}'""")  # fmt: skip
    add("--seed", type=int, default=1, metavar="N", help="the same asks the same again (default: 1)")


def _of_reports(group: Group) -> None:
    add = group.add_argument
    add("--slo", type=_told(_slo), metavar="BOUNDS",
        help="what a good answer keeps to, such as ttft=2s,tpot=100ms,whole=30s: gives goodput")  # fmt: skip
    add("--max-p99-ttft", type=seconds, metavar="TIME", help="exit with 1, if a step's is longer")
    add("--max-p99-gap", type=seconds, metavar="TIME", help="the same for the time between tokens")
    add("--max-failures", type=int, metavar="N", help="exit with 1, if more fail")
    add("--out", type=Path, metavar="DIR", help="write results.json, requests.csv and report.html there")
    add("--plain", action="store_true", help="plain lines, as where there is no terminal")


def targets(asked: argparse.Namespace) -> dict[LoadTarget, str]:
    """Give whom to ask, and for which model. Raises ValueError."""
    found = {LoadTarget(BASE, asked.base_url, asked.api_key): asked.model}
    for name, url, model in asked.compare:
        found[LoadTarget(name, url, asked.api_key)] = model or asked.model
    if len({target.name for target in found}) < len(asked.compare) + 1:
        raise ValueError(f"--compare needs names that differ, and that are not {BASE!r}")
    return found


def shape(asked: argparse.Namespace) -> Shape:
    """Give what people ask."""
    share, words = asked.shared
    return Shape(
        prompt=asked.prompt,
        answer=asked.answer,
        turns=asked.turns,
        shared=share,
        shared_words=words,
        stream=asked.stream,
        leave=asked.leave,
        think=asked.think,
        unique=asked.unique,
        conversations=asked.prompts,
    )


def asking(asked: argparse.Namespace, model: str) -> Asking:
    """Give how requests are written."""
    return Asking(model, asked.endpoint, asked.extra, asked.timeout)


def shown(asked: argparse.Namespace) -> dict[str, Any]:
    """Give all flags as they were set, for the report: without the key."""
    values = {name: value for name, value in vars(asked).items() if name != _SECRET}
    values["prompts"] = f"{len(asked.prompts)} conversations of a file" if asked.prompts else "made up"
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool) else str(value)


def command(arguments: Sequence[str]) -> str:
    """Write the command line, for the report: without the key."""
    words = list(arguments)
    for index, word in enumerate(words):
        if word == "--api-key" and index + 1 < len(words):
            words[index + 1] = "…"
        elif word.startswith("--api-key="):
            words[index] = "--api-key=…"
    return " ".join(words)
