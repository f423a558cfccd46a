"""`check`: say all that is wrong with router.yaml, and what this machine lacks for it; start nothing, ask nobody."""

import argparse
import os
import re
import sys
import time

from structlog.testing import capture_logs

from launchers.engines import ENGINES
from profiles import AUTO, load_profiles
from router.cli.exits import REFUSED, printed
from router.cli.mistakes import told
from router.config.load import Loaded, load_with_places
from router.config.pointing import pointed
from router.doctor.findings import Mark
from router.doctor.judging import of_doors, of_profile
from router.doctor.keys import of_keys
from router.doctor.looking import Launched, look_at_launches, look_at_machine, look_at_tls
from router.telemetry.terminal import YELLOW, painter, say

_NAMED = re.compile(r"backends\[\d+\] \((.*?)\): (?:(?:launch|tls)\.\w+: )?|server\.tls\.\w+: ")
"""How a problem of a launch begins; what stands there is said by its key."""


def run(options: argparse.Namespace) -> int:
    """Say that a configuration can be used here, and what deserves a look. Raises ConfigError."""
    loaded, document = load_with_places(options.config, os.environ)
    config, launched = loaded.config, _launched(loaded)
    secured, wrong = look_at_tls(config, loaded.path.resolve().parent, time.time())
    if faults := [*launched.problems, *launched.broken, *wrong]:
        problems = [document.problem(key, _NAMED.sub("", problem)) for problem, key in faults]
        say(told(pointed(problems, document.texts), sys.stderr), sys.stderr)
        return REFUSED
    paint = painter(sys.stdout)
    lines = [f"{loaded.path} can be used. Backends: {len(config.backends)}, routes: {len(config.routes)}."]
    found = (*launched.findings, *of_doors(config), *of_keys(config, time.time()), *secured)
    looks = [each for each in found if each.mark is Mark.LOOK]
    lines += [f"{paint(YELLOW, each.what)}: {each.text}" for each in looks]
    odd = pointed([document.problem(key, text) for text, key in launched.odd], document.texts)
    return printed("\n".join([*lines, told(odd, sys.stdout)] if odd else lines).rstrip("\n"))


def _launched(loaded: Loaded) -> Launched:
    """Look at what would be started here; where nothing would, the machine doesn't matter."""
    config = loaded.config
    if all(backend.launch is None for backend in config.backends) and config.profile == AUTO:
        return Launched((), ())
    # What a start would log, the findings tell.
    with capture_logs():
        facts = look_at_machine(ENGINES)
        profile, findings = of_profile(facts, load_profiles(), config.profile)
        if profile is None:
            return Launched((), [(each.text, ("profile",)) for each in findings])
        return look_at_launches(config, loaded.path.resolve().parent, os.environ, ENGINES, facts, profile)
