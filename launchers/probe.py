"""One question to an engine: whether it is ready.

A raw GET, or POST with a body, of which only the status line is read: no session to keep, no body to hold.
"""

import asyncio

TIMEOUT = 5.0
"""Seconds for the answer to a GET; an engine that is busy loading may take some of them."""

TIMEOUT_OF_A_REQUEST = 120.0
"""Seconds for the answer to a POST. It may wait for the model, and the first one reads weights and compiles code."""


async def is_ready(
    port: int,
    path: str,
    body: bytes = b"",
    timeout: float = TIMEOUT,  # noqa: ASYNC109 -- for this one question
    key: str = "",
) -> bool:
    """Whether GET `path` on 127.0.0.1:`port`, or POST with a body, is answered with 200 within `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                method = "POST" if body else "GET"
                head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
                if key:
                    head += f"Authorization: Bearer {key}\r\n"
                if body:
                    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                writer.write(head.encode() + b"\r\n" + body)
                status_line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        # ValueError: a line without an end, so no HTTP.
        return False
    return status_line.split()[1:2] == [b"200"]
