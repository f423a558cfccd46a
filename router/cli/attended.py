"""A router for one program: it ends when its standard input does, however that program ended.

python -m router.cli.attended --config FILE
"""

import os
import signal
import sys
import threading

from router.cli.main import main


def _wait_for_the_end() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_wait_for_the_end, name="attended", daemon=True).start()
    sys.exit(main(sys.argv[1:]))
