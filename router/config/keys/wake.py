"""`wake`: the hardware address of a machine that sleeps, by which it is woken (Wake-on-LAN)."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from router.config.keys.values import text

_MAC = re.compile(r"[0-9a-f]{2}(?:([:-])[0-9a-f]{2})(?:\1[0-9a-f]{2}){4}|[0-9a-f]{12}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}")
_NOBODY = frozenset({"000000000000", "ffffffffffff"})


def mac(value: object) -> str:
    """A hardware address as systems write it, in lower case with colons."""
    digits = re.sub(r"[:.-]", "", said) if _MAC.fullmatch(said := text(value).strip().lower()) else ""
    if not digits:
        raise ValueError("expected the hardware address of a network card, such as 00:11:22:33:44:55, got {got}")
    # The lowest bit of the first byte says that an address is that of a group.
    if digits in _NOBODY or int(digits[:2], 16) & 1:
        raise ValueError("{got} is the address of no single network card")
    return ":".join(digits[place : place + 2] for place in range(0, 12, 2))


Mac = Annotated[
    str,
    PlainValidator(mac),
    WithJsonSchema({"title": "hardware address", "type": "string", "examples": ["00:11:22:33:44:55"]}),
]
