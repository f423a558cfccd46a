"""Where a hub may send us on to. Pure.

Hubs answer a request for a large file with the address of another host, which has it. Whoever can write such an answer
could send a program anywhere: to the services of this machine, or of the network that it is in. So:

1. https stays https.
2. The host is the hub's, or one below it; or Hugging Face's own, as mirrors send on to it; or one that a person named.
3. The token goes to the hub alone: to its scheme, host and port, whatever a redirect says (`is_hub`).
"""

from collections.abc import Collection
from typing import Final

from yarl import URL

OWN: Final = ("huggingface.co", "hf.co")
"""Hosts of Hugging Face, with those below them: cdn-lfs.huggingface.co, cas-bridge.xethub.hf.co, us.aws.cdn.hf.co."""

MOST: Final = 5
"""Redirects of one request."""


def is_hub(hub: URL, url: URL) -> bool:
    """Whether an address is the hub's own, and so may be shown the token."""
    return (hub.scheme, hub.host, hub.port) == (url.scheme, url.host, url.port)


def refusal(hub: URL, at: URL, to: URL, named: Collection[str]) -> str:
    """Say why a redirect from `at` isn't followed; empty if it is. `named` are hosts that a person has named."""
    if to.scheme not in {"http", "https"} or not to.host or to.user is not None:
        return f"the hub sends on to {_shown(to)}, which is no address of a file"
    # 1.
    if to.scheme == "http" and "https" in {hub.scheme, at.scheme}:
        return f"the hub sends on from https to http, where anybody can read and change what comes: {_shown(to)}"
    # 2.
    if any(_is_below(to.host, host) for host in (hub.host or "", *OWN)) or to.host.lower() in named:
        return ""
    return (
        f"the hub sends on to another host, {to.host}, which is not followed. If the hub keeps its files there, "
        f"say so: --cdn {to.host}"
    )


def _is_below(host: str, above: str) -> bool:
    return host.lower() == above.lower() or host.lower().endswith(f".{above.lower()}")


def _shown(url: URL) -> str:
    """Write an address without its query and its user, which may be secrets."""
    return f"{url.scheme}://{url.host or ''}{url.path}"[:200]
