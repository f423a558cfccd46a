"""Answers as they are kept, and how they are put together."""

from router.core.record import Tail, tail_of

APIS = ("/v1/chat/completions", "/v1/messages", "/v1/responses")


def chunked(*parts: bytes) -> bytes:
    """Put each part into a chunk, and end: so a body is kept that passes with its framing."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def is_whole(path: str, *pieces: bytes) -> bool:
    """Tell whether a stream of these pieces has said its end mark."""
    tail = tail_of(path)
    for piece in pieces:
        tail.add(piece)
    return tail.is_whole(path)


def kept(pieces) -> bytes:
    """Give what is kept of an answer that came in these pieces."""
    tail = Tail()
    for piece in pieces:
        tail.add(piece)
    return tail.bytes()


def chunk_of(delta: str, reason: str = "null", usage: str = "null") -> bytes:
    """Write an event of a chat's stream that was asked for its usage."""
    return (
        f'data: {{"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{{"index":0,"delta":{{{delta}}},'
        f'"logprobs":null,"finish_reason":{reason}}}],"usage":{usage}}}\n\n'
    ).encode()


DONE = b"data: [DONE]\n\n"
USAGE = '{"prompt_tokens":12,"completion_tokens":40,"total_tokens":52,"prompt_tokens_details":{"cached_tokens":0}}'
CHAT = [
    chunk_of('"role":"assistant"'),
    chunk_of('"content":"Hi"'),
    chunk_of('"content":"!"'),
    chunk_of("", '"stop"'),
    f'data: {{"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[],"usage":{USAGE}}}\n\n'.encode(),
    DONE,
]
