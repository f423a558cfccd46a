"""Logs, the access log, the terminal, and the supervision of background tasks."""
