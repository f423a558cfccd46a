"""mlx_lm's server, which ends when it can't serve any more, and stops generating when its client leaves.

Run as `python -P mlx_lm_server.py --port PORT ...`, with the arguments of `mlx_lm.server`. The server itself keeps its
process and its port when the generating thread has died, or has never got a port; /health then says 503 for ever, or
nothing. Here a thread asks /health once a second, and ends the process.

The server notices that a client has left only when it writes to a stream; any other answer is generated to its end,
for nobody. Here each client is checked between two tokens, and between two steps through a prompt, which are short
(mlx_lm_prompts.py).

The queue of connections to accept is longer, too: the library's own, five, turns away a burst of clients.

Web pages get nothing: its port is on a machine where people open pages, and it would answer any of them. Nobody gets
anything but /health without the key in its environment.

What it adds of OpenAI's API:

1. A path may have a query.
2. It serves one model, its own, under the name in the request.
3. An error has OpenAI's form, and is a 400 if the request is at fault; a 404 would mean that the model doesn't exist.
4. A prompt that leaves no room in the context is an error. An answer ends with the context, not after the default of
   512 tokens, unless less is asked for. An empty prompt, which would end the generating thread, is an error, too.
5. A stop word ends an answer wherever it is. The server itself finds it only as whole tokens; elsewhere it would cut
   the word out of the text, and go on. The answer names the word in `stop_reason`, as vllm's.
6. A token among log probabilities is its text, not its form in the vocabulary.
7. `POST /v1/router/count_tokens` takes a chat and answers `{"input_tokens": n}`: the tokens of the prompt that the chat
   would have. The engine's own code makes that prompt, in the thread of its client.
"""

import contextlib
import http.client
import importlib.util
import json
import os
import signal
import socketserver
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ASK_EVERY = 1.0
"""Seconds between two questions to /health."""

LONGEST_WAIT = 10.0
"""Seconds for an answer. A busy server may be late; only a clear no counts."""

BACKLOG = 128
"""Most connections that wait to be accepted."""

MOST_TOKENS = 131_072
"""Most tokens of an answer without a limit, if the model's context isn't known."""

ITSELF = "default_model"
"""The server's name of the model that it was started with."""

PROBE = "/health"
"""What the router asks for to see whether it lives."""
CHAT, COUNTER = "/v1/chat/completions", "/v1/router/count_tokens"
AS_IS = frozenset({"default", "llama3", "longrope", "su", "mrope"})
"""Kinds of rope_scaling with which max_position_embeddings is the whole context already."""

ERROR = b'{"error": "'
THREAD_DIED = "generation thread died"
OWN_NAMES = ("127.0.0.1", "localhost")
KEY = os.environ.get("ENGINE_API_KEY", "")


def main() -> None:
    """Serve until a signal, or the failure of what generates, ends it."""
    server: Any = importlib.import_module("mlx_lm.server")
    socketserver.TCPServer.request_queue_size = BACKLOG
    prompts = beside("mlx_lm_prompts")
    prompts.read_in_steps(server)
    stop_when_left(server.APIHandler, server.ResponseGenerator, prompts)
    count_tokens(server)
    speak_as_openai(server.APIHandler)
    refuse_strangers(server.APIHandler)
    leave_out_probes(server.APIHandler)
    serve_one_model(server)
    server._format_top_logprobs = worded(server._format_top_logprobs)  # noqa: SLF001
    server._inline_image_urls = fetching(server._inline_image_urls)  # noqa: SLF001
    if "--max-tokens" not in sys.argv:
        sys.argv += ["--max-tokens", str(MOST_TOKENS)]
    port = int(sys.argv[sys.argv.index("--port") + 1])
    threading.Thread(target=watch, args=(port,), daemon=True).start()
    try:
        server.main()
    except Exception:  # noqa: BLE001 -- such as a port in use: the generating thread would keep the process
        traceback.print_exc()
        end("the server failed")


