"""Who may do what, by the gate alone. Over real sockets, for every route: tests/integration/test_gate.py."""

import pytest

from router.core.access import Access, asked_of
from router.core.errors import ForbiddenError, RouterError, UnauthorizedError
from router.core.gate import Gate, Right, right_of
from router.core.keys import Key, Keys, digest
from router.core.scopes import LOCAL, Admin, Scope
from router.http1.heads import Headers

CHAT = "/v1/chat/completions"
ALICE = Key("alice", paths=["/v1/*"], expires=200.0)
OPS = Admin("ops", (Scope.READ,))
KEYS = Keys({digest(b"alice's"): ALICE})
ADMINS = {digest(b"ops'"): OPS}
NOBODYS: dict[bytes, Admin] = {}
HERE, FAR = "127.0.0.1", "10.0.0.7"

WITH_BOTH = Gate(KEYS, ADMINS, Access())
WITH_KEYS = Gate(KEYS, NOBODYS, Access())
WITH_ADMINS = Gate(Keys(), ADMINS, Access())
WITHOUT = Gate(Keys(), NOBODYS, Access())


def shown(key: str, *lines: tuple[bytes, bytes]) -> Headers:
    return ((b"host", b"localhost"), *lines, *(((b"authorization", b"Bearer " + key.encode()),) if key else ()))


def client(gate: Gate, headers: Headers, path: str = CHAT, now: float = 100.0) -> Key | None:
    return gate.client(headers, asked_of(headers), path, now)


def admin(gate: Gate, headers: Headers, scope: Scope | None, remote: str = HERE, *, http11: bool = True) -> Admin:
    return gate.admin(headers, asked_of(headers), remote, scope, http11=http11)


@pytest.mark.parametrize(
    ("method", "path", "known_as", "scope", "right"),
    [
        ("GET", "/health", "/health", None, Right.EVERYBODYS),
        ("GET", "/ready", "/ready", None, Right.EVERYBODYS),
        ("GET", "/", "/", None, Right.EVERYBODYS),
        ("GET", "/web/main.js", "/web/{path}", None, Right.EVERYBODYS),
        ("POST", "/", "", None, Right.CLIENTS),
        ("POST", "/web/main.js", "", None, Right.CLIENTS),
        ("GET", "/admin/status", "/admin/status", Scope.READ, Right.ADMINS),
        ("POST", "/upstream/qwen/slots", "/upstream/{name}", Scope.MANAGE, Right.ADMINS),
        ("GET", "/running", "/running", Scope.READ, Right.ADMINS),
        ("GET", "/admin/nothing", "", None, Right.ADMINS),
        ("GET", "/upstream", "", None, Right.ADMINS),
        ("GET", "/v1/models", "/v1/models", None, Right.CLIENTS),
        ("POST", CHAT, "/v1/{rest}", None, Right.CLIENTS),
        ("GET", "/nothing", "", None, Right.CLIENTS),
        ("DELETE", "/health", "", None, Right.CLIENTS),
        ("GET", "/added/later", "/added/later", None, Right.NOBODYS),
    ],
)
def test_whose_a_path_is(method, path, known_as, scope, right):
    """What the tables don't give to anybody is nobody's."""
    assert right_of(method, path, "text/html", known_as, scope) is right


def test_a_program_asks_for_no_page():
    """What Ollama's clients get at / is for who may ask."""
    assert right_of("GET", "/", "*/*", "/", None) is Right.CLIENTS


def test_a_client_is_known_by_its_key():
    for gate in (WITH_BOTH, WITH_KEYS):
        assert client(gate, shown("alice's")) is ALICE
        assert client(gate, ((b"x-api-key", b"alice's"),)) is ALICE
        assert client(gate, ((b"api-key", b"alice's"),)) is ALICE


@pytest.mark.parametrize("key", ["", "ops'", "alice", digest(b"alice's").hex(), f"sha256:{digest(b'alice').hex()}"])
def test_whoever_has_no_clients_key_is_no_client(key):
    """An admin's isn't one."""
    for gate in (WITH_BOTH, WITH_KEYS):
        with pytest.raises(UnauthorizedError, match="No valid API key"):
            client(gate, shown(key))


def test_only_a_bearer_token_is_a_key():
    """Basic credentials are for something else, such as a proxy."""
    basic = (b"authorization", b"Basic alice's")
    with pytest.raises(UnauthorizedError, match="No valid API key"):
        client(WITH_KEYS, (basic,))
    assert client(WITH_KEYS, (basic, (b"x-api-key", b"alice's"))) is ALICE


def test_a_key_that_has_expired_is_none():
    """That is said, to whoever has it."""
    with pytest.raises(UnauthorizedError, match="'alice' has expired"):
        client(WITH_KEYS, shown("alice's"), now=200.0)
    assert not WITH_KEYS.shows_key(shown("alice's"), 200.0)
    assert client(WITH_KEYS, shown("alice's"), now=199.9) is ALICE


