"""Write docs/management.md from the table of the management API, or check that it is current."""

from __future__ import annotations

import sys

from router.api.admin import TABLE
from router.api.admin.page import page
from scripts.generated import DOCS, keep

FILE = DOCS / "management.md"


def main() -> int:
    """Write the file, or check it; the exit code is 1 if it is not current."""
    return keep("make_management_docs", __doc__, {FILE: page(TABLE)})


if __name__ == "__main__":
    sys.exit(main())
