"""The keeper: a small process that is the parent of all engines, so that no engine outlives its router unnoticed.

    router ──socket── keeper ──▶ engine ──▶ its workers, wherever they hide

A router starts its keeper (launchers.process), and the two exchange lines of JSON. The keeper's duties:

1. **It notices the router's end at once**, whatever the cause: its socket closes. Then it ends every engine that isn't
   to be kept, with all that belongs to it (launchers.kin), and looks again until nothing is left.
2. **It notices every end of an engine.** It is the engines' parent, and on Linux orphans among their processes become
   its children, too: no zombie stays, and no process gets away. When an engine's first process has exited, the rest of
   the engine is killed: it would serve nobody and keep its memory. The router is told when nothing of it runs.
3. **It owns an engine's files**: it writes the log, so that no output is lost, and in the end removes the record, the
   folder for temporary files and the shared memory.
4. **With server.keep_engines it stays** when the router goes, as long as its engines run, and listens on a socket for
   the next router.

If the keeper itself is killed, the kernel ends the engines' first processes (Linux: the parent-death signal), and the
router, or the next one, ends what is left of them (launchers.leftovers).

It leads a session of its own, so a Ctrl-C in the router's terminal doesn't reach it. At a SIGTERM it ends its engines
once it has no router; while it has one, the router decides when they end.

One thread, and the standard library alone, with few imports: it starts before the first engine, and runs as long as
the last one.

    keeper   the loop: orders, ends, signals
    kept     one engine that it keeps
    link     a connection to a router; the door for later routers
    spawn    the fork of an engine, and the exit codes of children
    log      an engine's log file
"""

from launchers.keeper.keeper import main

__all__ = ["main"]
