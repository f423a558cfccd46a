"""mlx_lm's server, so that its failures are seen: it ends when it can't serve any more.

Run as `python -P mlx_lm_server.py --port PORT ...`, with the arguments of `mlx_lm.server`. That one lets its process
and its port stay when the thread that generates has died, or has never got a port; /health says 503 then, for ever,
or nothing. Here a thread asks /health once a second, and ends the process.

The queue of connections not yet accepted is made longer, too: five, the library's own, turns away a burst of clients.
"""

import contextlib
import http.client
import importlib
import signal
import socketserver
import sys
import threading
import traceback

ASK_EVERY = 1.0  # seconds
LONGEST_WAIT = 10.0  # seconds for an answer; a busy one may be late, and only a clear no counts
BACKLOG = 128


def main() -> None:
    """Serve until a signal, or the failure of what generates, ends it."""
    server = importlib.import_module("mlx_lm.server")
    socketserver.TCPServer.request_queue_size = BACKLOG
    port = int(sys.argv[sys.argv.index("--port") + 1])
    threading.Thread(target=watch, args=(port,), daemon=True).start()
    try:
        server.main()
    except Exception:  # noqa: BLE001 -- such as a port in use: the thread that generates would keep the process
        traceback.print_exc()
        end("the server failed")


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
