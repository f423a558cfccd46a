"""What deserves a look among the keys of clients: those that have expired, and names that nothing has. Pure."""

from collections.abc import Iterator

from router.config import Config
from router.core.wildcards import Wildcards, few
from router.doctor.findings import Finding, Mark


def of_keys(config: Config, now: float) -> Iterator[Finding]:
    """The keys that have expired by this Unix time, and patterns of models that match none."""
    keys = [(key.name or f"the key at auth.keys[{index}]", key) for index, key in enumerate(config.auth.keys)]
    over = [name for name, key in keys if key.expires is not None and key.expires <= now]
    if over:
        yield Finding(Mark.LOOK, "keys", f"{few(over)}: expired; take it out, or give it another date (auth.keys)")
    models = [name for backend in config.backends for name in backend.models]
    if not all(backend.models for backend in config.backends) or any("*" in name for name in config.routes):
        # What there is, is known when the router runs.
        return
    for name, key in keys:
        odd = [each for each in key.models if not any(map(Wildcards([each]).match, [*models, *config.routes]))]
        if odd and key.models != ("*",):
            yield Finding(Mark.LOOK, "keys", f"{name}: may use {few(odd)}, which is no model's name and no route's")
