"""mlx_lm's server, so that its failures are seen, and its work is for somebody: it ends when it can't serve any more.

Run as `python -P mlx_lm_server.py --port PORT ...`, with the arguments of `mlx_lm.server`. That one lets its process
and its port stay when the thread that generates has died, or has never got a port; /health says 503 then, for ever,
or nothing. Here a thread asks /health once a second, and ends the process.

It notices that a client has left when it writes to it: to a stream. Any other answer is generated to its end, for
nobody. Here each client is looked for between two tokens, and between two steps through a prompt.

The queue of connections not yet accepted is made longer, too: five, the library's own, turns away a burst of clients.

A web page gets nothing: its port is on the machine of whoever looks at pages, and it would answer any of them. Nor does
whoever lacks the key that is in its environment, but for /health.

What it lacks of OpenAI's API:

1. A path may have a query behind it.
2. It serves one model, its own, by whatever name a request and its answer have.
3. An error has OpenAI's form, and is a 400 where it is the request's; a 404 would say that there is no such model.
4. A prompt that leaves no room in the context is an error; an answer ends with the context, not after 512 tokens, its
   default, unless less is asked for. An empty prompt, which would end what generates, is an error, too.
5. A stop word ends an answer wherever it stands. It would only where it is whole tokens; elsewhere it would be cut out
   of the text, which would go on.
6. A token among log probabilities is the text that it stands for, not as the vocabulary writes it.
"""

import contextlib
import http.client
import importlib
import json
import os
import select
import signal
import socket
import socketserver
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

ASK_EVERY = 1.0  # seconds
LONGEST_WAIT = 10.0  # seconds for an answer; a busy one may be late, and only a clear no counts
BACKLOG = 128
MOST_TOKENS = 131_072  # of an answer, where nobody says how many and the model's context isn't known
ITSELF = "default_model"  # what the server calls the model that it was started with
ERROR = b'{"error": "'
THREAD_DIED = "generation thread died"
OWN_NAMES = ("127.0.0.1", "localhost")
KEY = os.environ.get("ENGINE_API_KEY", "")


def main() -> None:
    """Serve until a signal, or the failure of what generates, ends it."""
    server: Any = importlib.import_module("mlx_lm.server")
    socketserver.TCPServer.request_queue_size = BACKLOG
    stop_when_left(server.APIHandler, server.ResponseGenerator)
    speak_as_openai(server.APIHandler)
    refuse_strangers(server.APIHandler)
    serve_one_model(server)
    server._format_top_logprobs = worded(server._format_top_logprobs)  # noqa: SLF001
    server._inline_image_urls = fetching(server._inline_image_urls)  # noqa: SLF001
    if "--max-tokens" not in sys.argv:
        sys.argv += ["--max-tokens", str(MOST_TOKENS)]
    port = int(sys.argv[sys.argv.index("--port") + 1])
    threading.Thread(target=watch, args=(port,), daemon=True).start()
    try:
        server.main()
    except Exception:  # noqa: BLE001 -- such as a port in use: the thread that generates would keep the process
        traceback.print_exc()
        end("the server failed")


class LeftError(Exception):
    """The client has left."""


def stop_when_left(handler: Any, generator: Any) -> None:  # noqa: ANN401 -- mlx_lm's own classes
    """Have what answers a client end when that has left: with what answers it ends the generating."""
    mine = threading.local()  # a thread answers one client
    answer, generate, write = handler.handle_completion, generator.generate, handler.generate_response

    def answering(self: Any, *args: Any) -> None:  # noqa: ANN401
        mine.connection, mine.stopped = self.connection, False
        with contextlib.suppress(LeftError):
            answer(self, *args)

    def look() -> None:
        if has_left(mine.connection):
            raise LeftError

    def watched(tokens: Iterator[Any]) -> Iterator[Any]:
        for token in tokens:
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

        words, options.stop_words = options.stop_words, []
        context, tokens = generate(self, request, options, progressed)
        return context, watched(until_stopped(tokens, words) if words else tokens)

    def until_stopped(tokens: Iterator[Any], words: list[str]) -> Iterator[Any]:
        mine.stopped = yield from before(tokens, words)

    def written(self: Any, text: str, reason: str | None, *args: Any, **more: Any) -> Any:  # noqa: ANN401
        return write(self, text, "stop" if reason and mine.stopped else reason, *args, **more)

    handler.handle_completion, generator.generate, handler.generate_response = answering, generating, written


