"""The APIs that not every backend speaks, by their paths; and what a backend does with each.

Such a request is translated (`router.translate`) for a backend that doesn't speak its API. An engine that is launched
says which APIs it has. Of a server elsewhere that isn't known: it is sent the request as it came, and an answer that
says "there is no such path" teaches that it must be translated.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
RESPONSES = "/v1/responses"

OLLAMA_STREAMS = frozenset({"/api/chat", "/api/generate"})
"""Ollama's paths whose answers are streams unless the request says otherwise."""

OLLAMA = OLLAMA_STREAMS | {"/api/embed", "/api/embeddings"}
"""Ollama's paths that a model answers. No backend is asked them: what the router lists is not what that one has."""

TRANSLATABLE = OLLAMA | {MESSAGES, COUNT, RESPONSES}

READ_WHOLE = frozenset({COUNT, "/api/embed"})
"""Paths whose texts the router may have to measure, or to shorten."""

BESIDE = frozenset({
    "/apply-template",
    "/classify",
    "/completion",
    "/detokenize",
    "/embedding",
    "/infill",
    "/pooling",
    "/rerank",
    "/reranking",
    "/score",
    "/tokenize",
    "/v2/embed",
    "/v2/rerank",
})  # fmt: skip
"""Paths of engines' own, not under /v1, that a model answers and that change nothing in the engine."""

PARTIAL = BESIDE | {
    "/v1/audio/speech",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/embeddings",
    "/v1/images/edits",
    "/v1/images/generations",
    "/v1/images/variations",
    "/v1/moderations",
    "/v1/rerank",
    "/v1/reranking",
    "/v1/responses/input_tokens",
    "/v1/score",
}
"""Paths that some engines have and others lack, and that nothing translates."""

POSTED = PARTIAL | TRANSLATABLE | {CHAT, "/v1/completions"}
"""Paths that are known to take a POST, of all that a model may answer."""

GENERATES = OLLAMA_STREAMS | {CHAT, "/v1/completions", "/completion", "/infill", MESSAGES, RESPONSES}
"""Paths whose answers are text that a model makes."""

_NO_SUCH_PATH = frozenset({404, 405, 501})

_MODEL = re.compile(rb"\bmodel(?:_not_found)?\b", re.IGNORECASE)

_UNEXPECTED = b"Unexpected endpoint"
"""How LM Studio begins its error for a path that it doesn't know, with the status 200."""


@dataclass(frozen=True, slots=True)
class Apis:
    """What is known of the APIs of a backend.

    It doesn't speak those that it `lacks`, and has answered those that it `speaks`; of others it isn't known. Answers
    on paths that it `mends` lack what clients need. `counter` is the path at which our wrapper of an engine
    counts the tokens of a chat; empty: there is none.

    `engine` is what runs there, if the router launches it. It `has` these paths, but not those that its launch doesn't
    enable: `needs` has the argument for each. `opaque`: what else it has, and which fields it knows, its answers show.
    `guarded`: there are fields that it must not get.
    `asks_usage`: its streams tell their usage only if they are asked to, and are, though their clients don't.
    """

    lacks: frozenset[str] = OLLAMA
    speaks: frozenset[str] = frozenset()
    mends: frozenset[str] = frozenset()
    counter: str = ""
    has: frozenset[str] = frozenset()
    needs: Mapping[str, str] = field(default_factory=dict)
    engine: str = ""
    opaque: bool = True
    guarded: bool = False
    asks_usage: bool = False

    def has_path(self, path: str) -> bool | None:
        """Whether a path is there, if nothing translates it; None: only an answer can tell.

        What is neither under /v1 nor one of `BESIDE` is a path of a command's own.
        """
        if path in self.has:
            return path not in self.needs
        if not self.engine or path in OLLAMA:
            return None
        if path.startswith("/v1/") or path in BESIDE:
            return None if self.opaque or path not in PARTIAL else False
        return False

    def taught(self, path: str, *, speaks: bool) -> "Apis":
        """Give what is known once an answer has shown whether a path is there."""
        if speaks:
            return replace(self, speaks=self.speaks | {path})
        return replace(self, lacks=self.lacks | {path})


UNKNOWN = Apis()
"""What is known of a server elsewhere."""


def api_of(path: str) -> str:
    """Say whose API a path belongs to: `openai`, `anthropic`, `ollama`, or `engine` for what only some engines have."""
    if path in {MESSAGES, COUNT}:
        return "anthropic"
    return "openai" if path.startswith("/v1/") else "ollama" if path in OLLAMA else "engine"


def may_lack(status: int, length: int) -> bool:
    """Whether an answer with this status and length of body, 0 if not told, may say that there is no such path."""
    return status in _NO_SUCH_PATH or (status == 200 and 0 < length < 512)


def says_no_such_path(status: int, body: bytes) -> bool:
    """Whether an answer says that its server has no such path. A 404 that speaks of a model says that of the model."""
    if status == 200:
        return _UNEXPECTED in body
    return status != 404 or _MODEL.search(body) is None
