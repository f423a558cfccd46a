"""One question to an engine, whether it is ready.

A raw GET, of which only the status line is read: no session to keep, no body to hold.
"""

import asyncio

TIMEOUT = 5.0  # seconds for one answer; an engine that is busy loading may take some


async def is_ready(port: int, path: str, timeout: float = TIMEOUT) -> bool:  # noqa: ASYNC109 -- of this one try
    """Whether GET `path` on 127.0.0.1:`port` is answered with 200 within `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
                writer.write(request.encode())
                status_line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):  # ValueError: a line without an end, so no HTTP
        return False
    return status_line.split()[1:2] == [b"200"]
