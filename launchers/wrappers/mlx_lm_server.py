"""mlx_lm's server, so that its failures are seen, and its work is for somebody: it ends when it can't serve any more.

Run as `python -P mlx_lm_server.py --port PORT ...`, with the arguments of `mlx_lm.server`. That one lets its process
and its port stay when the thread that generates has died, or has never got a port; /health says 503 then, for ever,
or nothing. Here a thread asks /health once a second, and ends the process.

It notices that a client has left when it writes to it: to a stream. Any other answer is generated to its end, for
nobody. Here each client is looked for between two tokens, and between two steps through a prompt.

The queue of connections not yet accepted is made longer, too: five, the library's own, turns away a burst of clients.
"""

import contextlib
import http.client
import importlib
import select
import signal
import socket
import socketserver
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

ASK_EVERY = 1.0  # seconds
LONGEST_WAIT = 10.0  # seconds for an answer; a busy one may be late, and only a clear no counts
BACKLOG = 128


def main() -> None:
    """Serve until a signal, or the failure of what generates, ends it."""
    server = importlib.import_module("mlx_lm.server")
    socketserver.TCPServer.request_queue_size = BACKLOG
    stop_when_left(server.APIHandler, server.ResponseGenerator)
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
    answer, generate = handler.handle_completion, generator.generate

    def answering(self: Any, *args: Any) -> None:  # noqa: ANN401
        mine.connection = self.connection
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

        context, tokens = generate(self, request, options, progressed)
        return context, watched(tokens)

    handler.handle_completion, generator.generate = answering, generating


def has_left(connection: socket.socket) -> bool:
    """Tell whether the other side has closed its end."""
    try:
        return bool(select.select([connection], [], [], 0)[0]) and not connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


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
