import json

import pytest

from router.hub.errors import HubError
from router.hub.listing import RemoteFile, listed
from tests.fakes.hub import COMMIT

SHA256, SHA1 = "a" * 64, "b" * 40


def answer(*siblings: object, sha: str = COMMIT) -> bytes:
    return json.dumps({"sha": sha, "siblings": siblings, "likes": 1}).encode()


def test_files_with_their_checksums():
    large = {"rfilename": "a.gguf", "size": 7, "blobId": SHA1, "lfs": {"sha256": SHA256, "size": 7, "pointerSize": 1}}
    found = listed("org/name", answer(large, {"rfilename": "sub/b.json", "size": 2, "blobId": SHA1}))
    assert (found.name, found.commit) == ("org/name", COMMIT)
    assert found.files == (RemoteFile("a.gguf", 7, SHA256), RemoteFile("sub/b.json", 2, SHA1))
    assert found.file("a.gguf") == found.files[0]
    assert found.file("c") is None


@pytest.mark.parametrize(
    "sibling",
    [
        {"rfilename": "../a", "size": 1, "blobId": SHA1},
        {"rfilename": "/a", "size": 1, "blobId": SHA1},
        {"rfilename": "a/./b", "size": 1, "blobId": SHA1},
        {"rfilename": "a\\b", "size": 1, "blobId": SHA1},
        {"rfilename": "a\0b", "size": 1, "blobId": SHA1},
        {"rfilename": "", "size": 1, "blobId": SHA1},
        {"rfilename": "a", "size": 1, "blobId": "../x"},
        {"rfilename": "a", "size": 1},
        {"rfilename": "a", "size": -1, "blobId": SHA1},
        {"rfilename": "a", "blobId": SHA1},
        {"rfilename": "a", "size": 1, "blobId": SHA1, "lfs": {"sha256": "", "size": 1}},
    ],
)
def test_files_that_are_left_out(sibling):
    """Those whose place leads out of the cache, and those that couldn't be checked."""
    assert listed("a/b", answer(sibling)).files == ()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"sha": 1}', b"\xff", b"[" * 100_000])
def test_what_is_no_hub(body):
    with pytest.raises(HubError, match="no hub of Hugging Face's kind"):
        listed("a/b", body)


@pytest.mark.parametrize(("id_", "name"), [("Org/Name", "Org/Name"), ("../x", "a/b"), ("a/b:c", "a/b"), ("", "a/b")])
def test_the_hubs_own_name(id_, name):
    """People write it in another case; what is no name isn't believed."""
    assert listed("a/b", json.dumps({"sha": COMMIT, "siblings": [], "id": id_}).encode()).name == name


def test_a_commit_that_is_none():
    """It becomes a folder's name."""
    with pytest.raises(HubError, match="says no commit"):
        listed("a/b", answer(sha="../.."))
