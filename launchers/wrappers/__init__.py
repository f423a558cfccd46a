"""Programs that run in an engine's own process, around its server, and add what the server lacks.

They run in Pythons without this project: none imports anything of it, and it imports none of them.
"""
