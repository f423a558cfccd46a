"""The command line: one file a command, each with a function `run(options)` that gives the exit code.

`options` describes the command line, `main` finds the command that it names, `exits` has the exit codes.
"""