def before(tokens: Iterable[Any], words: list[str]) -> Generator[Any, None, bool]:
    """The tokens before the first of some words, which may begin within one; tell whether one was found.

    Those that may be the beginning of a word wait for what follows. The last says that it is so by reason of length:
    of one that stops by itself, the server drops the text.
    """
    waiting: list[Any] = []
    text = ""
    for token in tokens:
        waiting.append(token)
        text += "" if token.finish_reason == "stop" else token.text  # the end's own text is dropped
        found = [place for place in map(text.find, words) if place >= 0]
        if found:
            left = min(found)
            for each in waiting:
                ends = "length" if each is token else None
                yield replace(each, text=each.text[:left], finish_reason=ends)
                left = max(0, left - len(each.text))
            return True
        open_at = 0 if token.finish_reason else begun(text, words)
        while waiting and (token.finish_reason or len(text) - len(waiting[0].text) >= open_at):
            text = text[len(waiting[0].text) :]
            yield waiting.pop(0)
    return False


def begun(text: str, words: list[str]) -> int:
    """How much of a text's end may be the beginning of a word."""
    longest = min(len(text), max(map(len, words)) - 1)
    return next((size for size in range(longest, 0, -1) if any(word.startswith(text[-size:]) for word in words)), 0)


def worded(form: Callable[..., Any]) -> Callable[..., Any]:
    """6 above."""

    def formed(logprobs: Any, most: int, tokenizer: Any) -> Any:  # noqa: ANN401 -- mlx's own classes
        found = [(each, tokenizer.decode([each["id"]])) for each in form(logprobs, most, tokenizer)]
        return tuple({**each, "token": text, "bytes": list(text.encode())} for each, text in found)

    return formed


def has_left(connection: socket.socket) -> bool:
    """Tell whether the other side has closed its end."""
    try:
        return bool(select.select([connection], [], [], 0)[0]) and not connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


def speak_as_openai(handler: Any) -> None:  # noqa: ANN401 -- mlx_lm's own class
    """1 and 3 above."""
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


def fetching(inline: Callable[[Any], None]) -> Callable[[Any], None]:
    """Have it say what it was that couldn't be fetched."""

    def inlined(messages: Any) -> None:  # noqa: ANN401
        try:
            inline(messages)
        except OSError as error:
            raise ValueError(
                f"An image of this request can't be fetched: {getattr(error, 'reason', error)}."
            ) from error

    return inlined


def refuse_strangers(handler: Any) -> None:  # noqa: ANN401 -- mlx_lm's own class
    """Have it answer nobody without the key, and no page: a browser names its origin, or asks by a strange name."""
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
    """The status of an answer that is given because of an error, if there is one."""
    if error is None or status != http.client.NOT_FOUND:
        return status
    if str(error) == THREAD_DIED:
        return http.client.SERVICE_UNAVAILABLE
    return http.client.INTERNAL_SERVER_ERROR if isinstance(error, RuntimeError) else http.client.BAD_REQUEST


def in_openais_form(body: bytes) -> bytes:
    """`{"error": "text"}` as OpenAI's clients know it."""
    text = json.loads(body)["error"]
    kind = "server_error" if text == THREAD_DIED else "invalid_request_error"
    return json.dumps({"error": {"message": text, "type": kind, "param": None, "code": None}}).encode()


def serve_one_model(server: Any) -> None:  # noqa: ANN401 -- the module
    """2 and 4 above."""
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
    """How many tokens a model's configuration says that it can look back on; None where it doesn't."""
    config = config.get("text_config") or config
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int):
        return None
    factor = (config.get("rope_scaling") or {}).get("factor") or 1
    return int(positions * max(1, factor))


def room(prompt: int, context: int | None, wanted: int) -> int:
    """How many tokens an answer may have. Raises ValueError where there is no room for any."""
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
    """Ask for its health until it is lost."""
    pause = threading.Event()
    while not pause.wait(ASK_EVERY):
        if health(port) == http.client.SERVICE_UNAVAILABLE:
            end("what generates has died; why stands above")


def health(port: int) -> int:
    """The status of /health; 0 where there is no answer."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST_WAIT)) as connection:
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0


def end(why: str) -> None:
    """End the process, whichever thread this is and whatever the others do."""
    sys.stderr.write(f"mlx_lm.server: {why}\n")
    sys.stderr.flush()
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    main()
