"""What stands between fork and exec of an engine: ties its life to the router's, then becomes the engine.

Run as `python -I -S shim.py ROUTER_PID PROGRAM ARGUMENT...`; the program keeps this process's pid. With 0 for the
router's pid nothing is tied: the engine is to outlive it.

On Linux the kernel is told to SIGKILL this process when its parent ends (PR_SET_PDEATHSIG, which outlives exec),
so that even `kill -9` of the router takes the engine along. "Its parent" is the *thread* that forked: the router
spawns from its event loop's thread, which must live as long as the router does, and the main thread's does.
Elsewhere there is no such thing, and launchers.leftovers finds what stayed behind, at the router's next start.

It imports as little as it can, for it runs before every engine.
"""

import os
import sys


def main() -> None:
    """Tie, check, exec."""
    router, argv = int(sys.argv[1]), sys.argv[2:]
    if router and sys.platform == "linux":
        tie_to_parent()
        if os.getppid() != router:  # it ended before the tie held: nobody would end us
            sys.exit("the router ended while it started this engine")
    try:
        os.execvp(argv[0], argv)  # noqa: S606 -- no shell is wanted
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
        sys.exit(127)


def tie_to_parent() -> None:
    """Have the kernel kill this process with its parent."""
    import ctypes  # noqa: PLC0415 -- Linux alone needs it
    import signal  # noqa: PLC0415

    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)


if __name__ == "__main__":
    main()
