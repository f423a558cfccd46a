"""Write docs/management.md from the table of the management API, or check that it is current."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from router.api.admin import TABLE
from router.api.admin.page import page

FILE = Path(__file__).parents[1] / "docs/management.md"


def main() -> int:
    """Write the file, or check it; the exit code is 1 if it is not current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if the file isn't current")
    text = page(TABLE)
    if FILE.exists() and FILE.read_text(encoding="utf-8") == text:
        return 0
    if parser.parse_args().check:
        print(f"{FILE} is not current: run python -m scripts.make_management_docs", file=sys.stderr)
        return 1
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
