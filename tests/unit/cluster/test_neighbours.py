import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cluster.neighbours import MOST, Neighbour, Neighbours, instance_of, plain, properties, read

SAID = {b"version": b"0.1.0", b"id": b"abc", b"host": b"Mac-Studio.local.", b"tls": b"0", b"key": b"0"}
MAC = Neighbour("mac-studio 8001", ("192.168.1.20",), 8001, "mac-studio.local", "0.1.0", tls=False, keyed=False)


def heard(**changes):
    given = {"name": "mac-studio 8001", "addresses": ["192.168.1.20"], "port": 8001}
    return read(**{**given, "said": SAID, **changes})


def test_what_a_router_announces_is_read():
    """All that another one needs to be asked, and what to write for it."""
    assert heard() == MAC
    assert (MAC.url, MAC.entry) == ("http://192.168.1.20:8001", "- router: http://192.168.1.20:8001")
    assert instance_of(SAID) == "abc"


def test_what_is_announced_holds_no_secret_and_no_model():
    """Its version, an id by which it knows itself, and how it is asked."""
    said = properties("0.1.0", "abc", "mac.local", tls=True, keyed=False)
    assert said == {"version": "0.1.0", "id": "abc", "host": "mac.local", "tls": "1", "key": "0"}


def test_one_with_a_key_or_a_certificate_is_written_so():
    """A certificate is for a name; without one, an address is surer."""
    secured = heard(said={**SAID, b"tls": b"1", b"key": b"1"})
    assert secured.entry == "- {router: https://mac-studio.local:8001, api_key: …}"
    assert heard(said={**SAID, b"tls": b"1", b"host": b"a b"}).url == "https://192.168.1.20:8001"
    assert heard(addresses=["fd00::1"]).url == "http://[fd00::1]:8001"


def test_addresses_that_lead_somewhere_count():
    """IPv4 first, each once, four at most."""
    found = heard(
        addresses=[
            "fd00::1",
            "10.0.0.2",
            "x",
            "0.0.0.0",
            "224.0.0.1",
            "fe80::1",
            "10.0.0.2",
            *map("10.0.1.{}".format, range(9)),
        ]
    )
    assert found.addresses == ("10.0.0.2", "10.0.1.0", "10.0.1.1", "10.0.1.2")


@pytest.mark.parametrize(
    "changes", [{"addresses": []}, {"addresses": ["::"]}, {"port": None}, {"port": 0}, {"port": 70000}]
)
def test_what_leads_nowhere_is_none(changes):
    """No address, no port."""
    assert heard(**changes) is None


@pytest.mark.parametrize(
    ("name", "harmless"),
    [
        ("mac (2)", "mac (2)"),
        ("\x1b[31mred", "?31mred"),
        ("<b>x</b>\n- url: evil", "?b?x?b?- url? evil"),
        ("a\u202eb", "a?b"),
        ("  ", "?"),
        ("x" * 1000, "x" * 63),
    ],
)
def test_a_name_is_made_harmless(name, harmless):
    """In a terminal, in a log, in a page, in a file."""
    assert plain(name) == harmless


@given(
    st.text(),
    st.lists(st.text()),
    st.integers() | st.none(),
    st.dictionaries(st.binary(), st.binary() | st.none()),
    st.binary(),
)
def test_nothing_that_strangers_send_gets_further(name, addresses, port, said, word):
    """Whatever is read is short, printable, and one line."""
    found = read(name, [*addresses, "10.0.0.1"], port, {**said, b"version": word, b"host": word, b"tls": b"1"})
    if found is not None:
        assert (found.name + found.url + found.version + found.entry.replace("…", "")).isascii()
        assert all(text.isprintable() and len(text) < 400 for text in (found.name, found.url, found.entry))


def test_no_more_are_kept_than_are_read():
    """Those that are known may change, and make room by going."""
    known = Neighbours()
    assert all(known.heard(f"r{number}", MAC._replace(port=number + 1)) for number in range(MOST))
    assert not known.has_room("one more")
    assert not known.heard("one more", MAC)
    assert known.heard("r0", MAC)
    assert not known.heard("r0", MAC)
    known.gone("r1")
    known.gone("nobody")
    assert known.heard("one more", MAC)
    assert not known.heard("one more", None)
    assert len(known.told()) == MOST - 1
    known.clear()
    assert known.told() == []