BEARER_OF_ALICE, BEARER_OF_BOB = (b"authorization", b"Bearer alice's"), (b"authorization", b"Bearer bob's")


@pytest.mark.parametrize(
    ("headers", "early", "late"),
    [
        ((BEARER_OF_ALICE, (b"x-api-key", b"bob's")), "alice", "bob"),
        (((b"x-api-key", b"bob's"), BEARER_OF_ALICE), "alice", "bob"),
        (((b"api-key", b"alice's"), BEARER_OF_BOB), "bob", "bob"),
        ((BEARER_OF_ALICE, BEARER_OF_BOB), "alice", "bob"),
        (((b"authorization", b"Bearer another's"), (b"x-api-key", b""), (b"api-key", b"bob's")), "bob", "bob"),
        ((BEARER_OF_ALICE, (b"x-api-key", b"another's")), "alice", ""),
    ],
)
def test_of_several_keys_the_first_that_is_valid_counts(headers, early, late):
    """Bearer tokens come first. One that has expired is told only where no other is valid."""
    gate = Gate(Keys({digest(b"alice's"): ALICE, digest(b"bob's"): Key("bob")}), NOBODYS, Access())
    for now, name in ((199.0, early), (200.0, late)):
        assert gate.shows_key(headers, now) is bool(name)
        if name:
            key = client(gate, headers, now=now)
            assert key is not None
            assert key.name == name
        else:
            with pytest.raises(UnauthorizedError, match="'alice' has expired"):
                client(gate, headers, now=now)


def test_a_key_is_for_its_paths():
    """What it may ask instead is said."""
    with pytest.raises(ForbiddenError, match=r"The key 'alice' may not ask /api/chat\. It may ask: /v1/\*\."):
        client(WITH_KEYS, shown("alice's"), "/api/chat")


def test_without_keys_it_counts_where_a_client_is():
    """Whatever it shows."""
    for gate in (WITHOUT, WITH_ADMINS):
        assert client(gate, shown("alice's")) is None
        assert not gate.has_keys
        with pytest.raises(ForbiddenError):
            client(gate, shown("alice's", (b"origin", b"https://evil.test")))


def test_an_admin_has_a_scope():
    """Whichever the key has, where the path isn't there."""
    for gate in (WITH_BOTH, WITH_ADMINS):
        assert admin(gate, shown("ops'"), Scope.READ, FAR) is OPS
        assert admin(gate, shown("ops'"), None, FAR) is OPS
        with pytest.raises(ForbiddenError, match="'ops' hasn't the scope 'manage'"):
            admin(gate, shown("ops'"), Scope.MANAGE)
        assert admin(gate, ((b"x-api-key", b"ops'"), (b"authorization", b"Bearer alice's")), Scope.READ) is OPS
        for key in ("", "alice's"):
            with pytest.raises(UnauthorizedError, match="No valid admin key"):
                admin(gate, shown(key), Scope.READ)


def test_without_admin_keys_this_machine_manages():
    """A client's key makes no admin of anybody elsewhere."""
    for gate in (WITHOUT, WITH_KEYS):
        assert admin(gate, shown(""), Scope.MANAGE) is LOCAL
        with pytest.raises(ForbiddenError):
            admin(gate, shown(""), Scope.CONFIGURE)
        for key in ("", "alice's"):
            with pytest.raises(UnauthorizedError, match=r"set auth\.admin_keys"):
                admin(gate, shown(key), Scope.READ, FAR)
            with pytest.raises(UnauthorizedError):
                admin(gate, shown(key), Scope.READ, http11=False)


VISIT = [(b"sec-fetch-site", b"cross-site"), (b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"document")]


def test_a_link_elsewhere_changes_nothing():
    """Its reader may look."""
    assert admin(WITHOUT, shown("", *VISIT), Scope.READ) is LOCAL
    assert admin(WITHOUT, shown("", *VISIT), None) is LOCAL
    with pytest.raises(RouterError):
        admin(WITHOUT, shown("", *VISIT), Scope.MANAGE)


@pytest.mark.parametrize(
    ("gate", "key", "remote", "may"),
    [
        (WITH_BOTH, "alice's", FAR, True),
        (WITH_BOTH, "ops'", FAR, True),
        (WITH_BOTH, "", HERE, False),
        (WITH_KEYS, "", HERE, True),
        (WITH_KEYS, "", FAR, False),
        (WITH_ADMINS, "", FAR, True),
        (WITHOUT, "", HERE, True),
    ],
)
def test_who_is_told_of_models(gate, key, remote, may):
    """Who may use them, or manage the router."""
    headers = shown(key)
    assert gate.may_look(headers, asked_of(headers), remote, 100.0) is may


def test_a_page_elsewhere_is_told_of_none():
    headers = shown("", (b"origin", b"https://evil.test"))
    assert not WITHOUT.may_look(headers, asked_of(headers), HERE, 100.0)
