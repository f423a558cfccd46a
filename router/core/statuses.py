"""What the status of an engine's answer says: of the request, of the model, or of the backend. Pure."""

from typing import Final

RETRY_STATUSES: Final = frozenset({429, 502, 503, 504})
"""Another backend might do better; the request is sent there while no byte has reached the client."""

TOO_MANY: Final = 429
"""The backend has no room now. Says nothing against its health."""

UNWELL_STATUSES: Final = frozenset({502, 503, 504})
"""Count against the backend's health. Others, 500 too, count only where another backend answers the same request: some
engines say 500 to a request that they don't understand, and no client may take a backend out by sending nonsense."""

OF_THE_REQUEST: Final = frozenset({400, 406, 411, 412, 413, 414, 415, 416, 417, 422, 428, 431, 451})
"""Speak of the request: every backend would answer so. They are believed of any backend that isn't in doubt."""

OF_THE_KEY: Final = frozenset({401, 402, 403, 407})
"""Speak of the key that was shown."""

LACKS: Final = 404
"""There is no such model, or no such path."""

LIES: Final = 500
"""Stands for the status of an answer that claims to be good and isn't: empty, a web page, an error."""
