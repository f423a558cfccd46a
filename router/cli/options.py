"""The command line as argparse knows it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from router.cli.exits import BAD_START, UNPRINTED
from router.cli.option_groups import asks, takes_file, whole
from router.cli.slips import slip
from router.cli.using_options import CLIENTS, add_using
from router.config.redact import LIMITS
from router.distribution import VERSION, called
from router.telemetry.terminal import say

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


class _Parser(argparse.ArgumentParser):
    """One whose help and version can fail to be printed, as on a full disk: argparse would end with 0."""

    def _print_message(self, message: str, file: "SupportsWrite[str] | None" = None) -> None:
        if message and not say(message, cast("TextIO", file or sys.stderr)) and file is sys.stdout:
            sys.exit(UNPRINTED)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read a command line. One with a slip in it ends the program, with a sentence that says what is meant."""
    described = parser()
    if said := slip(described, arguments):
        described.exit(BAD_START, f"{described.prog}: {said}\n")
    words, rest = list(arguments), []
    if "--" in words and "connect" in words[: (end := words.index("--"))]:
        # What stands behind it is for another program; argparse would look for options among it.
        words, rest = words[:end], words[end + 1 :]
    options = described.parse_args(words)
    options.rest = rest
    return options


def parser() -> argparse.ArgumentParser:
    """Describe the command line; without a command, `command` is None."""
    name = called()
    described: argparse.ArgumentParser = _Parser(
        prog=name,
        usage=f"{name} [--config FILE] [--version]\n       {name} doctor [--report [FILE]]\n"
        f"       {name} check [--config FILE]\n"
        f"       {name} plan --config NEW [--running FILE]\n       {name} schema\n"
        f"       {name} ps [--json]\n       {name} load NAME...\n       {name} unload NAME...|--all\n"
        f"       {name} models --scan [FOLDER...] [--write] [--json]\n       {name} init [--force]\n"
        f"       {name} import FILE|--ollama|--lmstudio [--output FILE] [--force]\n"
        f"       {name} pull ORG/NAME[:QUANT] [--write]\n       {name} run MODEL [--prompt TEXT]\n"
        f"       {name} connect {{{','.join(CLIENTS)}}} [--exec]\n"
        f"       {name} key new --name NAME [--admin]\n"
        f"       {name} service {{install,status,remove}} [--user|--system] [--dry-run]\n"
        f"       {name} {{status,requests}} [--json]\n       {name} top [--once]\n"
        f"       {name} usage [--by key,model,day] [--since DAY|7d] [--csv]\n       {name} keys [--json]\n"
        f"       {name} explain MODEL\n       {name} cancel ID\n"
        f"       {name} {{restart,drain,undrain}} BACKEND\n       {name} scale BACKEND N\n"
        f"       {name} {{pin,unpin}} NAME\n       {name} logs [-f] [BACKEND]\n       {name} events",
        description="Start the engines that router.yaml names, and route OpenAI clients' requests to them.",
        epilog="Ctrl-C lets requests in flight end; a second one stops now.",
    )
    takes_file(described, Path("router.yaml"))
    described.add_argument("--version", action="version", version=f"router {VERSION}")
    commands = described.add_subparsers(dest="command", metavar="COMMAND", title="commands", prog=name)
    _add_checking(commands)
    _add_running(commands)
    _add_finding(commands)
    add_using(commands)
    _add_key(commands)
    _add_service(commands)
    return described


