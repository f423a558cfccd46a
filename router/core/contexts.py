"""Which backends hold a long prompt: the contexts that are known, and those that engines' refusals tell. Pure.

The context of a backend's model is what its launch or its list of models says, or what it said itself when it refused a
prompt, which is first-hand. A refusal's word counts for `LASTS` seconds, as a server elsewhere may be set up anew.

How many tokens a prompt has, only its engine knows, and no request is refused by an estimate. So:

  1. A prompt with more than `MOST_BYTES` for each token of a context is surely too long for it. It isn't sent there, if
     another backend is there that may hold it (`fitting`).
  2. Where an engine says that a prompt is too long, the backends with a longer context are asked, and those of which it
     isn't known (`beyond`).
  3. Where there is none, the client is told the longest context there is (`tell_longest`).
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from math import inf
from typing import Final

from router.core.catalog import Backend, Candidate, Way, narrowed
from router.core.errors import RouterError

MOST_BYTES: Final = 16
"""Bytes of a body for one token, at most: English has 4, and a Chinese word written as \\u4e2d\\u6587 has 12."""

LASTS: Final = 3600.0
"""Seconds for which a refusal's word counts."""

MOST: Final = 1024
"""Most refusals that are remembered."""

LEAST: Final = 128
MOST_TOKENS: Final = 1 << 30
"""Tokens of a context; what is below or above isn't believed."""

_LONGEST_MESSAGE: Final = 2048
"""Characters of a refusal that are looked at."""

PROMPTS: Final = frozenset({"/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat", "/api/generate"})
"""Paths whose body is one prompt. Others may hold many texts, each with a context to itself."""

_FILE: Final = b";base64,"
"""How a picture or a file begins that is in the body: its bytes say nothing of its tokens."""

_SAYS: Final = (
    # "maximum context length is 8192 tokens", "available context size (8192 tokens)", "context window of 2048"
    re.compile(r"(?:context(?:[ _-](?:length|size|window))?|model length)\b[^\d.]{0,40}(\d[\d,]{0,20})", re.IGNORECASE),
    # "208310 tokens > 200000 maximum", "with 32768 maximum context length"
    re.compile(r"(?<![\d,])(\d[\d,]{0,20})(?: tokens?)? max", re.IGNORECASE),
    # "exceeds the maximum number of tokens allowed (1048576)", "`inputs` tokens + `max_new_tokens` must be <= 4096"
    re.compile(r"(?:tokens allowed\D{0,10}|<= ?)(\d[\d,]{0,20})", re.IGNORECASE),
)


class Contexts:
    """The contexts of backends' models, in tokens. `enough`: no prompt of fewer bytes is surely too long anywhere."""

    def __init__(self) -> None:
        self.enough = inf
        self._described: dict[Backend, Mapping[str, int]] = {}
        # What refusals said, and until when that counts.
        self._refused: OrderedDict[Candidate, tuple[int, float]] = OrderedDict()

    def describe(self, backend: Backend, contexts: Mapping[str, int]) -> None:
        """Note what is known of a backend's models, by its names for them; models that it doesn't name are unknown."""
        self._described[backend] = contexts
        self._count()

    def forget(self, backend: Backend) -> None:
        """Forget a backend."""
        self._described.pop(backend, None)
        for each in [each for each in self._refused if each.backend is backend]:
            del self._refused[each]
        self._count()

    def learn(self, candidate: Candidate, tokens: int, now: float) -> None:
        """Note the context that a refusal tells; 0: it tells none."""
        if tokens:
            self._refused.pop(candidate, None)
            self._refused[candidate] = tokens, now + LASTS
            if len(self._refused) > MOST:
                self._refused.popitem(last=False)
            self._count()

    def _count(self) -> None:
        known = [tokens for each in self._described.values() for tokens in each.values()]
        self.enough = MOST_BYTES * min([*known, *(tokens for tokens, _ in self._refused.values())], default=inf)

    def of(self, candidate: Candidate, now: float) -> int:
        """Give the context of a candidate; 0: it isn't known."""
        tokens, until = self._refused.get(candidate, (0, 0.0))
        return tokens if now < until else self._described.get(candidate.backend, {}).get(candidate.model, 0)

    def fitting(self, way: Way, path: str, body: bytes, now: float) -> Way:
        """Leave out the backends for which a prompt is surely too long, if any other is there or about to be."""
        if len(body) <= self.enough or path not in PROMPTS or _FILE in body:
            return way
        most = len(body) / MOST_BYTES
        found = narrowed(way, lambda each: not 0 < self.of(each, now) < most)
        there = any(backend.health.usable or backend.health.coming for tier in found.tiers for backend, _ in tier)
        return found if there else way

    def beyond(self, way: Way, refused: Candidate, now: float) -> Way:
        """Give the candidates that may hold what is too long for the `refused` one.

        No model is loaded on the mere chance that its context is longer.
        """
        least = self.of(refused, now)

        def may_hold(each: Candidate) -> bool:
            known, backend = self.of(each, now), each.backend
            if known:
                return known > least
            return backend is not refused.backend and (backend.health.usable or not backend.loadable)

        return narrowed(way, may_hold)

    def longest(self, way: Way, now: float) -> int:
        """Give the longest context on this way; 0: none is known."""
        return max((self.of(each, now) for tier in way.tiers for each in tier), default=0)


def said_in(message: str) -> int:
    """Find the context that a refusal tells, in tokens; 0: it tells none."""
    for pattern in _SAYS:
        found = pattern.search(message[:_LONGEST_MESSAGE])
        if found is not None:
            digits = found[1].replace(",", "")
            tokens = int(digits) if len(digits) < len(str(MOST_TOKENS)) else 0
            return tokens if tokens >= LEAST else 0
    return 0


def tell_longest(error: RouterError, model: str, tokens: int) -> None:
    """Add the longest context there is to an engine's refusal, unless its own words have it, or it isn't known (0)."""
    if tokens and said_in(error.message) != tokens:
        error.message = f"{error.message.rstrip()} The longest context of '{model}' here is {tokens} tokens."
