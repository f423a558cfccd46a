"""Process 1 of a container, if the router is started as it: reaps orphans, and passes signals on.

The kernel gives every orphan to process 1, which must wait for it, or it stays a zombie. Signals without a handler do
nothing in process 1. So a router that is started as process 1 forks before it does anything else: the child is the
router, and the parent stays as init. Standard library alone.
"""

import os
import signal
import sys
import time
from contextlib import suppress

PASSED_ON = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
LAST_WORDS = 5.0
"""Seconds for other processes, such as keepers, to end after the router has ended."""


def stand_aside() -> None:
    """In process 1, fork and be init; the child returns and is what was started. Elsewhere, do nothing."""
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
    """Wait for a child, and reap all others meanwhile; give its exit code as shells do. Pass signals on to it.

    A terminal's signals aren't passed on: they reach the child, which is in the same process group, by themselves.
    """
    while True:
        got = signal.sigwaitinfo(PASSED_ON | {signal.SIGCHLD})
        if got.si_signo != signal.SIGCHLD:
            # The codes of signals that the kernel sends, as for a terminal, are above 0.
            sent = got.si_code <= 0
            if sent:
                os.kill(child, got.si_signo)
            continue
        codes, _ = reap()
        if child in codes:
            return codes[child] if codes[child] >= 0 else 128 - codes[child]


def end_the_rest() -> None:
    """Ask all other processes to end: the kernel kills them when process 1 ends."""
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGTERM)
    until = time.monotonic() + LAST_WORDS
    while reap()[1] and (seconds := until - time.monotonic()) > 0:
        signal.sigtimedwait({signal.SIGCHLD}, seconds)


def reap() -> tuple[dict[int, int], bool]:
    """Take the exit codes of all children that have ended, by pid; tell whether there are others."""
    codes: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return codes, False
        if pid == 0:
            return codes, True
        codes[pid] = os.waitstatus_to_exitcode(status)
