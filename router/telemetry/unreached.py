"""Why a connection couldn't be made, in the system's words.

Those of asyncio and aiohttp are for programmers: `Cannot connect to host 10.0.0.2:8001 ssl:default [Connect call failed
('10.0.0.2', 8001)]` speaks of TLS where there is none, and says not that the connection was refused.
"""

import errno
import os
import socket
import ssl


def reason(error: OSError) -> str:
    """Give the system's words for an error of a connection; of one of a name or of TLS, its own."""
    behind: OSError = getattr(error, "os_error", error)
    if isinstance(behind, socket.gaierror | ssl.SSLError):
        # Their numbers aren't the system's.
        return behind.strerror or str(behind)
    number = behind.errno or 0
    return os.strerror(number) if number in errno.errorcode else behind.strerror or str(behind)
