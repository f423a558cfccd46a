"""What the slow lane makes of compressed bodies."""

import gzip
import zlib

import pytest

from router.core.errors import BadRequestError, UnknownEncodingError
from router.proxy.unusual import Decoder

PLAIN = b"0123456789" * 50
BARE = zlib.compressobj(wbits=-15)
PACKED = {
    "": PLAIN,
    "identity": PLAIN,
    "GZIP ": gzip.compress(PLAIN),
    "x-gzip": gzip.compress(PLAIN),
    "deflate": zlib.compress(PLAIN),
}


def decoded(encoding: str, body: bytes, size: int) -> bytes:
    decoder = Decoder(encoding)
    told = b"".join(decoder.feed(body[at : at + size], 10_000) for at in range(0, len(body), size))
    decoder.end()
    return told


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_body_is_decoded_in_pieces(encoding, size):
    """However it is cut."""
    assert decoded(encoding, PACKED[encoding], size) == PLAIN


def test_deflate_without_its_header():
    """Some clients send that."""
    assert decoded("deflate", BARE.compress(PLAIN) + BARE.flush(), 5) == PLAIN


def test_no_body_is_none():
    """Whatever it says of it."""
    assert decoded("gzip", b"", 1) == b""


@pytest.mark.parametrize(
    "body",
    [b"x", PACKED["x-gzip"][:-1], PACKED["x-gzip"] * 2, PLAIN],
    ids=["other", "cut", "twice", "plain"],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_is_compressed_otherwise(body, size):
    """Also what ends too soon, or goes on behind its end."""
    with pytest.raises(BadRequestError, match="isn't x-gzip"):
        decoded("x-gzip", body, size)


def test_what_grows_without_bound():
    """No more is decoded than shows that it is too much."""
    assert len(Decoder("gzip").feed(gzip.compress(bytes(10**6)), 100)) == 101


def test_an_encoding_that_is_not_known():
    """Is named, but not for pages."""
    with pytest.raises(UnknownEncodingError, match="compressed as zstd, which"):
        Decoder("zstd")
    with pytest.raises(UnknownEncodingError, match=r"compressed as x{100}, which"):
        Decoder("x" * 1000)
