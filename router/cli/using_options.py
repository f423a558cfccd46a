"""The options of the commands that bring a model, and use it: pull, run, connect."""

import argparse
from typing import Final

from router.cli.option_groups import finds, takes_file

CLIENTS: Final = ("claude", "codex", "opencode", "aider", "open-webui", "continue")


def add_using(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands that bring a model, and use it."""
    pulled = commands.add_parser(
        "pull",
        help="fetch a model from the hub, and offer its entry for router.yaml",
        description="Fetch the files of a model that this machine's engine needs from Hugging Face's hub into its "
        "cache, and offer the entry for router.yaml. A download that was cut goes on where it was.",
        epilog="HF_ENDPOINT, HF_TOKEN and HF_HOME mean what they mean to other programs. Exit code: 0; 1 where the "
        "same may succeed later; 2 where something must be put right first.",
    )
    pulled.add_argument("model", metavar="ORG/NAME[:QUANT]", help="a repository, and one quantisation or file of it")
    pulled.add_argument("--write", action="store_true", help="add the entry to router.yaml without asking")
    _fetches(pulled)
    takes_file(pulled)
    talked = commands.add_parser(
        "run",
        help="talk with a model in the terminal",
        description="Talk with a model: with the router that runs, if it has it, else with one that is started for it.",
    )
    # run.py is what starts the router.
    talked.set_defaults(command="chat")
    talked.add_argument("model", nargs="?", metavar="MODEL", help="its name, a file or folder, or ORG/NAME of the hub")
    talked.add_argument("--prompt", metavar="TEXT", help="ask this alone; what comes in by a pipe is put behind it")
    talked.add_argument("--system", metavar="TEXT", help="say who the model is to be")
    _fetches(talked)
    connected = commands.add_parser(
        "connect",
        help="say what a program needs to be told of this router, or start it so",
        description="Print what a program needs to be told of the running router, or with --exec start it so.",
    )
    connected.add_argument("client", choices=CLIENTS, metavar="PROGRAM", help=", ".join(CLIENTS))
    connected.add_argument("--model", metavar="NAME", help="default: the first that the router has")
    connected.add_argument("--exec", action="store_true", help="start the program; what stands behind -- is for it")
    connected.add_argument("--show-key", action="store_true", help="write the key out, instead of $ROUTER_KEY")
    for each in (talked, connected):
        takes_file(each)
        finds(each)
        each.add_argument("--key", metavar="KEY", help="one of auth.keys; default: ROUTER_KEY")


def _fetches(described: argparse.ArgumentParser) -> None:
    """Add what each command takes that may fetch a model."""
    described.add_argument("--yes", action="store_true", help="fetch it without asking, also what doesn't fit here")
    described.add_argument(
        "--cdn",
        action="append",
        default=[],
        metavar="HOST",
        help="another host that the hub may send on to for files; default: the hub's own, and Hugging Face's",
    )
