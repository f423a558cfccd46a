"""What llama_cpp.server reads of a chat before it generates: checks its prompt, and counts the prompt's tokens.

A part of llama_cpp_server.py. `POST /v1/router/count_tokens` takes a chat and answers `{"input_tokens": n}`: the tokens
of the prompt that the chat would have. The engine's own code makes that prompt, and nothing waits for an answer that is
being generated.
"""

from collections.abc import Callable, Iterator
from typing import Any

COUNTER = "/v1/router/count_tokens"
NO_LIMIT = 1 << 31
"""Tokens; more than any prompt has."""


def check_completion(llama: Any, options: dict[str, Any]) -> None:  # noqa: ANN401 -- llama_cpp's own class
    """Raise ValueError for a bias of a token that doesn't exist."""
    size = llama.n_vocab()
    for token in options.get("logit_bias") or ():
        if not 0 <= int(token) < size:
            raise ValueError(f"logit_bias has no token {token}: the model has {size}")


def check_chat(llama: Any, options: dict[str, Any]) -> None:  # noqa: ANN401
    """Raise ValueError for parts of a message that a text model would get as noise."""
    check_completion(llama, options)
    if llama.chat_handler is None and any(isinstance(each.get("content"), list) for each in options["messages"]):
        raise ValueError("This model reads text alone; one that reads images runs with clip_model_path and chat_format")


class CountedError(Exception):
    """A prompt is ready to be completed; `tokens` is their number."""

    def __init__(self, tokens: int) -> None:
        super().__init__(tokens)
        self.tokens = tokens


class Counter:
    """A model that counts a prompt's tokens where the real one would complete it, and changes nothing of the real one.

    Only what makes a prompt is read of the model: its vocabulary and its template, which don't change.
    """

    cache = None
    verbose = False
    _n_ctx = NO_LIMIT

    def __init__(self, llama: Any) -> None:  # noqa: ANN401 -- llama_cpp's own class
        self._llama = llama

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._llama, name)

    def create_completion(self, prompt: str | list[int], **_: Any) -> Any:  # noqa: ANN401
        """Raise CountedError: the model's own completing begins, up to where it would generate."""
        return next(type(self._llama)._create_completion(self, prompt))  # noqa: SLF001

    def set_seed(self, seed: int) -> None:
        """Leave the model's as it is."""

    def generate(self, tokens: Any, **_: Any) -> Iterator[int]:  # noqa: ANN401
        """Raise CountedError."""
        raise CountedError(len(tokens))


def count(chat: Callable[..., Any], llama: Any, options: dict[str, Any]) -> int:  # noqa: ANN401
    """Count the tokens of a chat's prompt. `chat` is Llama.create_chat_completion as the engine has it."""
    check_chat(llama, options)
    try:
        chat(Counter(llama), **options)
    except CountedError as counted:
        return counted.tokens
    raise RuntimeError("a chat was answered without a prompt")


def add_counter(app: Any, depends: Callable[..., Any], chat: Callable[..., Any]) -> None:  # noqa: ANN401
    """Add the path that counts. `app` is the server's module, `depends` is FastAPI's Depends."""

    def count_tokens(body: Any) -> dict[str, int]:  # noqa: ANN401 -- the type is set below
        # A model that reads images counts as it evaluates, which would disturb the answer that is being generated.
        proxy = app._llama_proxy  # noqa: SLF001
        if proxy._default_model_settings.clip_model_path is not None:  # noqa: SLF001
            raise NotImplementedError("The prompts of a model that reads images can't be counted.")
        names = {"messages", "functions", "function_call", "tools", "tool_choice"}
        return {"input_tokens": count(chat, proxy(body.model), body.model_dump(include=names))}

    # FastAPI runs it in a thread, as it is no coroutine.
    count_tokens.__annotations__["body"] = app.CreateChatCompletionRequest
    app.router.add_api_route(COUNTER, count_tokens, methods=["POST"], dependencies=[depends(app.authenticate)])
