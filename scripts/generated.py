"""Files of docs/ that are made from the code: written, or checked whether they are current."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def keep(maker: str, described: str | None, files: Mapping[Path, str]) -> int:
    """Write files, or with --check say which aren't current; the exit code is 1 then. `maker` is the module's name."""
    parser = argparse.ArgumentParser(description=described)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a file isn't current")
    check = parser.parse_args().check
    stale = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if check:
            print(f"{path} is not current: run python -m scripts.{maker}", file=sys.stderr)
        else:
            path.write_text(files[path], encoding="utf-8")
    return int(check and bool(stale))
