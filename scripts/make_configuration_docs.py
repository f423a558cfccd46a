"""Write docs/configuration.md and docs/router.schema.json from router.yaml's types, or check that they are current."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from router.config.docs import page
from router.config.schema import schema

DOCS = Path(__file__).parents[1] / "docs"


def main() -> int:
    """Write both files, or check them; the exit code is 1 if one of them is not current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a file isn't current")
    check = parser.parse_args().check
    made = schema()
    texts = {
        DOCS / "configuration.md": page(made),
        DOCS / "router.schema.json": json.dumps(made, indent=1, ensure_ascii=False) + "\n",
    }
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if check:
        for path in stale:
            print(f"{path} is not current: run python -m scripts.make_configuration_docs", file=sys.stderr)
        return int(bool(stale))
    for path in stale:
        path.write_text(texts[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
