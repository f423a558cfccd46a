"""`ps`: say which models are loaded, what they take of the memory, who uses them, and when they unload."""

import argparse
import json

from router.api.admin.models import MODELS
from router.cli import running, shown
from router.cli.exits import printed


def run(options: argparse.Namespace) -> int:
    """Print the models of a running router. Raises ConfigError and CommandError."""
    reply = running.ask(options, lambda router: router.call(MODELS))
    if options.json:
        return printed(json.dumps(reply.plain, indent=1))
    peers = () if reply.told is None else reply.told.peers
    return printed("\n".join([shown.table(running.models_of(reply)), *shown.silent(peers)]))
