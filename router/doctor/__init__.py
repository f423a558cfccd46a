"""`python -m router doctor`: what this machine is, what the router would run on it, and what would be in its way.

looking      looks at the machine, the disk, the port and remote servers; starts nothing
judging      turns these facts into findings; pure
cleaning     takes secrets out of text; pure
report       `--report`: all that a report of a fault needs, in one text
findings     the types of findings, and their output as text
"""
