"""`python -m router doctor`: what this machine is, what the router would run on it, and what would be in its way.

looking      looks at the machine, the disk, the port and remote servers; starts nothing
judging      turns these facts into findings; pure
guarding     those about security: engines with published faults, code, open files; pure
faults       the published faults; pure
keys         findings about the keys of clients; pure
report       `--report`: all that a report of a fault needs, in one text
cleaning     takes secrets out of text; pure
quotes       takes the words of others out of lines of router.log; pure
findings     the types of findings, and their output as text
"""
