"""What a request has used: tokens as the engine counted them, or an estimate where it didn't, and their price. Pure.

1. An answer that is whole, and says its counts: these, to the token.
2. An error in the place of an answer has used nothing, nor has what was sent to no engine.
3. llama.cpp's server counts one choice alone where a request has several prompts, or asks for several choices: the rest
   is estimated from the events and the bytes of the answer, and nothing is learned from it.
4. Anything else (the client left, the engine broke off, or it doesn't count) is estimated, and marked so: the prompt
   from the bytes of the request, a stream's tokens from its events, those of an answer in one piece from its time. What
   a model's tokens come to in bytes, events and seconds is learned from those of its answers that do say.
"""

from typing import Final

from router.core.apis import CHAT, GENERATES
from router.core.ending import Ending
from router.core.prompts import BYTES_A_TOKEN, MOST_SUMMED
from router.core.record import ANSWERED, Record, tokens_in
from router.core.statuses import LEFT

MILLION: Final = 1_000_000
"""Prices are for so many tokens."""

LEAST_SUMMED: Final = 8
"""Tokens before which nothing is known."""

MOST_MODELS: Final = 4096
"""Models of which something is known."""

_READS: Final = GENERATES | {
    "/v1/embeddings", "/embedding", "/api/embed", "/api/embeddings", "/v1/rerank", "/v1/reranking", "/rerank",
    "/reranking", "/v1/score", "/score", "/v2/embed", "/v2/rerank", "/classify", "/pooling",
}  # fmt: skip
"""Paths whose answers are of tokens that a model makes, or reads."""

_CHOOSES: Final = frozenset({CHAT, "/v1/completions", "/completion", "/infill"})
"""Paths whose answers may have several choices."""

_FRAME: Final = 512
_FRAMES: Final = {"/completion": 2048}
_OF_CHOICE: Final = 80
"""Bytes of an answer in one piece beside its texts: once, and for each choice, which may have all settings with it."""

_ENDS: Final = 2
"""Events of a whole stream that bring no token: the one with the reason for its end, and the end mark."""


# No NamedTuples: attributes of compiled classes are read in a tenth of the time, and each request makes some.


class Price:
    """Money for a million tokens; `cached` is for those of a prompt that the engine had in its cache."""

    def __init__(self, input: float = 0.0, output: float = 0.0, cached: float = 0.0) -> None:  # noqa: A002
        self.input: Final = input
        self.output: Final = output
        self.cached: Final = cached


FREE: Final = Price()


class Use:
    """What a request has used, in tokens; those that were `cached` are among those of its prompt."""

    def __init__(self, prompt: int, cached: int, completion: int, *, estimated: bool) -> None:
        self.prompt: Final = prompt
        self.cached: Final = cached
        self.completion: Final = completion
        self.estimated: Final = estimated

    def __repr__(self) -> str:
        about = "about " if self.estimated else ""
        return f"<Use: {about}{self.prompt} tokens, {self.cached} of them cached, and {self.completion}>"


class Sum:
    """What many requests have used together, in tokens and money; the tokens of some are `estimated`."""

    def __init__(self) -> None:
        self.requests = 0
        self.estimated = 0
        self.prompt = 0
        self.cached = 0
        self.completion = 0
        self.cost = 0.0

    def add(self, use: Use, money: float) -> None:
        """Add what one has used."""
        self.requests += 1
        self.estimated += use.estimated
        self.prompt += use.prompt
        self.cached += use.cached
        self.completion += use.completion
        self.cost += money


NONE: Final = Use(0, 0, 0, estimated=False)


def cost(use: Use, price: Price) -> float:
    """Give the money for it."""
    read = use.prompt - use.cached
    return (read * price.input + use.cached * price.cached + use.completion * price.output) / MILLION


class Rate:
    """Tokens for each of something else, learned from pairs of both."""

    def __init__(self, first: float) -> None:
        self._first = first
        self._tokens = 0.0
        self._others = 0.0

    def learn(self, tokens: int, others: float) -> None:
        """Take a pair."""
        if others <= 0:
            return
        self._tokens += tokens
        self._others += others
        if self._tokens > MOST_SUMMED:
            self._tokens, self._others = self._tokens / 2, self._others / 2

    def tokens(self, others: float) -> int:
        """Estimate the tokens."""
        rate = self._tokens / self._others if self._tokens >= LEAST_SUMMED else self._first
        return round(max(0.0, others) * rate)


class Line:
    """Tokens of a prompt by the bytes of its request: each request has some of both beside its texts.

    The line through what came, by least squares; where all requests were of one size, through that.
    """

    def __init__(self) -> None:
        self._n = self._x = self._y = self._xx = self._xy = 0.0

    def learn(self, size: int, tokens: int) -> None:
        """Take a request that was counted."""
        self._n += 1
        self._x += size
        self._y += tokens
        self._xx += size * size
        self._xy += size * tokens
        if self._y > MOST_SUMMED and self._n > LEAST_SUMMED:
            self._n, self._x, self._y = self._n / 2, self._x / 2, self._y / 2
            self._xx, self._xy = self._xx / 2, self._xy / 2

    def tokens(self, size: int) -> int:
        """Estimate the tokens of a request of so many bytes: not more than it has."""
        if not self._x:
            return round(size / BYTES_A_TOKEN)
        mean_x, mean_y = self._x / self._n, self._y / self._n
        spread = self._xx / self._n - mean_x * mean_x
        if spread <= mean_x * mean_x * 1e-6:
            return min(size, round(size * mean_y / mean_x))
        slope = max(0.0, (self._xy / self._n - mean_x * mean_y) / spread)
        return max(0, min(size, round(mean_y + slope * (size - mean_x))))


