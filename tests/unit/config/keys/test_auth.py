from tests.configured import REMOTE, errors


def test_keys_and_their_names_differ():
    """A key says which client it is, so no two have one, in whichever form."""
    keys = ["a", {"key": "b", "name": "n"}, {"key": "a", "name": "n"}, {"key": "c"}, "d"]
    assert errors({"backends": [REMOTE], "auth": {"keys": keys}}) == [
        "auth.keys[2].key: stands at keys[0], too: each is one client's",
        "auth.keys[2].name: stands at keys[1], too: each is one client's",
    ]
