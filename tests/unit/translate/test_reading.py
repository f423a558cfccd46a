"""Clients' JSON as it is read."""

import pytest

from router.core.errors import BadRequestError
from router.translate.reading import check_text


@pytest.mark.parametrize("body", [b"", b'{"a": 1}', '{"a": "é🦊"}'.encode()])
def test_text_passes(body):
    """Of any letters."""
    check_text(body)


@pytest.mark.parametrize(
    ("body", "at", "byte"),
    [(b'{"a": "\xff"}', 7, "0xff"), ("é".encode() + b"\xed\xa0\xbd", 2, "0xed"), ("é".encode()[:1], 0, "0xc3")],
)
def test_what_is_no_utf_8_is_refused_with_its_place(body, at, byte):
    """Also half of a pair of surrogates, and a letter that breaks off."""
    with pytest.raises(BadRequestError, match=f"UTF-8, but its byte {at} is {byte}"):
        check_text(body)
