"""llama_cpp.server, completed to more of OpenAI's API; it stops generating when its client leaves.

Run as `python -P llama_cpp_server.py --model FILE ...`, with the arguments of `llama_cpp.server`. The server itself
notices only between the pieces of a stream that its client has left; any other answer is generated to its end, for
nobody, while all others wait. Here each request's client is watched, and no token is generated after it has left.

1. A stream ends with its usage if `stream_options` asks for it, else it is in the chunk with the finish reason.
2. Embeddings are base64 if `encoding_format` asks for it: little-endian floats of 32 bits.
3. An error is one sentence: a 400 for a mistake of the client, and nothing about the server's files. A stream's head
   waits for its first event, so a prompt that is too long is a 400 there, too.
4. A request that it would answer otherwise than asked is an error: an image that the model can't read, a schema that
   can't become a grammar, a text that is too long to embed, an embedding of another size, a bias for a token that
   doesn't exist. So is a grammar that can't be parsed, or a huge one, as long texts in a schema make it: either would
   end the process.
5. In a stream, the name and the id of a tool call are only in its first piece: clients concatenate the pieces.
6. Web pages get nothing: its port is on a machine where people open pages, and it would answer any of them.
7. It says why a model can't be loaded. llama_cpp sends llama.cpp's words to /dev/null meanwhile, and its levels are
   those of an old llama.cpp, by which errors are details.
8. It counts the tokens of a chat's prompt (llama_cpp_prompts.py).
"""

import asyncio
import base64
import importlib.util
import logging
import re
import struct
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from json import dumps
from pathlib import Path
from typing import Any

import pydantic

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]
Chunk = dict[str, Any]
Told = tuple[int, dict[str, Any]]
"""A status, and an error in OpenAI's form."""

BAD_REQUEST, FORBIDDEN, FAILED, NOT_IMPLEMENTED = 400, 403, 500, 501
OWN_NAMES = (b"127.0.0.1", b"localhost")
MOST_GRAMMAR = 64 << 10
"""Most bytes of a grammar: nested optional parts are parsed by recursion."""
PROBE = "/openapi.json"
LEVELS = {1: logging.DEBUG, 2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}  # ggml's, as Python's
TOO_LONG = re.compile(r"Requested tokens \((\d+)\) exceed context window of (\d+)")


@dataclass
class Asked:
    """A request under way, shared with the threads that work on it.

    `left`: its client has left. `prompt` and `made` are numbers of tokens. `error` is sent instead of its stream.
    """

    left: threading.Event = field(default_factory=threading.Event)
    prompt: int = 0
    made: int = 0
    error: Told | None = None

    @property
    def usage(self) -> dict[str, int]:
        """The numbers of tokens as OpenAI's API has them."""
        return {"prompt_tokens": self.prompt, "completion_tokens": self.made, "total_tokens": self.prompt + self.made}


ASKED: ContextVar[Asked | None] = ContextVar("asked", default=None)