def leave_out_probes(handler: Any) -> None:  # noqa: ANN401 -- mlx_lm's own class
    """Log no probe that was answered well: they would fill the log."""
    log = handler.log_request

    def log_others(self: Any, code: Any = "-", size: Any = "-") -> None:  # noqa: ANN401
        if code != http.HTTPStatus.OK or not self.requestline.startswith(f"GET {PROBE} "):
            log(self, code, size)

    handler.log_request = log_others


def beside(name: str) -> Any:  # noqa: ANN401
    """Import a file beside this one, by its path: the folder isn't where Python looks."""
    spec: Any = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stop_when_left(handler: Any, generator: Any, prompts: Any) -> None:  # noqa: ANN401 -- mlx_lm's own classes
    """Make the thread that answers a client end when the client has left; with it, the generating ends."""
    # Each thread answers one client.
    mine = threading.local()
    answer, generate, write = handler.handle_completion, generator.generate, handler.generate_response

    def answering(self: Any, *args: Any) -> None:  # noqa: ANN401
        mine.connection, mine.stop = self.connection, ""
        with contextlib.suppress(prompts.LeftError):
            answer(self, *args)

    def look() -> None:
        if prompts.has_left(mine.connection):
            raise prompts.LeftError

    def watched(tokens: Iterator[Any]) -> Iterator[Any]:
        for mine.made, token in enumerate(tokens, 1):
            look()
            yield token

    def generating(
        self: Any,  # noqa: ANN401
        request: Any,  # noqa: ANN401
        options: Any,  # noqa: ANN401
        progress_callback: Callable[[int, int], None],
    ) -> tuple[Any, Iterator[Any]]:
        def progressed(processed: int, total: int) -> None:
            look()
            progress_callback(processed, total)

        words, options.stop_words, options.connection = options.stop_words, [], mine.connection
        context, tokens = generate(self, request, options, progressed)
        context.connection, mine.context, mine.made = mine.connection, context, 0
        return context, watched(until_stopped(tokens, words) if words else tokens)

    def until_stopped(tokens: Iterator[Any], words: list[str]) -> Iterator[Any]:
        mine.stop = yield from before(tokens, words)

    def written(self: Any, text: str, reason: str | None, *args: Any, **more: Any) -> Any:  # noqa: ANN401
        stop = mine.stop if reason else ""
        told = with_stop(write(self, text, "stop" if stop else reason, *args, **more), stop)
        return prompts.with_usage(told, self, mine.context, mine.made) if reason else told

    handler.handle_completion, generator.generate, handler.generate_response = answering, generating, written


def with_stop(told: Any, stop: str) -> Any:  # noqa: ANN401 -- an answer
    """Name the stop word that ended an answer, if one did, as vllm does."""
    if stop:
        told["choices"][0]["stop_reason"] = stop
    return told


def before(tokens: Iterable[Any], words: list[str]) -> Generator[Any, None, str]:
    """Give the tokens before the first of some words, which may begin within a token; tell which one was found.

    Tokens that may begin a word are held until the next ones. The last one gets the finish reason length: the server
    drops the text of a token that stops by itself.
    """
    waiting: list[Any] = []
    text = ""
    for token in tokens:
        waiting.append(token)
        # The text of the token that ends an answer is dropped.
        text += "" if token.finish_reason == "stop" else token.text
        found = [(place, word) for word in words if (place := text.find(word)) >= 0]
        if found:
            left, stop = min(found)
            for each in waiting:
                ends = "length" if each is token else None
                yield replace(each, text=each.text[:left], finish_reason=ends)
                left = max(0, left - len(each.text))
            return stop
        open_at = 0 if token.finish_reason else begun(text, words)
        while waiting and (token.finish_reason or len(text) - len(waiting[0].text) >= open_at):
            text = text[len(waiting[0].text) :]
            yield waiting.pop(0)
    return ""


