"""Removes the line of a system prompt that is another in each request, and defeats the engines' prompt caches.

Claude Code's system prompt begins with `x-anthropic-billing-header: cc_version=…; cch=a5145;`, whose last part is
another each time. It stands at the very front, so an engine reads the whole prompt again.

All else stays, byte for byte: native engines get the body too, and backends are chosen by its bytes.
"""

import re

import msgspec

MARK = b"x-anthropic-billing-header:"

_LINE = re.compile(MARK + rb"(?:[^\"\\]|\\[^n])*(?:\\n)?")
"""The line inside a JSON text, with its end; there, a line end is a backslash and an n."""


class _Body(msgspec.Struct):
    system: msgspec.Raw = msgspec.Raw()


class _Block(msgspec.Struct):
    text: msgspec.Raw = msgspec.Raw()


_read_body = msgspec.json.Decoder(_Body).decode
_read_blocks = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_block = msgspec.json.Decoder(_Block).decode
_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def without_billing_line(body: bytes) -> bytes:
    """Remove the line from the body's `system`: a block with nothing else, or the line alone.

    Gives the same object if there is no such line, or if it isn't JSON.
    """
    if MARK not in body:
        return body
    try:
        system = bytes(_read_body(body).system)
        cleaned = _cleaned(system)
        if cleaned is system:
            return body
        # The same bytes may stand elsewhere first, in a message; so look whether the right ones were replaced.
        at = body.find(system)
        while at >= 0:
            changed = body[:at] + cleaned + body[at + len(system) :]
            if bytes(_read_body(changed).system) == cleaned:
                return changed
            at = body.find(system, at + 1)
    except _BROKEN:
        pass
    return body


def _cleaned(system: bytes) -> bytes:
    """Clean a system prompt: a text, or a list of blocks."""
    if MARK not in system:
        return system
    if system[:1] == b'"':
        text = _without_line(system)
        return b"[]" if text == b'""' else text
    if system[:1] != b"[":
        return system
    # 1. Find where each block begins and ends; only commas and spaces are between them.
    blocks = [bytes(block) for block in _read_blocks(system)]
    kept: list[bytes] = []
    at, changed = 1, False
    for block in blocks:
        begins = system.index(block, at)
        between, at = system[at:begins], begins + len(block)
        text = bytes(_read_block(block).text) if block[:1] == b"{" else b""
        cleaned = _without_line(text)
        # 2. Drop a block with nothing else, and the comma before or after it.
        changed |= cleaned is not text
        if cleaned is not text and cleaned == b'""':
            continue
        kept.append(between.replace(b",", b"") if not kept else between)
        kept.append(block.replace(text, cleaned) if cleaned is not text else block)
    return b"[%b%b" % (b"".join(kept), system[at:]) if changed else system


def _without_line(text: bytes) -> bytes:
    """Remove the line from a JSON text in its quotes; the same object if it has none."""
    at = text.find(MARK)
    while at >= 0:
        if _begins_line(text, at):
            found = _LINE.match(text, at)
            return text[:at] + text[found.end() :] if found else text
        at = text.find(MARK, at + 1)
    return text


def _begins_line(text: bytes, at: int) -> bool:
    """Whether a line begins here: at the first quote, or after a backslash and an n that isn't itself escaped."""
    if at == 1:
        return True
    before = text[:at]
    if before[-2:] != b"\\n":
        return False
    slashes = len(before[:-1]) - len(before[:-1].rstrip(b"\\"))
    return slashes % 2 == 1
