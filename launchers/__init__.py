"""Engines as supervised subprocesses: started, watched, restarted, and never left behind."""