class Known:
    """What is known of one model's tokens: by bytes of a prompt, events of a stream, seconds of an answer."""

    def __init__(self) -> None:
        self.prompt: Final = Line()
        self.events: Final = Rate(1.0)
        self.seconds: Final = Rate(0.0)


class Meter:
    """Tells what requests have used. It learns from those that say, by their models."""

    def __init__(self, most: int = MOST_MODELS) -> None:
        self._most: Final = most
        self._known: dict[str, Known] = {}

    def use(self, model: str, record: Record, said: Ending) -> Use:
        """Tell what a request for this model has used; `said` is what its end says."""
        prompt, completion = said.prompt_tokens, said.completion_tokens
        is_whole = record.outcome == ANSWERED and not said.error
        is_refused = record.status >= 400 and record.status != LEFT and not record.events
        if is_refused or not record.tries:
            return NONE
        if is_whole and prompt is not None and (completion is not None or record.path not in GENERATES):
            if said.choices and _has_more(record, said.choices, completion or 0):
                return self._estimate_all(self._of(model), record, said.choices, prompt, completion or 0)
            use = Use(prompt, min(prompt, said.cached_tokens or 0), completion or 0, estimated=False)
            self._learn(self._of(model), record, use)
            return use
        if record.path not in _READS:
            return Use(prompt or 0, 0, completion or 0, estimated=False)
        return self._estimate(self._of(model), record, said, is_whole=is_whole)

    def _of(self, model: str) -> Known:
        known = self._known.get(model)
        if known is None:
            if len(self._known) >= self._most:
                self._known.clear()
            known = self._known[model] = Known()
        return known

    def _learn(self, known: Known, record: Record, use: Use) -> None:
        known.prompt.learn(record.tries[-1].size, use.prompt)
        if record.events:
            texts = _texts(record, is_whole=True)
            # An event with text has a token at least, whatever an engine says: other requests are estimated by this.
            known.events.learn(max(use.completion, texts), texts)
        elif use.completion:
            known.seconds.learn(use.completion, _seconds(record))

    def _estimate(self, known: Known, record: Record, said: Ending, *, is_whole: bool) -> Use:
        prompt = known.prompt.tokens(record.tries[-1].size) if said.prompt_tokens is None else said.prompt_tokens
        completion = said.completion_tokens if is_whole else None
        if completion is None and record.path in GENERATES:
            if record.events:
                completion = known.events.tokens(_texts(record, is_whole=is_whole))
            elif not record.tries[-1].streams:
                completion = known.seconds.tokens(_seconds(record)) or (_by_bytes(record, 1) if is_whole else 0)
        return Use(prompt, 0, completion or 0, estimated=True)

    def _estimate_all(self, known: Known, record: Record, choices: int, prompt: int, completion: int) -> Use:
        """Estimate what all choices have used, of which one has used this."""
        asked = max(choices, record.tries[-1].choices)
        size = record.tries[-1].size
        # What was learned from single prompts may be too little for a list of them; chats have one, and maybe images.
        least = 0 if record.path == CHAT else round(size / BYTES_A_TOKEN)
        prompt = max(prompt, known.prompt.tokens(size), least)
        if record.events:
            all_of_them = known.events.tokens(_texts(record, is_whole=True))
        else:
            # Not all that are asked for need be there.
            all_of_them = max(min(completion * asked, record.sent), _by_bytes(record, asked))
        return Use(prompt, 0, max(completion, all_of_them), estimated=True)


def _texts(record: Record, *, is_whole: bool) -> int:
    """Tell how many events of a stream have brought text: a chat's first one says only who speaks."""
    others = (record.path == CHAT) + (_ENDS if is_whole else 0)
    return max(0, tokens_in(record.path, record.events) - others)


def _has_more(record: Record, choices: int, completion: int) -> bool:
    """Tell whether an answer has more choices than the one that was counted."""
    if record.path not in _CHOOSES:
        return False
    if choices > 1 or record.tries[-1].choices > 1:
        return True
    # Each event with text has a token at least; a few more may be of tool calls.
    return record.events > 0 and _texts(record, is_whole=True) > completion * 1.25 + LEAST_SUMMED


def _by_bytes(record: Record, choices: int) -> int:
    """Estimate the tokens of an answer in one piece by its bytes; where these tell of each token, they say nothing."""
    if b'"logprob":' in record.tail or b'"prob":' in record.tail:
        return 0
    frames = _FRAME + choices * _FRAMES.get(record.path, _OF_CHOICE)
    return max(0, round((record.sent - frames) / BYTES_A_TOKEN))


def _seconds(record: Record) -> float:
    """Tell for how long its last attempt lasted."""
    last = record.tries[-1]
    return max(0.0, last.ended - last.begun)
