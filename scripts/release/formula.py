"""Homebrew's formula, of the template in packaging/homebrew."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from scripts.release.steps import CHECKOUT, ReleaseError

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE: Final = CHECKOUT / "packaging/homebrew/llm-engine-router.rb.in"


def write(dist: Path, version: str, *, wheel: Path, url: str, homepage: str) -> Path:
    """Write the formula of a wheel that will be found below a URL; give its path. Raises ReleaseError."""
    for each in (url, homepage):  # which stand in a program, between quotes
        if not re.fullmatch(r"https://[^\s\"#\\]+", each):
            raise ReleaseError(f"{each}: expected https://…")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    values = {"URL": f"{url}/{wheel.name}", "SHA256": digest, "VERSION": version, "HOMEPAGE": homepage}
    path = dist / TEMPLATE.name.removesuffix(".in")
    path.write_text(filled(TEMPLATE.read_text("utf-8"), values), "utf-8")
    return path


def filled(template: str, values: dict[str, str]) -> str:
    """Put values in the places that a template marks as @NAME@. One that it marks and doesn't get is a KeyError."""
    return re.sub(r"@([A-Z0-9]+)@", lambda found: values[found[1]], template)
