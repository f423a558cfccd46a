"""`schema`: print the JSON Schema of router.yaml."""

import argparse
import json

from router.cli.exits import printed
from router.config.schema import schema


def run(_: argparse.Namespace) -> int:
    """Print the schema."""
    return printed(json.dumps(schema(), indent=1))