def begun(text: str, words: list[str]) -> int:
    """Count the characters at a text's end that may begin a word."""
    longest = min(len(text), max(map(len, words)) - 1)
    return next((size for size in range(longest, 0, -1) if any(word.startswith(text[-size:]) for word in words)), 0)


def worded(form: Callable[..., Any]) -> Callable[..., Any]:
    """Do 6 above."""

    def formed(logprobs: Any, most: int, tokenizer: Any) -> Any:  # noqa: ANN401 -- mlx's own classes
        found = [(each, tokenizer.decode([each["id"]])) for each in form(logprobs, most, tokenizer)]
        return tuple({**each, "token": text, "bytes": list(text.encode())} for each, text in found)

    return formed


def speak_as_openai(handler: Any) -> None:  # noqa: ANN401 -- mlx_lm's own class
    """Do 1 and 3 above."""
    setup, post, begin = handler.setup, handler.do_POST, handler._set_completion_headers  # noqa: SLF001

    def set_up(self: Any) -> None:  # noqa: ANN401
        setup(self)
        write = self.wfile.write
        self.wfile.write = lambda data: write(in_openais_form(data) if data[: len(ERROR)] == ERROR else data)

    def posted(self: Any) -> None:  # noqa: ANN401
        self.path = self.path.partition("?")[0]
        post(self)

    def begun(self: Any, status: int = 200) -> None:  # noqa: ANN401
        begin(self, status_of(sys.exc_info()[1], status))

    handler.setup, handler.do_POST, handler._set_completion_headers = set_up, posted, begun  # noqa: SLF001


def count_tokens(server: Any) -> None:  # noqa: ANN401 -- the module
    """Do 7 above: what is posted there is read as a chat is, and counted instead of completed."""
    handler, tokenize = server.APIHandler, server.ResponseGenerator._tokenize  # noqa: SLF001
    post, chat, complete = handler.do_POST, handler.handle_chat_completions, handler.handle_completion

    def posted(self: Any) -> None:  # noqa: ANN401
        self.counts = self.path == COUNTER
        if self.counts:
            self.path = CHAT
        post(self)

    def read(self: Any) -> Any:  # noqa: ANN401
        # Before they are fetched. They would be made arrays, which belong in the generating thread.
        reads_images = self.response_generator.model_provider.processor is not None
        if self.counts and reads_images and any(server._image_parts(self.body["messages"])):  # noqa: SLF001
            raise NotImplementedError("Chats with images can't be counted.")
        return chat(self)

    def completed(self: Any, request: Any, *args: Any) -> None:  # noqa: ANN401
        if not self.counts:
            complete(self, request, *args)
            return
        generator = self.response_generator
        try:
            if not generator.generation_available():
                raise RuntimeError(THREAD_DIED)  # noqa: TRY301 -- it is answered below
            options = SimpleNamespace(chat_template_kwargs=self.chat_template_kwargs)
            found = len(tokenize(generator, generator.model_provider.tokenizer, request, options)[0])
        except Exception as error:  # noqa: BLE001 -- as the server itself does
            self._set_completion_headers(http.client.NOT_FOUND)
            self.end_headers()
            self.wfile.write(json.dumps({"error": str(error)}).encode())
            return
        self._set_completion_headers(http.client.OK)
        self.end_headers()
        self.wfile.write(json.dumps({"input_tokens": found}).encode())

    handler.do_POST, handler.handle_chat_completions, handler.handle_completion = posted, read, completed


def fetching(inline: Callable[[Any], None]) -> Callable[[Any], None]:
    """Make errors name the image that couldn't be fetched."""

    def inlined(messages: Any) -> None:  # noqa: ANN401
        try:
            inline(messages)
        except OSError as error:
            raise ValueError(
                f"An image of this request can't be fetched: {getattr(error, 'reason', error)}."
            ) from error

    return inlined


