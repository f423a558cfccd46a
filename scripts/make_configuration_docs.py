"""Write docs/configuration.md and docs/router.schema.json from router.yaml's types, or check that they are current."""

from __future__ import annotations

import json
import sys

from router.config.docs import page
from router.config.schema import schema
from scripts.generated import DOCS, keep


def main() -> int:
    """Write both files, or check them; the exit code is 1 if one of them is not current."""
    made = schema()
    texts = {
        DOCS / "configuration.md": page(made),
        DOCS / "router.schema.json": json.dumps(made, indent=1, ensure_ascii=False) + "\n",
    }
    return keep("make_configuration_docs", __doc__, texts)


if __name__ == "__main__":
    sys.exit(main())