def _add_checking(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands that say what a start or a reload would do."""
    examined = commands.add_parser(
        "doctor",
        help="say what this machine is and what the router would run, and start nothing",
        description="Say what this machine is, what the router would run on it, and what would be in its way.",
        epilog="Exit code: 0, or 1 where something would stop the router.",
    )
    examined.add_argument(
        "--report",
        nargs="?",
        type=Path,
        const=Path("router-report.txt"),
        metavar="FILE",
        help="write all that a report of a fault needs, without secrets, into a file; default: router-report.txt; "
        "- prints it",
    )
    takes_file(examined)
    checked = commands.add_parser(
        "check",
        help="say all that is wrong with router.yaml, and start nothing",
        description="Read router.yaml, and say all that is wrong with it: where, and what would be right. Models and "
        "engines are looked at, too; nothing is started, and no other machine is asked.",
        epilog="Exit code: 0; 1 where this machine lacks something for it; 2 where the file can't be used.",
    )
    takes_file(checked)
    commands.add_parser("schema", help="print the JSON Schema of router.yaml, for editors")
    planned = commands.add_parser(
        "plan",
        help="say what a running router would do to go over to another configuration, and do nothing",
        description="Compare the configuration that runs with another, and print what a reload would do.",
        epilog="Exit code: 0, or 2 where one of the two can't be used.",
    )
    planned.add_argument("--config", type=Path, required=True, metavar="NEW", help="what it would be")
    planned.add_argument(
        "--running", type=Path, default=Path("router.yaml"), metavar="FILE", help="what runs; default: router.yaml"
    )


def _add_service(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command that has the system start the router."""
    served = commands.add_parser(
        "service",
        help="have this system start the router, and keep it running",
        description="Install the router as a service of systemd, or of launchd on a Mac: it starts with the machine, "
        "and again if it fails. Or say how that service is, or stop and remove it.",
        epilog="Exit code: 0; 1 where the service doesn't run, or its manager failed; 2 where something must be put "
        "right first.",
    )
    served.add_argument("what", choices=["install", "status", "remove"])
    scope = served.add_mutually_exclusive_group()
    scope.add_argument(
        "--user", dest="scope", action="store_const", const="user", help="your own service; the default, but for root"
    )
    scope.add_argument(
        "--system", dest="scope", action="store_const", const="system", help="the machine's: it needs root"
    )
    served.add_argument(
        "--as", dest="user", metavar="USER", help="with --system: who runs it; default: who called sudo, or the owner "
        "of router.yaml",
    )  # fmt: skip
    served.add_argument("--name", default="router", metavar="NAME", help="of the service; default: router")
    served.add_argument("--dry-run", action="store_true", help="print the file and the commands, and do nothing")
    takes_file(served)


def _add_key(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command that makes keys. What its options may say is what router.yaml may say."""
    made = commands.add_parser(
        "key",
        help="make a key for a client or an admin",
        description="Make a key of 256 random bits, and print it once, with the entry for router.yaml, which holds "
        "its SHA-256 alone. No file is written, and no router asked.",
        epilog="Exit code: 0, or 2 where router.yaml couldn't have such an entry.",
    )
    made.add_argument("what", choices=["new"], metavar="new", help="make one")
    made.add_argument("--name", required=True, metavar="NAME", help="of its owner")
    for name in sorted(LIMITS):
        made.add_argument(f"--{name.replace('_', '-')}", metavar="N", help="as auth.keys[] has it; 100k and 2M, too")
    made.add_argument("--models", metavar="PATTERNS", help="that it may use, separated by commas: 'qwen*,llama'")
    made.add_argument("--paths", metavar="PATTERNS", help="that it may ask, separated by commas: '/v1/*'")
    made.add_argument("--expires", metavar="DATE", help="its last day, or a time")
    made.add_argument("--weight", metavar="N", help="its share where requests wait")
    made.add_argument("--priority", metavar="N", help="the lowest number goes first")
    made.add_argument("--admin", action="store_true", help="a key for /admin")
    made.add_argument("--scopes", metavar="SCOPES", help="with --admin: read, manage, configure, separated by commas")
    made.add_argument("--json", action="store_true", help="print all of it, for programs")


def _add_finding(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands that look for models on this machine's disk."""
    found = commands.add_parser(
        "models",
        help="find the models on this disk, and write them into router.yaml",
        description="Find the models on this disk: their size, quantisation and context, the engine for each, and "
        "whether it fits here. Prints entries for router.yaml. Starts and fetches nothing. Without --scan: as `ps`.",
        epilog="Exit code: 0; 1 where the search was cut short; 2 where a folder or router.yaml can't be used.",
    )
    found.add_argument("--scan", action="store_true", help="look for models on this disk")
    found.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="FOLDER",
        help="where to look; without one: models/ beside router.yaml, the cache of Hugging Face's hub, and where "
        "LM Studio, Ollama and llama.cpp keep theirs",
    )
    found.add_argument("--write", action="store_true", help="add the new ones that fit to router.yaml")
    asks(found)
    begun = commands.add_parser(
        "init",
        help="write a router.yaml for this machine",
        description="Write a router.yaml with the models on this disk that fit, each loaded when it is asked for, and "
        "the servers that answer at ports 11434 (Ollama), 1234 (LM Studio) and 8080 (llama-server).",
        epilog="Exit code: 0, or 2 where the file is there already, or nothing was found to write.",
    )
    begun.add_argument("--force", action="store_true", help="replace a file that is there; it stays beside as .bak")
    takes_file(begun)
    _add_import(commands)


def _add_import(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command that reads other programs' configurations."""
    read = commands.add_parser(
        "import",
        help="make a router.yaml of another program's configuration",
        description="Make a router.yaml of a configuration of llama-swap, of LiteLLM or of llama.cpp's presets, or of "
        "the models that Ollama or LM Studio has: an entry for each thing, and a list of what can't be carried over, "
        "and why. Starts nothing, and asks nobody.",
        epilog="Exit code: 0, or 2 where the file can't be used, or a router.yaml is there already.",
    )
    # A module can't be called `import`.
    read.set_defaults(command="importing")
    read.add_argument("file", nargs="?", type=Path, metavar="FILE", help="of another program")
    read.add_argument("--ollama", action="store_true", help="instead of a file: the models of Ollama's store")
    read.add_argument("--lmstudio", action="store_true", help="instead of a file: the models of LM Studio's folder")
    read.add_argument("--output", type=Path, metavar="FILE", help="write it there; without it, print it")
    read.add_argument("--force", action="store_true", help="replace a file that is there; it stays beside as .bak")


def _add_running(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands that ask a running router."""
    listed = commands.add_parser(
        "ps",
        help="say which models are loaded, what they take, and who uses them",
        description="Ask the running router which of its models are loaded, what they take of the memory, who uses "
        "them, and when they unload.",
    )
    loading = commands.add_parser(
        "load",
        help="load models now",
        description="Have the running router load models, and wait until they are. Others leave for them where memory "
        "is short, but none that is in use before it has answered.",
    )
    loading.add_argument("names", nargs="+", metavar="NAME", help="of a model, a route or a backend")
    unloading = commands.add_parser(
        "unload",
        help="unload models now",
        description="Have the running router unload models once their requests in flight are answered, and wait until "
        "their memory is free.",
    )
    unloading.add_argument("names", nargs="*", metavar="NAME", help="of a model, a route or a backend")
    unloading.add_argument("--all", action="store_true", help="every model that the router itself has loaded")
    for each in (listed, loading, unloading):
        asks(each)
    _add_telling(commands)
    written = commands.add_parser("logs", help="print what the router or an engine has written, and with -f what comes")
    written.add_argument("name", nargs="?", metavar="BACKEND", help="of an engine; without one: the router's own log")
    written.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    written.add_argument("-n", "--limit", type=whole, default=100, metavar="N", help="so many lines; default: 100")
    asks(written)
    asks(commands.add_parser("events", help="print what happens, as it happens"))
    _add_top(commands)
    for name, does in _LEVERS.items():
        lever = commands.add_parser(name, help=does)
        lever.add_argument("name", metavar="BACKEND", help="or a model that no other backend serves")
        asks(lever)
    scaled = commands.add_parser("scale", help="have so many processes of a launch, until its entry changes")
    scaled.add_argument("name", metavar="BACKEND", help="or a model that no other launch serves")
    scaled.add_argument("replicas", type=whole, metavar="N", help="how many")
    asks(scaled)
    for name, does in _PINS.items():
        pinned = commands.add_parser(name, help=does)
        pinned.add_argument("name", metavar="NAME", help="of a model, a route or a backend")
        asks(pinned)


def _add_telling(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands that tell what the router does and has done, and the one that ends a request."""
    asked = commands.add_parser("status", help="say what the router does: backends, who waits, the machine")
    asks(asked)
    told = commands.add_parser("requests", help="say which requests are under way, which ended last, or all about one")
    told.add_argument("id", nargs="?", metavar="ID", help="tell the way of this one, and why it went there")
    told.add_argument("--capture", action="store_true", help="with ID: what it said, and what it was answered")
    told.add_argument("--recent", action="store_true", help="those that ended last")
    told.add_argument("--limit", type=whole, default=20, metavar="N", help="with --recent: so many; default: 20")
    asks(told)
    used = commands.add_parser(
        "usage",
        help="say what was used: requests, tokens and money, by key, model and day",
        description="Say what was used, as the running router knows it; if none runs, as its database has it. Days are "
        "those of the router's machine.",
    )
    used.add_argument("--by", default="key,model", metavar="WHAT", help="some of key,model,day; default: key,model")
    used.add_argument(
        "--since", default="", metavar="DAY", help="2026-11-30, or 7d: seven days with today; default: all"
    )
    used.add_argument("--csv", action="store_true", help="print it for spreadsheets")
    asks(used)
    limited = commands.add_parser("keys", help="say what each key and team may use now, and what it has used")
    asks(limited)
    cancelled = commands.add_parser("cancel", help="end a request: its client is told, its engine stops")
    cancelled.add_argument("id", metavar="ID", help="its x-request-id")
    asks(cancelled)
    explained = commands.add_parser("explain", help="say where a request for a model would go now, and why")
    explained.add_argument("model", metavar="MODEL", help="the name of a model or a route")
    explained.add_argument("--size", type=whole, default=1000, metavar="BYTES", help="of the request; default: 1000")
    asks(explained)


def _add_top(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command that shows it live."""
    live = commands.add_parser(
        "top",
        help="show live what the router does: backends, requests, GPUs, last events",
        description="Show what the router does, drawn anew each second until Ctrl-C. In a pipe, and on a terminal that "
        "can't be drawn over (TERM=dumb), one frame below the other, of COLUMNS by LINES. A router that restarts is "
        "waited for.",
    )
    live.add_argument("--interval", type=_seconds, default=1.0, metavar="SECONDS", help="between two looks; default: 1")
    live.add_argument("--once", action="store_true", help="print one frame, and end")
    asks(live)


def _seconds(text: str) -> float:
    """Read a time between two looks. Raises ArgumentTypeError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r}: write seconds, from 0.1 to 3600")
    return seconds


_LEVERS = {
    "restart": "start an engine afresh, without cutting an answer",
    "drain": "send a backend nothing more; what it has goes on",
    "undrain": "send a drained backend requests again",
}
_PINS = {
    "pin": "keep a model loaded, until its entry changes",
    "unpin": "let a model leave again, also one that router.yaml has pinned",
}
