"""One router on a node of a Ray cluster: `python -m router.cluster.ray_node router.yaml`.

The actor that starts it holds the other end of its stdin. When that closes, the actor's process is gone, however it
ended, and what Ray had assigned to it is another's. So this process ends at once, and its keeper ends its engines.
"""

import os
import runpy
import signal
import sys
import threading


def end_with(stdin: int) -> None:
    """Wait for the end of stdin, and end this process."""
    while os.read(stdin, 1024):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    sys.argv[1:] = ["--config", sys.argv[1]]
    runpy.run_module("router", run_name="__main__")
