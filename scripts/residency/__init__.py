"""Simulates models that load and unload by themselves, on `router.core.memory`: see docs/memory.md."""
