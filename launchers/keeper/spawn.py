"""Forks a child that becomes an engine, and takes the exit codes of children, orphans among them."""

import ctypes
import os
import signal

from launchers import kin

FRESH = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD)
"""Signals whose handlers are reset for an engine."""

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

NOT_STARTED = 127
"""The exit code of a program that can't be executed, as in shells."""

_libc = ctypes.CDLL(None, use_errno=True) if kin.IS_LINUX else None


def take_orphans() -> None:
    """Make orphans among this process' descendants its children, if the system can."""
    if _libc is not None:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)


def spawn(argv: list[str], env: dict[str, str]) -> tuple[int, int]:
    """Start a program; give its pid, and a pipe with its output. Raises OSError.

    If the program can't be executed, the output says so.
    """
    parent = os.getpid()
    ours, its = os.pipe()
    try:
        pid = os.fork()
        if pid == 0:
            _become(argv, env, its, parent)
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(its)
    return pid, ours


def _become(argv: list[str], env: dict[str, str], output: int, parent: int) -> None:
    """Turn the forked process into the program; never returns."""
    try:
        os.setsid()
        if _libc is not None:
            # It ends with its parent, the keeper; also if that has ended just before this call.
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        signal.set_wakeup_fd(-1)
        for number in FRESH:
            signal.signal(number, signal.SIG_DFL)
        os.execvpe(argv[0], argv, env)  # noqa: S606 -- no shell is wanted
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode(errors="replace"))
    finally:
        os._exit(NOT_STARTED)


def ended_child() -> tuple[int, int] | None:
    """Take the pid and the exit code of a child that has ended, if one has; a signal's number is negative."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None
