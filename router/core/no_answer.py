"""What servers send in the place of an answer: web pages, redirections, nothing, errors in words. Pure.

Gateways and login pages before a server speak no API of the client's. What they send becomes an error in the form of
the path's API (`instead`). An error in JSON is the server's own, and passes as it is. But what a launched engine says
of its own failure is for its log, not for clients (`own_failure`).
"""

from router.core.errors import BadGatewayError, RouterError, of_engine

_JSON = (b"{", b"[")
_MOST = 4096
"""Bytes of words that are told."""


def instead(status: int, said: bytes) -> RouterError | None:
    """Give the error that a client is told instead of such an answer, of which `said` is the body, or its beginning.

    None: it is an answer, or a proper error.
    """
    text = said.lstrip()
    if status >= 400:
        return None if text.startswith(_JSON) else of_engine(status, said[:_MOST])
    if status >= 300:
        return BadGatewayError(f"The backend answered {status}, a redirection, instead of an answer: check its url.")
    if not text:
        return BadGatewayError(f"The backend answered {status}, and nothing more.")
    if text.startswith(b"<"):
        words = of_engine(BadGatewayError.status, said).message
        return BadGatewayError(f"The backend answered {status} with a web page instead of an answer: {words}")
    return None


def own_failure(status: int, model: str, backend: str) -> RouterError:
    """Give the error for a launched engine's failure of this status, without the engine's words."""
    return of_engine(
        status,
        f"The engine '{backend}' of the model '{model}' failed with status {status}. Its log says why: "
        f"python -m router logs {backend}".encode(),
    )
