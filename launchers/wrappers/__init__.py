"""Programs that run in an engine's own process, around its server, and give it what it lacks.

The Python that runs them need know nothing of this project: none imports anything of it, and none is imported by it.
"""
