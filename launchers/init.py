"""The first process of a container, where the router would be it: it reaps orphans, and passes signals on.

The kernel gives every orphan to process 1, which must wait for it, or it stays a zombie; and signals that process 1 has
no handler for do nothing. A router that is started as process 1 forks before it does anything else: the child is the
router, as it would be anywhere, and the parent stays to be init. Standard library alone.
"""

import os
import signal
import sys
import time
from contextlib import suppress

PASSED_ON = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
LAST_WORDS = 5.0  # seconds for what is left when the router has ended, as keepers of engines


def stand_aside() -> None:
    """Where this is process 1, be init; the fork of it, which returns, is what was started."""
    if os.getpid() != 1 or sys.platform != "linux":
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON | {signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return
    code = wait_for(child)
    end_the_rest()
    os._exit(code)


def wait_for(child: int) -> int:
    """Wait for a child, and for all others meanwhile; give its exit code, as shells have it. Signals are for the child.

    Those of a terminal reach the child by themselves: it is in the same process group.
    """
    while True:
        got = signal.sigwaitinfo(PASSED_ON | {signal.SIGCHLD})
        if got.si_signo != signal.SIGCHLD:
            sent = got.si_code <= 0  # by a process; the kernel's own, as a terminal's, are above
            if sent:
                os.kill(child, got.si_signo)
            continue
        codes, _ = reap()
        if child in codes:
            return codes[child] if codes[child] >= 0 else 128 - codes[child]


def end_the_rest() -> None:
    """Have all others end well: with process 1, the kernel kills them."""
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGTERM)
    until = time.monotonic() + LAST_WORDS
    while reap()[1] and (seconds := until - time.monotonic()) > 0:
        signal.sigtimedwait({signal.SIGCHLD}, seconds)


def reap() -> tuple[dict[int, int], bool]:
    """Take the exit codes of all children that have ended, by pid; and whether there are others."""
    codes: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return codes, False
        if pid == 0:
            return codes, True
        codes[pid] = os.waitstatus_to_exitcode(status)
