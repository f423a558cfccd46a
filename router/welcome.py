"""What a person is told when the router is ready."""

import json
import shlex

from router.telemetry.logs import printable

MOST_NAMED = 20
"""Models that are named when the router is ready."""


def welcome(url: str, ready: list[str], *, with_key: bool, cert: str = "") -> str:
    """Write what a person needs next: the address, and a line to try. A key is asked for, not shown.

    `cert` is the file with the router's certificate, if programs have to be given it.
    """
    if not ready:
        return f"\nThe router is at {url}/v1, but no model can be served yet: see {url}/ready\n"
    ask = {"model": ready[0], "max_tokens": 40, "messages": [{"role": "user", "content": "Hello"}]}
    # The name of a model may come from another machine, and must not leave its quotes.
    body = shlex.quote(json.dumps(ask))
    key = " -H 'authorization: Bearer YOUR_KEY'" if with_key else ""
    trust = f" --cacert {shlex.quote(cert)}" if cert else ""
    more = f" and {len(ready) - MOST_NAMED} more" if len(ready) > MOST_NAMED else ""
    return (
        f"\nReady at {url}/v1 with {', '.join(map(printable, ready[:MOST_NAMED]))}{more}. Try:\n\n"
        f"  curl {url}/v1/chat/completions -H 'content-type: application/json'{key}{trust} \\\n    -d {body}\n\n"
        f"or open {url}/ in a browser.\n"
    )