def refuse_strangers(handler: Any) -> None:  # noqa: ANN401 -- mlx_lm's own class
    """Refuse requests without the key, and those of pages: a browser names an origin, or another host."""
    parse = handler.parse_request

    def parsed(self: Any) -> bool:  # noqa: ANN401
        if not parse(self):
            return False
        host = self.headers.get("Host", OWN_NAMES[0])
        if "Origin" in self.headers or host.partition(":")[0] not in OWN_NAMES:
            self.send_error(http.client.FORBIDDEN, "No web page may ask an engine; ask the router.")
            return False
        if KEY and self.path != "/health" and self.headers.get("Authorization", "") != f"Bearer {KEY}":
            self.send_error(http.client.UNAUTHORIZED, "Only the router may ask its engine; ask the router.")
            return False
        return True

    handler.parse_request = parsed


def status_of(error: BaseException | None, status: int) -> int:
    """Give the status of an answer: that of its error, if there is one."""
    if isinstance(error, NotImplementedError):
        return http.client.NOT_IMPLEMENTED
    if error is None or status != http.client.NOT_FOUND:
        return status
    if str(error) == THREAD_DIED:
        return http.client.SERVICE_UNAVAILABLE
    return http.client.INTERNAL_SERVER_ERROR if isinstance(error, RuntimeError) else http.client.BAD_REQUEST


def in_openais_form(body: bytes) -> bytes:
    """Rewrite `{"error": "text"}` in OpenAI's form."""
    text = json.loads(body)["error"]
    kind = "server_error" if text == THREAD_DIED else "invalid_request_error"
    return json.dumps({"error": {"message": text, "type": kind, "param": None, "code": None}}).encode()


def serve_one_model(server: Any) -> None:  # noqa: ANN401 -- the module
    """Do 2 and 4 above."""
    load, provide = server.load, server.ModelProvider.load
    tokenize = server.ResponseGenerator._tokenize  # noqa: SLF001
    context: list[int | None] = [None]

    def loaded(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        found = load(*args, **options)
        if options.get("return_config"):
            context[0] = context_of(found[2])
        return found

    def provided(self: Any, *_: Any) -> Any:  # noqa: ANN401
        return provide(self, ITSELF, None, ITSELF)

    def tokenized(self: Any, tokenizer: Any, request: Any, args: Any) -> Any:  # noqa: ANN401
        found = tokenize(self, tokenizer, request, args)
        args.max_tokens = room(len(found[0]), context[0], args.max_tokens)
        return found

    server.load, server.ModelProvider.load = loaded, provided
    server.ResponseGenerator._tokenize = tokenized  # noqa: SLF001


def context_of(config: Mapping[str, Any]) -> int | None:
    """Read the length of a model's context, in tokens, from its configuration; None if it isn't there."""
    config = config.get("text_config") or config
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int):
        return None
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    factor, kind = scaling.get("factor") or 1, scaling.get("rope_type", scaling.get("type"))
    if factor <= 1 or kind in AS_IS:
        return positions
    original = scaling.get("original_max_position_embeddings") if kind == "yarn" else None
    return int((original or positions) * factor)


def room(prompt: int, context: int | None, wanted: int) -> int:
    """Compute how many tokens an answer may have. Raises ValueError if there is room for none."""
    if prompt == 0:
        raise ValueError("The prompt is empty.")
    if context is None:
        return wanted
    if prompt >= context:
        raise ValueError(
            f"This model's maximum context length is {context} tokens, but the prompt has {prompt}; shorten it."
        )
    return min(wanted, context - prompt)


def watch(port: int) -> None:
    """Ask /health until the server can't serve any more."""
    pause = threading.Event()
    while not pause.wait(ASK_EVERY):
        if health(port) == http.client.SERVICE_UNAVAILABLE:
            end("what generates has died; why stands above")


def health(port: int) -> int:
    """Ask /health; give the status, 0 if there is no answer."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST_WAIT)) as connection:
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0


def end(why: str) -> None:
    """End the process at once, from any thread."""
    sys.stderr.write(f"mlx_lm.server: {why}\n")
    sys.stderr.flush()
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    main()
