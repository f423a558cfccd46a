"""Models on this disk that router.yaml doesn't have."""

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Final

from launchers.scan import places
from profiles import ProfileError
from router.api.admin.endpoint import Nothing
from router.api.admin.found import FoundModel, FoundTold
from router.config import Config
from router.core.errors import UnavailableError
from router.core.scopes import Admin
from router.fleet.reload import threads_take_turns
from router.management.levers import Levers
from router.scan.models import Machine, Model, Scan, modality_of, scan
from router.telemetry.tasks import aside

WITHIN: Final = 20.0
"""Seconds that a search takes at most."""

GIVE_UP: Final = 2 * WITHIN
"""Seconds after which a disk that doesn't answer isn't waited for."""

FRESH: Final = 10.0
"""Seconds for which an answer is given again: a page asks often, and models are large to write."""


class Search:
    """Answers `router.api.admin.found`."""

    def __init__(self, router: Levers) -> None:
        self._router = router
        # One search at a time; who comes meanwhile gets its answer.
        self._turns = asyncio.Lock()
        self._last: tuple[float, Config, FoundTold] | None = None

    async def found(self, _: Nothing, _admin: Admin) -> FoundTold:
        """Search the disk. Raises UnavailableError where that takes too long."""
        async with self._turns:
            config, now = self._router.plan.config, asyncio.get_running_loop().time()
            if self._last is not None and self._last[1] is config and now < self._last[0] + FRESH:
                return self._last[2]
            try:
                with threads_take_turns():
                    async with asyncio.timeout(GIVE_UP):
                        found = await aside(self._searched, config)
            except TimeoutError:
                raise UnavailableError("The disk doesn't answer: does a file server hang?", retry_after=60) from None
            except ProfileError as error:
                raise UnavailableError(f"No profile can be used: {error}.", retry_after=60) from None
            told = FoundTold(
                at=round(time.time(), 3),
                cut=found.cut,
                models=tuple(_told(each) for each in found.models if not each.is_there),
            )
            self._last = (asyncio.get_running_loop().time(), config, told)
            return told

    def _searched(self, config: Config) -> Scan:
        folder = self._router.folder
        roots = places.known(folder, os.environ, Path.home(), is_mac=sys.platform == "darwin")
        return scan(roots, Machine(folder, config), time.monotonic, within=WITHIN)


def _told(model: Model) -> FoundModel:
    described, candidate = model.read.described, model.read.candidate
    return FoundModel(
        name=model.name,
        place=candidate.place,
        hub=candidate.hub or None,
        size=described.size or None,
        parameters=described.parameters,
        quantization=described.quantization,
        context=described.context,
        modality=None if model.engine is None else modality_of(described),
        engine=None if model.engine is None else model.engine.name,
        fits=model.fits,
        note=model.note,
        lines=() if model.entry is None else tuple(model.entry.lines()),
    )
