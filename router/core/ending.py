"""What the end of an answer says: its counts of tokens, why it ended, and whether with an error. Pure.

It is read once for each answer, from its last bytes, when the access log's lines are written.
"""

import re
from typing import Final

import msgspec

from router.core.record import ANSWERED, Record, tokens_in

_MOST_TOKENS = 10**12
"""Token counts above this are mistakes."""

_WORD = re.compile(rb'\s*:\s*(?:\{\s*"reason"\s*:\s*)?"([A-Za-z_]{1,40})"')
_REASONS: Final = (b'"finish_reason"', b'"stop_reason"', b'"done_reason"', b'"incomplete_details"', b'"status"')
"""Fields that say why an answer ended; answers of OpenAI's Responses have the last two alone."""

_ERROR = re.compile(rb'(?:\n|^)(?:data: ?)?\{\s*"(?:error"\s*:\s*[{"]|(?:type|object)"\s*:\s*"error")')
_FAILED = re.compile(rb'"status":"failed"\}(?:,"sequence_number":\d+)?\}\s*\Z')
"""The end of a stream of /v1/responses that failed, as `router.translate` writes it."""

_MOST_CLOSED: Final = 32
"""Objects that are looked into for the end of the one that they are in."""

_CHOICE = re.compile(rb'"index"\s*:\s*([1-9]\d{0,5})\s*,\s*"(?:message|delta|logprobs|content)"')
"""The number of a choice that isn't the first, as llama.cpp's server writes it, and not that of a tool call."""

_LIST = re.compile(rb"\}\s*\]\s*(?:0\s*)?\Z")
"""The end of a list of answers, chunked or not."""

_read = msgspec.json.Decoder(dict[str, object]).decode


class Ending:
    """What the end of an answer says; None if it doesn't. `error`: it ends with an error, whatever its status.

    `prompt_tokens` include `cached_tokens`: those that the engine had in its cache. `choices`: the counts are of one
    choice alone, and there are at least so many; 0: they are of all.
    """

    def __init__(
        self,
        prompt_tokens: int | None,
        completion_tokens: int | None,
        finish_reason: str | None,
        *,
        error: bool,
        cached_tokens: int | None = None,
        choices: int = 0,
    ) -> None:
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens
        self.finish_reason = finish_reason
        self.error: Final = error
        self.cached_tokens: Final = cached_tokens
        self.choices: Final = choices


def ending(tail: bytes) -> Ending:
    """Read the end of an answer. The last mention of each figure counts."""
    usage = _usage(tail)
    prompt = completion = cached = None
    if usage:
        prompt = _count(usage, "prompt_tokens", "input_tokens", "prompt_eval_count")
        completion = _count(usage, "completion_tokens", "output_tokens", "eval_count")
        details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
        if isinstance(details, dict):
            cached = _whole(details.get("cached_tokens"))
        elif "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage:
            cached = _whole(usage.get("cache_read_input_tokens"))
            if prompt is not None:
                # Anthropic's API counts them apart.
                prompt += (cached or 0) + (_whole(usage.get("cache_creation_input_tokens")) or 0)
    choices = _choices(tail)
    return Ending(prompt, completion, _reason(tail), error=ends_in_error(tail), cached_tokens=cached, choices=choices)


def told_by(record: Record) -> Ending:
    """Read how an exchange ended. What was cut has no reason of the engine's, and the counts of its beginning are none.

    Its tokens are about as many as its events.
    """
    said = ending(record.tail)
    if record.outcome != ANSWERED:
        said.finish_reason = None
        if record.events:
            said.prompt_tokens = said.prompt_tokens or None
            said.completion_tokens = max(said.completion_tokens or 0, tokens_in(record.path, record.events))
    return said


def ends_in_error(tail: bytes) -> bool:
    """Tell whether there is an error in the end of an answer."""
    if tail.rfind(b'"error"') >= 0 and _ERROR.search(tail) is not None:
        return True
    return tail.rfind(b'"failed"', -64) >= 0 and _FAILED.search(tail[-64:]) is not None


def _usage(tail: bytes) -> dict[str, object]:
    """Read the last object named usage, which may have objects inside, or what says the same elsewhere.

    llama.cpp's server tells `timings` at the end of every stream, and its usage only if it is asked for it.
    """
    usage = _object(tail, b'"usage"')
    if usage:
        return usage
    if b'"eval_count"' in tail:
        return _fields(tail.rstrip().rpartition(b"\n")[2])
    return _timed(_object(tail, b'"timings"'))


def _object(tail: bytes, name: bytes) -> dict[str, object]:
    """Read the last object of this name, with those inside of it; nothing, where there is none, or not all of it."""
    at = tail.rfind(name)
    if at < 0:
        return {}
    at += len(name)
    begin = at + 1
    if tail[at : at + 2] != b":{":  # as most engines write it
        begin = tail.find(b"{", at, at + 6)
        if begin < 0 or tail[at:begin].strip() != b":":
            return {}
    end = begin
    for _ in range(_MOST_CLOSED):
        end = tail.find(b"}", end) + 1
        if end == 0:
            break
        if tail.count(b"{", begin, end) == tail.count(b"}", begin, end):
            return _fields(tail[begin:end])
    return {}


def _choices(tail: bytes) -> int:
    """Tell of at least how many choices an answer with `timings` is: llama.cpp's server counts one of them alone."""
    if b'"timings"' not in tail:
        return 0
    numbers = [int(number) + 1 for number in _CHOICE.findall(tail)]
    return max(numbers, default=2 if _LIST.search(tail[-64:]) is not None else 1)


def _timed(timings: dict[str, object]) -> dict[str, object]:
    """Read llama.cpp's timings as a usage: it counts apart what it has read, and what was in its cache."""
    read, made, cached = _whole(timings.get("prompt_n")), timings.get("predicted_n"), _whole(timings.get("cache_n"))
    if read is None or made is None:
        return {}
    prompt = read + (cached or 0)
    return {"prompt_tokens": prompt, "completion_tokens": made, "prompt_tokens_details": {"cached_tokens": cached}}


def _fields(said: bytes) -> dict[str, object]:
    """Read an object; nothing, where it is none. The last line of Ollama's API has its counts at the top."""
    try:
        return _read(said)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


def _count(usage: dict[str, object], older: str, newer: str, ollamas: str) -> int | None:
    """Give a token count by its first name found: OpenAI's older one, or Anthropic's, which OpenAI's newer API has."""
    said = _whole(usage.get(older))
    if said is None:
        said = _whole(usage.get(newer))
    return _whole(usage.get(ollamas)) if said is None else said


def _whole(said: object) -> int | None:
    return said if isinstance(said, int) and not isinstance(said, bool) and 0 <= said < _MOST_TOKENS else None


def _reason(tail: bytes) -> str | None:
    """Find the last text in the first of these fields that has one: engines send null until they have one."""
    for name in _REASONS:
        at = tail.rfind(name)
        while at >= 0:
            word = _word(tail, at + len(name))
            if word is not None:
                return word.decode("ascii")
            at = tail.rfind(name, 0, at)
    return None


def _word(tail: bytes, at: int) -> bytes | None:
    """Read the word that a field has whose name ends here."""
    # Most answers have it so, and the search below costs twice as much.
    if tail[at : at + 2] == b':"':
        end = tail.find(b'"', at + 2, at + 43)
        if end > 0 and tail[at + 2 : end].isalpha():
            return tail[at + 2 : end]
    said = _WORD.match(tail, at)
    return None if said is None else said[1]
