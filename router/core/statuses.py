"""What the status of an engine's answer speaks about: the request, the model, or the backend. Pure."""

from typing import Final

RETRY_STATUSES: Final = frozenset({429, 502, 503, 504})
"""Another backend might do better: the request is sent there while no byte has reached the client."""

TOO_MANY: Final = 429
"""The backend has no room now. That says nothing against its health."""

UNWELL_STATUSES: Final = frozenset({502, 503, 504})
"""These count against the backend's health. Others, 500 too, count only if another backend answers the same request:
some engines say 500 to a request that they don't understand, and no client may take a backend out by sending
nonsense."""

OF_THE_REQUEST: Final = frozenset({400, 406, 411, 412, 413, 414, 415, 416, 417, 422, 428, 431, 451})
"""These speak about the request: every backend would answer so. They are believed unless the backend is in doubt."""

MAY_BE_TOO_LONG: Final = frozenset({400, 413, 422})
"""With these engines refuse a prompt that is longer than their context; a larger one would take it."""

OF_THE_KEY: Final = frozenset({401, 402, 403, 407})
"""These speak about the key that was shown."""

LACKS: Final = 404
"""There is no such model, or no such path."""

LIES: Final = 500
"""Stands for the status of an answer that says 200 and isn't one: empty, a web page, an error."""

LEFT: Final = 499
"""Stands for the status of an answer whose client didn't wait for its end."""
