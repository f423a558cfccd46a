"""`python -m router doctor`: what this machine is, what the router would run on it, and what would be in its way.

looking      the machine, the disk, the port, the servers elsewhere; starts nothing
judging      what was seen → findings, purely
findings     what is said of them, and how that is written down
"""
