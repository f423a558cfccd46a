"""The keeper: a small process that is the parent of all engines, so that none can outlive whoever should end it.

    router ──socket── keeper ──▶ engine ──▶ its workers, wherever they hide

A router starts one (launchers.process) and speaks with it by lines of JSON. What it is for:

1. **It hears the router's end at once**, however it came about: its socket closes. Then it ends every engine that isn't
   to be kept, with all that belongs to it (launchers.kin), and looks again until nothing is left.
2. **It is told of every end.** It is the engines' parent, and on Linux what has lost its parent among their processes
   becomes its child, too: no zombie stays, and none gets away. When an engine's first process has exited, what belongs
   to the engine is killed: it would serve nobody and keep its memory. "Gone" is said when nothing of it runs.
3. **It holds what an engine leaves behind**: its log, which it writes so that an engine never loses its output; its
   record, its folder for temporary files, its shared memory, which it removes in the end.
4. **With server.keep_engines it stays** when the router goes, as long as its engines run, and listens on a socket where
   the next router asks for them.

Should the keeper itself be killed, the kernel ends the engines' first processes (Linux: the parent-death signal), and
the router, or the next one, what is left of them (launchers.leftovers).

It leads a session of its own, so that a Ctrl-C in the router's terminal doesn't reach it. SIGTERM has it end its
engines as soon as it has no router: who serves is stopped by its router.

One thread, and the standard library alone, of which as little as will do: it is started before the first engine, and
runs as long as the last.

    keeper   the loop: orders, ends, signals
    kept     one engine that it keeps
    link     a connection to a router; the door where later routers come in
    spawn    the fork, and what becomes of it
    log      an engine's log file
"""

from launchers.keeper.keeper import main

__all__ = ["main"]