def watched(app: App) -> App:
    """Wrap an ASGI application: watch each request's client, and hold a stream's head until its first event."""

    async def watch(scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401 -- ASGI's own type
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        if is_of_a_page(scope["headers"]):
            await answer(send, FORBIDDEN, told("No web page may ask an engine; ask the router.", code="not_allowed"))
            return
        asked = Asked()
        ASKED.set(asked)
        watching: list[asyncio.Task[None]] = []

        async def wait() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            asked.left.set()

        async def received() -> Message:
            message = await receive()
            # The body is whole: only a disconnect can follow.
            if not watching and not message.get("more_body", False):
                watching.append(asyncio.create_task(wait()))
            return message

        try:
            await app(scope, received, held(send, asked))
        finally:
            for task in watching:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    return watch


def is_of_a_page(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tell a page's request (6 above): a browser names the page's origin, or a host that points here."""
    for name, value in headers:
        if name == b"origin" or (name == b"host" and value.partition(b":")[0] not in OWN_NAMES):
            return True
    return False


def held(send: Send, asked: Asked) -> Send:
    """Hold an answer's head until its body begins; if there is an error by then, send that instead."""
    head: list[Message] = []
    answered = False

    async def sent(message: Message) -> None:
        nonlocal answered
        if answered:
            return
        if message["type"] == "http.response.start":
            head.append(message)
            return
        if head:
            begin = head.pop()
            if asked.error is not None:
                answered = True
                await answer(send, *asked.error)
                return
            await send(begin)
        await send(message)

    return sent


async def answer(send: Send, status: int, error: dict[str, Any]) -> None:
    """Answer with an error."""
    body = dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


# What generates


def stopping(generate: Callable[..., Iterator[int]], ends: Callable[[Any, int], bool]) -> Callable[..., Iterator[int]]:
    """Make a token generator stop when its client has left, and count tokens, except those that end an answer."""

    def until_left(llama: Any, tokens: Any, *args: Any, **options: Any) -> Iterator[int]:  # noqa: ANN401
        asked = ASKED.get() or Asked()
        asked.prompt = len(tokens)
        for token in generate(llama, tokens, *args, **options):
            if asked.left.is_set():
                return
            asked.made += not ends(llama, token)
            yield token

    return until_left


def completing(call: Callable[..., Any], check: Callable[..., None]) -> Callable[..., Any]:
    """Make a completion or a chat check its options, and report its stream's usage."""

    def complete(llama: Any, *, stream_options: Any = None, **options: Any) -> Any:  # noqa: ANN401
        check(llama, options)
        answer = call(llama, **options)
        if not options.get("stream"):
            return answer
        return streamed(answer, with_usage=bool((stream_options or {}).get("include_usage")))

    return complete


def streamed(chunks: Iterable[Chunk], *, with_usage: bool) -> Iterator[Chunk]:
    """Do 1, 3 and 5 above."""
    asked = ASKED.get() or Asked()
    chunk: Chunk = {}
    named = False
    try:
        for chunk in chunks:
            named = once_named(chunk, named=named)
            if with_usage:
                chunk["usage"] = None
            elif any(choice.get("finish_reason") for choice in chunk.get("choices", ())):
                chunk["usage"] = asked.usage
            yield chunk
    except Exception as error:
        if chunk:
            raise  # an answer that has begun breaks off
        asked.error = explained(error)
        yield {"error": asked.error[1]}
        return
    if with_usage and chunk:
        yield {**chunk, "choices": [], "usage": asked.usage}


def once_named(chunk: Chunk, *, named: bool) -> bool:
    """Remove a call's name from a piece that isn't its first; tell whether the name was sent by now."""
    for choice in chunk.get("choices", ()):
        delta = choice.get("delta") or {}
        calls = delta.get("tool_calls")
        if not calls:
            continue
        if named:
            for call in calls:
                call.pop("id", None)
                call["function"].pop("name", None)
            if delta.get("function_call"):
                delta["function_call"].pop("name", None)
        named = True
    return named


def embedding(create: Callable[..., Any]) -> Callable[..., Any]:
    """Make embeddings accept OpenAI's fields, and refuse what would be done otherwise than asked."""

    def embed(
        llama: Any,  # noqa: ANN401
        input: str | list[str],  # noqa: A002 -- the server's word
        model: str | None = None,
        encoding_format: str | None = None,
        dimensions: int | None = None,
    ) -> Any:  # noqa: ANN401
        if not llama.context_params.embeddings:
            raise ValueError("This model runs without embeddings; they need embedding: true in its launch.args")
        if dimensions not in (None, llama.n_embd()):
            raise ValueError(f"dimensions must be {llama.n_embd()}, the size of this model's embeddings, or left out")
        for place, text in enumerate([input] if isinstance(input, str) else input):
            tokens = len(llama.tokenize(text.encode()))
            if not 0 < tokens <= llama.n_batch:
                raise ValueError(
                    f"input[{place}] has {tokens} tokens; this model embeds 1 to {llama.n_batch} (n_batch)"
                )
        answer = create(llama, input, model)
        if encoding_format == "base64":
            for each in answer["data"]:
                each["embedding"] = as_base64(each["embedding"])
        return answer

    return embed


def as_base64(vector: list[Any]) -> str:
    """Encode a vector as little-endian floats of 32 bits; several vectors, one for each token, are concatenated."""
    numbers = [number for each in vector for number in each] if vector and isinstance(vector[0], list) else vector
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def strict(grammar: Callable[..., Any]) -> Callable[..., Any]:
    """Make a schema that can't become a grammar an error: the answer would be any JSON."""

    def made(schema: str, verbose: bool = False, **_: Any) -> Any:  # noqa: ANN401, FBT001, FBT002 -- as it is called
        try:
            return grammar(schema, verbose=verbose, fallback_to_json=False)
        except Exception as error:
            why = f"{error} refers to itself" if isinstance(error, KeyError) else error
            raise ValueError(f"The schema can't be made a grammar: {why}") from error

    return made


def checked(read: Callable[..., Any], use: Callable[..., None]) -> Callable[..., None]:
    """Parse a grammar before it is used: `read` gives a null pointer if that fails."""

    def add(sampler: Any, model: Any, grammar: Any) -> None:  # noqa: ANN401 -- llama_cpp's own classes
        text, root = grammar._grammar.encode(), grammar._root.encode()  # noqa: SLF001
        if len(text) > MOST_GRAMMAR:
            raise ValueError("The schema makes too large a grammar: take shorter minLength, maxLength or minItems")
        found = read(model.vocab, text, root)
        if not found:
            raise ValueError(
                "The schema makes a grammar that can't be read: it is contradictory, or its limits are too high"
            )
        use(sampler.sampler, found)

    return add


# Errors


def explained(error: Exception) -> Told:
    """Make the answer to an error (3 above)."""
    problems = getattr(error, "errors", None)
    # FastAPI's: what each field should be.
    if callable(problems):
        first = problems()[0]
        place = [str(each) for each in first["loc"][1:]]
        several = [number for number, each in enumerate(place) if not each.isdigit() and not each.islower()]
        # Of a value that may be one of several types, it is only said that it is none of them.
        if several:
            place, first = place[: several[0]], {"msg": "a field is missing here, or of the wrong type"}
        return BAD_REQUEST, told(f"{'.'.join(place) or 'body'}: {first['msg']}.", place[0] if place else None)
    text = str(error).strip().partition("\n")[0]
    if found := TOO_LONG.search(text):
        message = (
            f"This model's maximum context length is {found[2]} tokens, but the prompt has {found[1]}; shorten it."
        )
        return BAD_REQUEST, told(message, "messages", "context_length_exceeded")
    if "logits_all" in text:
        text = "This model runs without log probabilities; they need logits_all: true in its launch.args"
    if isinstance(error, NotImplementedError):
        return NOT_IMPLEMENTED, told(text, type="server_error")
    if isinstance(error, ValueError) or type(error).__module__.startswith("jinja2"):
        return BAD_REQUEST, told(text.removesuffix(".") + ".")
    traceback.print_exception(error, file=sys.stderr)
    error_type = type(error).__name__
    return FAILED, told(f"llama_cpp failed at this request ({error_type}); its log has more.", type="server_error")


def told(
    message: str,
    param: str | None = None,
    code: str | None = None,
    type: str = "invalid_request_error",  # noqa: A002 -- OpenAI's word
) -> dict[str, Any]:
    """Write an error in OpenAI's form."""
    return {"message": message, "type": type, "param": param, "code": code}


def extend(types: Any) -> None:  # noqa: ANN401 -- a module
    """Add fields to the server's request types, which would drop them; call it before the server is imported."""
    more: dict[str, dict[str, Any]] = {
        "CreateChatCompletionRequest": {"stream_options": (dict[str, Any] | None, None)},
        "CreateCompletionRequest": {"stream_options": (dict[str, Any] | None, None)},
        "CreateEmbeddingRequest": {"encoding_format": (str | None, None), "dimensions": (int | None, None)},
    }
    for name, fields in more.items():
        setattr(types, name, pydantic.create_model(name, __base__=getattr(types, name), **fields))


def heard(log: Any, *modules: Any) -> None:  # noqa: ANN401
    """Let llama.cpp's errors be read; `log` is llama_cpp's module of that, `modules` are those that redirect output."""
    log.GGML_LOG_LEVEL_TO_LOGGING_LEVEL.update(LEVELS)
    for module in modules:
        module.suppress_stdout_stderr = lambda disable=True: nullcontext()  # noqa: ARG005 -- as it is called


def is_no_probe(record: logging.LogRecord) -> bool:
    """Tell whether a line of the access log is of a request of clients: probes would fill it."""
    return not (isinstance(record.args, tuple) and record.args[1:3] == ("GET", PROBE))


def beside(name: str) -> Any:  # noqa: ANN401 -- a module
    """Import a file that is beside this one, whose folder is not where Python looks for modules."""
    spec: Any = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Serve until a signal ends it."""
    logging.getLogger("uvicorn.access").addFilter(is_no_probe)
    extend(importlib.import_module("llama_cpp.server.types"))
    server: Any = importlib.import_module("llama_cpp.server.__main__")
    library: Any = importlib.import_module("llama_cpp")
    forms: Any = importlib.import_module("llama_cpp.llama_chat_format")
    handler: Any = importlib.import_module("llama_cpp.server.errors").RouteErrorHandler

    create = server.create_app
    server.create_app = lambda **settings: watched(create(**settings))
    handler.error_message_wrapper = lambda _self, error, body=None: explained(error)  # noqa: ARG005 -- as it is called
    forms._grammar_for_json_schema = strict(forms._grammar_for_json_schema)  # noqa: SLF001

    internals: Any = importlib.import_module("llama_cpp._internals")
    heard(importlib.import_module("llama_cpp._logger"), internals, importlib.import_module("llama_cpp.llama"))
    sampler = internals.LlamaSampler
    sampler.add_grammar = checked(library.llama_sampler_init_grammar, library.llama_sampler_chain_add)

    llama = library.Llama
    prompts = beside("llama_cpp_prompts")
    fastapi: Any = importlib.import_module("fastapi")
    app: Any = importlib.import_module("llama_cpp.server.app")
    prompts.add_counter(app, fastapi.Depends, llama.create_chat_completion)
    llama.generate = stopping(
        llama.generate,
        lambda made, token: library.llama_vocab_is_eog(made._model.vocab, token),  # noqa: SLF001
    )
    llama.create_chat_completion = completing(llama.create_chat_completion, prompts.check_chat)
    llama.__call__ = completing(llama.__call__, prompts.check_completion)
    llama.create_embedding = embedding(llama.create_embedding)
    server.main()


if __name__ == "__main__":
    main()
