"""Writes the first router.yaml of a machine. Pure."""

from collections.abc import Iterable, Sequence

from router.scan.entries import Entry

TOP = """\
# router.yaml: which models are served, and by what.
#
#   start            {router} --config {file}
#   talk to          http://127.0.0.1:8001/v1, with any OpenAI client
#   check an edit    {router} check --config {file}
#   every key        docs/configuration.md
#
# A change is live as soon as this file is saved. A model is loaded by the first request for it, and leaves when others
# need its memory; `pinned: true` instead of `load: on_demand` loads it at the start, and keeps it.

server:
  port: 8001          # on 127.0.0.1: other machines need `host: 0.0.0.0`, and a key in `auth`

# {why}
profile: auto

backends:
"""

LATER = """\
  # A server elsewhere; it is asked for its models:
  #
  # - url: http://gpu-box:8000
"""


def first_file(entries: Iterable[Entry], why: str, file: str, router: str = "python -m router") -> str:
    """Write a file with these entries; those with a reason are comments.

    `why` is why the profile is this machine's; `router` is the command as it is typed here.
    """
    parts: Sequence[str] = ["".join(f"{line}\n" for line in each.lines()) for each in entries]
    return TOP.format(why=why, file=file, router=router) + "\n".join([*parts, LATER])
