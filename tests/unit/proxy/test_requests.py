import json
import random
from asyncio import BaseTransport
from uuid import UUID

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.access import Access
from router.core.catalog import Backend, Candidate
from router.core.errors import (
    BadRequestError,
    BodyTooLargeError,
    ForbiddenError,
    RouterError,
    UnauthorizedError,
    UnavailableError,
)
from router.core.keys import Key, Keys, digest
from router.core.outline import Texts
from router.core.over_limit import LimitError
from router.core.reshape import Reshape
from router.core.scopes import Admin, Scope
from router.http1.heads import Headers
from router.proxy.caller import ANYBODY, Caller
from router.proxy.dialling import Address
from router.proxy.heads import describe_request, is_uuid, retry_after
from router.proxy.pool import Pool
from router.proxy.requests import (
    Request,
    Rules,
    address_of,
    error_answer,
    explained,
    header_value,
)
from router.proxy.resolve import Names
from router.proxy.writing import written

BODY = b'{"model": "m", "stream": true}'
CHAT = "/v1/chat/completions"


def rules(*keys: str, max_body: int = 100) -> Rules:
    made = Rules(random.Random(7))  # noqa: S311  (the same ids in each run)
    made.set_up(max_body=max_body, keys=known(*keys))
    return made


def known(*keys: str) -> Keys:
    """Give keys that have their own names."""
    return Keys({digest(key.encode()): Key(key) for key in keys})


def said_of(caller: Caller) -> tuple[str, bytes]:
    """Give whose key was shown, and which page may read the answer."""
    assert (caller.key is None) is (caller.name == "")
    return caller.name, caller.cors


def headers(*lines: str) -> Headers:
    pairs = [line.split(": ", 1) for line in lines]
    return tuple((name.encode(), value.encode()) for name, value in pairs)


def understood(*lines, target=b"/v1/chat/completions", keys=(), body=BODY, http11=True, keep_alive=True) -> Request:
    head = describe_request(target, headers(*lines), keep_alive=keep_alive)
    return rules(*keys).understand(head, "id-1", body, ANYBODY, http11=http11, keep_alive=keep_alive)[0]


# Who may ask


@pytest.mark.parametrize("lines", [[], ["authorization: Bearer whatever"], ["x-api-key: whatever"]])
def test_without_keys_everybody_may_ask(lines):
    """No key is asked for where none is configured."""
    assert said_of(rules().admit(headers(*lines), CHAT)) == ("", b"")


@pytest.mark.parametrize(
    "lines",
    [
        ["authorization: Bearer sesame"],
        ["authorization: Bearer two"],
        ["authorization: bearer  sesame"],
        ["x-api-key: two"],
        ["authorization: Basic eDp5", "x-api-key: two"],
        ["x-api-key: wrong", "authorization: Bearer sesame"],
        ["authorization: Bearer wrong", "x-api-key: two"],
        ["api-key: two", "authorization: Bearer wrong"],
        ["authorization: Bearer schlüssel"],
    ],
)
def test_who_shows_a_key_may_ask(lines):
    """Any of the keys, as OpenAI's clients show it or as Anthropic's do."""
    rules("sesame", "two", "schlüssel").admit(headers(*lines), CHAT)


HASH = digest(b"sesame").hex()


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["authorization: sesame"],
        ["authorization: Basic sesame"],
        ["authorization: Bearer "],
        ["authorization: Bearer sesam"],
        ["authorization: Bearer sesame two"],
        ["authorization: Bearer SESAME"],
        ["authorization: Bearer wrong", "x-api-key: sesam"],
        ["x-api-key: Bearer sesame"],
        ["cookie: sesame"],
        ["x-api-key: "],
        [f"authorization: Bearer {HASH}"],
        [f"authorization: Bearer sha256:{HASH}"],
        [f"x-api-key: {HASH}"],
    ],
)
def test_who_shows_none_may_not(lines):
    """What isn't a key, letter by letter, is none, nor is its hash; the answer says how to send one, and shows none."""
    with pytest.raises(UnauthorizedError, match="Authorization: Bearer KEY") as caught:
        rules("sesame", "two").admit(headers(*lines), CHAT)
    assert "sesame" not in caught.value.message


def test_nobody_may_ask_while_the_router_stops():
    """Not with a key either; and everybody is told to come back."""
    stopping = rules("one")
    stopping.draining = True
    with pytest.raises(UnavailableError) as caught:
        stopping.admit(headers("authorization: Bearer one"), CHAT)
    assert caught.value.retry_after


def test_a_key_is_valid_until_it_expires():
    """Then its owner is told so; it shows nothing any more."""
    now = 100.0
    made = Rules(random.Random(7), lambda: now)  # noqa: S311
    made.set_up(keys=Keys({digest(b"sesame"): Key("alice", expires=200.0)}))
    shown = headers("authorization: Bearer sesame")
    caller = made.admit(shown, CHAT)
    assert caller.name == "alice"
    assert made.shows_key(shown)
    assert not made.has_expired(caller.key)
    assert not made.has_expired(Key("bob"))
    assert not made.has_expired(None)
    now = 200.0
    assert made.has_expired(caller.key)
    with pytest.raises(UnauthorizedError, match=r"The API key 'alice' has expired\."):
        made.admit(shown, CHAT)
    assert not made.shows_key(shown)


def test_a_body_may_be_as_long_as_the_limit():
    """One byte more is refused, with the setting that would allow it."""
    rules(max_body=100).check_length(100)
    with pytest.raises(BodyTooLargeError, match=r"over 100 bytes.*limits\.max_body"):
        rules(max_body=100).check_length(101)


# From where


def of_pages(*keys: str, cors: tuple[str, ...] = ("https://chat.test",)) -> Rules:
    made = rules(*keys)
    made.set_up(keys=known(*keys), access=Access(["router.lan"], cors))
    return made


PAGE = "origin: https://chat.test"
READS = (
    b"access-control-allow-origin: https://chat.test\r\n"
    b"access-control-expose-headers: x-request-id, x-router-backend, x-router-queue-ms, x-router-explain, "
    b"retry-after\r\n"
    b"vary: origin\r\n"
)
BAD_PLACES = [
    ["host: evil.test"],
    ["host: localhost", "origin: https://evil.test"],
    ["host: localhost", "sec-fetch-site: cross-site"],
    ["host: localhost", "x-forwarded-for: 10.0.0.7"],
]


@pytest.mark.parametrize("lines", BAD_PLACES)
def test_without_keys_it_counts_where_a_request_is_from(lines):
    """A name that isn't the router's, a page, a proxy: whatever key they show, there is none that could be right."""
    for shown in ([], ["authorization: Bearer sesame"]):
        with pytest.raises(ForbiddenError):
            of_pages().admit(headers(*lines, *shown), CHAT)


@pytest.mark.parametrize("lines", BAD_PLACES)
def test_who_shows_a_key_may_be_anywhere(lines):
    """It is no cookie: no browser adds it by itself."""
    assert said_of(of_pages("sesame").admit(headers(*lines, "authorization: Bearer sesame"), CHAT)) == ("sesame", b"")
    with pytest.raises(UnauthorizedError):
        of_pages("sesame").admit(headers(*lines, "cookie: key=sesame"), CHAT)


def test_a_page_that_is_named_reads_its_answers():
    """With a key or without; another one reads nothing, though its key may be right."""
    bearer = "authorization: Bearer sesame"
    assert of_pages().admit(headers(PAGE), CHAT).cors == READS
    assert said_of(of_pages("sesame").admit(headers(PAGE, bearer), CHAT)) == ("sesame", READS)
    assert said_of(of_pages("sesame").admit(headers("origin: https://evil.test", bearer), CHAT)) == ("sesame", b"")


def test_the_target_may_name_the_host():
    """In the form that is meant for proxies."""
    with pytest.raises(ForbiddenError):
        of_pages().admit(headers("host: localhost"), CHAT, "evil.test")
    with pytest.raises(ForbiddenError):
        of_pages().admit_admin(headers("host: localhost"), "127.0.0.1", Scope.READ, "evil.test")


OPS = Admin("ops", (Scope.READ,))


def test_an_admin_key_manages_from_anywhere():
    """Without one it is this machine that does."""
    managed = of_pages()
    managed.set_up(admins={digest(b"sesame"): OPS}, access=Access())
    for lines in BAD_PLACES:
        assert managed.admit_admin(headers(*lines, "authorization: Bearer sesame"), "10.0.0.7", Scope.READ) is OPS
        with pytest.raises(UnauthorizedError, match="No valid admin key"):
            managed.admit_admin(headers(*lines), "127.0.0.1", Scope.READ)


ASKS = ["access-control-request-method: POST"]


def test_a_preflight_of_a_page_that_is_named():
    """It is told what it may send, before it has shown a key."""
    wanted = "access-control-request-headers: authorization,content-type,x-stainless-os,anthropic-version"
    for some in (of_pages(), of_pages("sesame")):
        told = some.preflight(headers("host: anything", PAGE, *ASKS, wanted))
        assert told.startswith(READS)
        assert b"access-control-allow-methods: GET, HEAD, POST\r\n" in told
        assert b"access-control-allow-headers: authorization,content-type,x-stainless-os,anthropic-version\r\n" in told
        assert b"private-network" not in told


def test_a_preflight_asks_for_the_private_network():
    """A page on the web asks so for what is on this machine."""
    told = of_pages().preflight(headers(PAGE, *ASKS, "access-control-request-private-network: true"))
    assert b"access-control-allow-private-network: true\r\n" in told
    assert b"access-control-allow-headers" not in told


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://localhost:3000"])
def test_a_preflight_of_another_page(origin):
    """It may not ask, whatever key it would show; it is told which page it is, and what would let it."""
    for some in (of_pages(), of_pages("sesame")):
        with pytest.raises(ForbiddenError, match=r"isn't one that may ask\. Name it in server\.cors\.") as refused:
            some.preflight(headers("host: localhost", f"origin: {origin}", *ASKS))
        assert f"'{origin}'" in refused.value.message


def test_headers_that_are_none_are_not_allowed():
    """They are not sent back."""
    told = of_pages().preflight(headers(PAGE, *ASKS, "access-control-request-headers: a: b"))
    assert b"access-control-allow-headers" not in told


def test_an_answer_to_a_page_that_is_named_may_be_an_error():
    """It can read that, too."""
    response, _, _ = answered(error_answer(BadRequestError("x"), "/v1/x", "1", keep_alive=True, cors=READS))
    assert dict(response.headers)[b"access-control-allow-origin"] == b"https://chat.test"


def test_who_asks_is_known():
    """By the address of its connection."""
    assert (
        rules("sesame").admit(headers("authorization: Bearer sesame"), CHAT, address="10.0.0.7").address == "10.0.0.7"
    )


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (("10.0.0.7", 5), "10.0.0.7"),
        (("::ffff:10.0.0.7", 5, 0, 0), "10.0.0.7"),
        (("::1", 5, 0, 0), "::1"),
        (None, ""),
        ("", ""),
    ],
)
def test_an_address_is_told_without_its_port(peer, address):
    """An IPv4 address is one, however it was reached; a connection that is gone has none."""
    assert address_of(BaseTransport({"peername": peer})) == address


@pytest.mark.parametrize(
    ("line", "shows"), [("authorization: Bearer sesame", True), ("authorization: Bearer x", False)]
)
def test_who_shows_a_key(line, shows):
    assert rules("sesame").shows_key(headers(line)) is shows


def test_who_may_be_told_of_models():
    """Whoever shows a key, and otherwise this machine, or whoever may ask."""
    bearer, local, far = "authorization: Bearer sesame", "127.0.0.1", "10.0.0.7"
    assert of_pages().may_look(headers("host: localhost"), local)
    assert not of_pages().may_look(headers("host: evil.test"), local)
    assert of_pages("sesame").may_look(headers("host: evil.test", bearer), far)
    assert of_pages("sesame").may_look(headers("host: localhost"), local)
    assert not of_pages("sesame").may_look(headers("host: localhost"), far)
    assert not of_pages("sesame").may_look(headers("host: localhost"), local, http11=False)
    assert not of_pages("sesame").may_look(headers("host: evil.test"), local)


# Ids


def test_ids_are_made():
    """A UUID of version 4, each another; the source of chance decides which."""
    one, same = rules(), rules()
    made = [one.new_id() for _ in range(100)]
    assert all(str(UUID(id_)) == id_ for id_ in made)
    assert {UUID(id_).version for id_ in made} == {4}
    assert {UUID(id_).variant for id_ in made} == {"specified in RFC 4122"}
    assert len(set(made)) == 100
    assert [same.new_id() for _ in range(100)] == made


@given(st.integers())
def test_every_source_of_chance_makes_ids(seed):
    """None makes one that is no UUID in its usual form."""
    id_ = Rules(random.Random(seed)).new_id()  # noqa: S311
    assert (str(UUID(id_)), UUID(id_).version) == (id_, 4)


# What is understood


def test_a_request_is_understood():
    """All that routing needs, and the headers as they go on."""
    request = understood("host: a:1", "x-one: 1", "content-type: application/json", target=b"/v1/messages?beta=1")
    assert (request.id, request.head.path, request.head.target) == ("id-1", "/v1/messages", b"/v1/messages?beta=1")
    assert (request.model, request.stream) == ("m", True)
    assert request.head.lines == b"x-one: 1\r\n"
    assert (request.http11, request.keep_alive) == (True, True)


@pytest.mark.parametrize(
    "line",
    [
        "host: a:1",
        "content-length: 3",
        "content-type: text/plain",
        "expect: 100-continue",
        "accept-encoding: gzip",
        "x-request-id: 1",
        "connection: keep-alive",
        "keep-alive: timeout=5",
        "te: trailers",
        "transfer-encoding: chunked",
        "upgrade: h2c",
        "proxy-authorization: Basic eDp5",
        "origin: http://localhost:3000",
        "referer: http://localhost:3000/page",
        "cookie: session=1",
        "api-key: theirs",
        "sec-fetch-mode: cors",
        "sec-fetch-site: cross-site",
        "sec-ch-ua: x",
        "access-control-request-method: POST",
        "forwarded: for=10.0.0.7",
        "x-forwarded-for: 10.0.0.7",
        "x-forwarded-proto: https",
        "x-real-ip: 10.0.0.7",
        "via: 1.1 proxy",
    ],
)
def test_a_header_that_is_not_the_engines_business_is_dropped(line):
    """What the router writes itself, what it doesn't want of an engine, and what is for one connection alone."""
    assert understood("x-one: 1", line, "x-two: 2").head.lines == b"x-one: 1\r\nx-two: 2\r\n"


def test_a_header_that_connection_names_is_dropped():
    """It was for the router."""
    assert understood("x-hop: 1", "connection: X-Hop, close", "x-two: 2").head.lines == b"x-two: 2\r\n"


CREDENTIALS = ["authorization: Bearer theirs", "x-api-key: theirs"]


def test_a_clients_credentials_are_kept_where_the_router_has_no_keys():
    """A backend may want them; they stand apart from the other headers, as a backend's own key goes over them."""
    request = understood(*CREDENTIALS, "x-one: 1")
    assert request.credentials == b"authorization: Bearer theirs\r\nx-api-key: theirs\r\n"
    assert request.head.lines == b"x-one: 1\r\n"


def test_a_clients_credentials_are_dropped_where_they_are_the_routers():
    """No backend gets to see the router's keys."""
    request = understood(*CREDENTIALS, "x-one: 1", keys=["theirs"])
    assert request.credentials == b""
    assert request.head.lines == b"x-one: 1\r\n"


@pytest.mark.parametrize("target", [b"/v1/a.b", b"/v1/..a", b"/v1/a..b/c", b"/v1/%2e%2ea", b"/v1/x?y=../z"])
def test_a_path_may_have_dots(target):
    """A folder's name isn't its parent for that, and a query is no path."""
    assert understood(target=target).head.target == target


@pytest.mark.parametrize(
    "target",
    [
        b"/v1/..",
        b"/v1/../admin",
        b"/v1/a/../../admin",
        b"/v1/%2e%2e/admin",
        b"/v1/.%2E/admin",
        b"/v1/%2E./admin?x",
        b"/v1/..%2fadmin",
        b"/v1/a%2F..%2F..%2Fadmin",
        b"/v2/x",
        b"/v1",
        b"v1/x",
        b"http://a/v1/x",
        b"*",
        b"",
        b"/v1/%2e#",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(target):
    """Whatever an engine serves outside /v1/ isn't reached through the router, however it is written."""
    with pytest.raises(BadRequestError, match="must begin with /v1/ and name no parent folder"):
        understood(target=target)


@given(st.text(st.sampled_from("./%2eEfF5?ab"), max_size=12))
def test_no_spelling_of_a_parent_folder_is_understood(rest):
    """What is passed on has no .. among its folders, read as an engine would read it."""
    try:
        request = understood(target=b"/v1/" + rest.encode())
    except BadRequestError:
        return
    plain = request.head.target.decode().partition("?")[0].lower().replace("%2e", ".").replace("%2f", "/")
    assert ".." not in plain.split("/")


@pytest.mark.parametrize(("models", "is_bound"), [(("fa",), True), (("*",), False)])
def test_a_bound_keys_form_names_one_model(models, is_bound):
    """In every parser, also where the rest of it is still to come."""
    plain, odd = b'Content-Disposition: form-data; name="model"', b'Content-Disposition: form-data; name = "model"'
    body = b"--b\r\n%s\r\n\r\nfb\r\n--b\r\n%s\r\n\r\nfa\r\n--b--\r\n" % (odd, plain)
    form = headers("content-type: multipart/form-data; boundary=b", "authorization: Bearer k")
    head = describe_request(b"/v1/audio/transcriptions", form, keep_alive=True)
    some = rules()
    some.set_up(keys=Keys({digest(b"k"): Key("k", models=models)}))
    caller = some.admit(form, head.path)
    texts = Texts(b"5ec4e7")
    if is_bound:
        with pytest.raises(BadRequestError, match="one plain name"):
            some.understand(head, "id-1", body, caller, http11=True, keep_alive=True, texts=texts)
        body = body.replace(odd, b'Content-Disposition: form-data; name="file"')
    assert some.understand(head, "id-1", body, caller, http11=True, keep_alive=True, texts=texts)[0].model == "fa"
    assert texts.names_one_model == is_bound


def test_a_body_that_names_no_model_is_refused():
    """The body is read here, too."""
    with pytest.raises(BadRequestError, match="names no model"):
        understood(body=b"{}")


@pytest.mark.parametrize(
    ("http11", "wanted", "draining", "goes_on"),
    [
        (True, True, False, True),
        (True, False, False, False),
        (False, True, False, False),
        (True, True, True, False),
    ],
)
def test_a_connection_goes_on_if_all_agree(http11, wanted, draining, goes_on):
    """The client wants it to, its version of HTTP allows for it, and the router stays."""
    some = rules()
    some.draining = draining
    head = describe_request(b"/v1/x", (), keep_alive=wanted)
    request, _ = some.understand(head, "id-1", BODY, ANYBODY, http11=http11, keep_alive=wanted)
    assert request.keep_alive is goes_on
    assert request.http11 is http11


# What is answered


def answered(data: bytes) -> tuple[h11.Response, bytes, h11.Connection]:
    """Read a whole answer, as a client that knows HTTP."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="POST", target="/v1/x", headers=[("host", "a"), ("content-length", "0")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    response, body = client.next_event(), b""
    assert isinstance(response, h11.Response)
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data == (b"", False)
    return response, body, client


@pytest.mark.parametrize("kind", [each for each in RouterError.__subclasses__() if each is not LimitError])
@pytest.mark.parametrize("keep_alive", [True, False])
def test_an_error_is_a_whole_answer(kind, keep_alive):
    """Another parser reads its status, its type, its id and its body, and whether the connection goes on."""
    response, body, client = answered(error_answer(kind("Tü what?"), "/v1/x", "id-1", keep_alive=keep_alive))
    fields = dict(response.headers)
    assert response.status_code == kind.status
    assert (fields[b"content-type"], fields[b"x-request-id"]) == (b"application/json", b"id-1")
    assert b"retry-after" not in fields
    assert json.loads(body)["error"]["message"] == "Tü what?"
    assert (client.their_state is h11.DONE) is keep_alive


def test_an_error_says_when_to_come_back():
    """In whole seconds, where it knows."""
    response, _, _ = answered(error_answer(UnavailableError("x", retry_after=5), "/v1/x", "1", keep_alive=True))
    assert dict(response.headers)[b"retry-after"] == b"5"


def test_an_error_has_the_form_of_its_paths_api():
    """Anthropic's on /v1/messages."""
    _, body, _ = answered(error_answer(BadRequestError("x"), "/v1/messages", "1", keep_alive=True))
    assert json.loads(body)["type"] == "error"


# What a backend gets

UUID_ID = "6f1c0b52-8a53-4c3b-9f0e-2f6f0f7a1b2c"


def sent(
    request: Request,
    backend: Backend,
    *,
    model="m",
    reshape=None,
    url="http://gpu-box:8000/llm/v1",
    key=None,
    own=None,
    body=BODY,
):
    """What is written for a backend, as another parser reads it: its target, its headers, its body."""
    pool = Pool(Address.of(url, own), 1.0, Names(), key)
    server = h11.Connection(h11.SERVER)
    server.receive_data(written(request, body, Candidate(backend, model), reshape, pool))
    head, body = server.next_event(), server.next_event()
    assert isinstance(head, h11.Request)
    assert isinstance(body, h11.Data)
    assert isinstance(server.next_event(), h11.EndOfMessage)
    return head.target, dict(head.headers), bytes(body.data)


def test_a_request_is_sent_on_as_it_came():
    """To the path below the backend's own, with the client's key where the router has none."""
    asked = understood("authorization: Bearer mine", "accept: */*", target=b"/v1/chat/completions?a=b")
    target, fields, body = sent(asked, Backend("b", {"m": "m"}))
    assert target == b"/llm/v1/chat/completions?a=b"
    assert body == BODY
    assert fields[b"host"] == b"gpu-box:8000"
    assert fields[b"authorization"] == b"Bearer mine"
    assert fields[b"accept"] == b"*/*"
    assert fields[b"content-type"] == b"application/json"
    assert fields[b"content-length"] == b"%d" % len(BODY)
    assert fields[b"x-request-id"] == b"id-1"


@pytest.mark.parametrize(
    ("url", "asked", "target"),
    [
        ("http://h", b"/v1/chat/completions", b"/v1/chat/completions"),
        ("http://h/v1beta/openai", b"/v1/chat/completions", b"/v1beta/openai/chat/completions"),
        ("http://h/openai/v1/", b"/v1/embeddings?a=b", b"/openai/v1/embeddings?a=b"),
        ("http://h/inference", b"/v1/chat/completions?a=b", b"/inference/chat/completions?a=b"),
        ("http://h?k=v", b"/v1/chat/completions", b"/v1/chat/completions?k=v"),
        ("http://h/x?api-version=1&k=v", b"/v1/messages?beta=true&k=w", b"/x/messages?beta=true&api-version=1&k=v"),
    ],
)
def test_a_urls_path_is_the_base_and_its_query_is_sent(url, asked, target):
    """Without a path, /v1 is added; what the URL's query says counts."""
    assert sent(understood(target=asked), Backend("b", {"m": "m"}), url=url)[0] == target


def test_a_backends_own_headers_take_the_place_of_clients():
    """Of those alone that have their names."""
    asked = understood("x-team: mine", "x-teams: all", "authorization: Bearer mine")
    _, fields, _ = sent(asked, Backend("b"), own={"x-team": "its"})
    assert (fields[b"x-team"], fields[b"x-teams"]) == (b"its", b"all")
    assert fields[b"authorization"] == b"Bearer mine"


@pytest.mark.parametrize("name", ["api-key", "x-goog-api-key", "authorization"])
def test_a_header_that_is_a_key_takes_the_place_of_the_clients_key(name):
    """It is the router that the backend knows."""
    asked = understood("authorization: Bearer mine", "x-api-key: mine")
    _, fields, _ = sent(asked, Backend("b"), own={name: "its"})
    assert fields[name.encode()] == b"its"
    assert b"mine" not in b" ".join(fields.values())


def test_the_backends_own_key_takes_the_place_of_the_clients():
    """It is the router that the backend knows."""
    _, fields, _ = sent(understood("authorization: Bearer mine"), Backend("b"), key="its")
    assert fields[b"authorization"] == b"Bearer its"


def test_no_backend_gets_a_key_of_the_routers():
    """Whoever may ask the router may not ask its backends."""
    asked = understood("authorization: Bearer sesame", keys=["sesame"])
    assert b"authorization" not in sent(asked, Backend("b"))[1]


def test_a_backend_is_asked_by_the_name_that_it_knows():
    """A route may change other fields, too."""
    asked = understood()
    assert json.loads(sent(asked, Backend("b"), model="big")[2]) == {"model": "big", "stream": True}
    reshape = Reshape(set={"seed": 1})
    assert json.loads(sent(asked, Backend("b"), reshape=reshape)[2]) == {"model": "m", "stream": True, "seed": 1}


@pytest.mark.parametrize("field", [b'"keep_alive":"5m"', b'"ttl":60', b'"keep_alive":null,"ttl":null'])
def test_how_long_its_model_stays_is_not_told_to_an_engine_of_ours(field):
    """It is the router that loads it. A server elsewhere gets the body as it came."""
    said = b'{"model":"m",%s,"seed":1.50}' % field
    asked = understood(body=said)
    assert sent(asked, Backend("b", supervised=True), body=said)[2] == b'{"model":"m","seed":1.50}'
    assert sent(asked, Backend("b"), body=said)[2] == said
    assert json.loads(sent(asked, Backend("b"), model="big", body=said)[2]).keys() >= {"model", "seed"}


def test_an_engine_gets_a_request_as_it_must():
    """After all else was changed; its length is that of the body then."""
    backend = Backend("b", put_right=lambda path, body: body[:-1] + b', "path": "%s"}' % path.encode())
    _, fields, body = sent(understood(), backend, model="big")
    assert json.loads(body) == {"model": "big", "stream": True, "path": "/v1/chat/completions"}
    assert fields[b"content-length"] == b"%d" % len(body)


def test_what_can_not_be_said_to_an_engine_is_not_sent():
    """The error of what puts it right is the client's."""

    def refuse(path: str, _: bytes) -> bytes:
        raise BadRequestError(f"no {path}")

    with pytest.raises(BadRequestError, match="no /v1"):
        sent(understood(), Backend("b", put_right=refuse))


@pytest.mark.parametrize(
    ("strict", "id_", "shown"), [(False, "id-1", True), (True, "id-1", False), (True, UUID_ID, True)]
)
def test_an_engine_that_takes_uuids_alone_gets_no_other_id(strict, id_, shown):
    """It would refuse the request."""
    head = describe_request(b"/v1/chat/completions", (), keep_alive=True)
    asked, _ = rules().understand(head, id_, BODY, ANYBODY, http11=True, keep_alive=True)
    _, fields, _ = sent(asked, Backend("b", uuid_request_ids=strict))
    assert fields.get(b"x-request-id") == (id_.encode() if shown else None)


@pytest.mark.parametrize(("text", "expected"), [(UUID_ID, True), (UUID_ID[:-1], False), ("", False), ("id-1", False)])
def test_what_is_a_uuid(text, expected):
    """Of thirty-two digits."""
    assert is_uuid(text) is expected


def test_why_it_goes_there_is_a_header_of_the_first_candidates():
    """However many there are: a header has room for few."""
    line = explained([{"backend": f"b{number}"} for number in range(100)])
    name, _, value = line.partition(b": ")
    assert (name, line[-2:]) == (b"x-router-explain", b"\r\n")
    assert [each["backend"] for each in json.loads(value)] == [f"b{number}" for number in range(16)]


def test_clients_are_not_told_who_has_drained_a_backend():
    """All else is as admins see it."""
    line = explained([{"backend": "a", "passed_over": "it is drained by ops"}, {"backend": "b", "passed_over": "x"}])
    assert [each["passed_over"] for each in json.loads(line.partition(b": ")[2])] == ["it is drained", "x"]


def test_a_backends_name_is_ascii_in_a_header():
    """What isn't is a question mark."""
    assert header_value("büro") == b"b?ro"


# Its class in the queue


@pytest.mark.parametrize(
    ("of_its_key", "wish", "priority"),
    [(0, None, 0), (3, None, 3), (-3, None, -3), (0, 5, 5), (3, 5, 5), (3, -5, 3), (-3, 0, 0), (0, -1, 0)],
)
def test_a_client_can_only_lower_itself_beneath_its_keys_priority(of_its_key, wish, priority):
    """The larger number counts: it waits longer."""
    body = BODY if wish is None else b'{"model": "m", "priority": %d}' % wish
    head = describe_request(b"/v1/chat/completions", (), keep_alive=True)
    caller = Caller("team", of_its_key)
    assert rules("team").understand(head, "id-1", body, caller, http11=True, keep_alive=True)[0].priority == priority


@pytest.mark.parametrize(("wish", "priority"), [(b"-5", -5), (b"0", 0), (b"7", 7), (b'"high"', 0), (b"0.5", 0)])
def test_without_keys_a_requests_own_priority_counts(wish, priority):
    """Where it is a whole number."""
    assert understood(body=b'{"model": "m", "priority": %s}' % wish).priority == priority


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (((b"retry-after", b"7"),), 7.0),
        (((b"content-type", b"x"), (b"retry-after", b"0")), 0.0),
        (((b"retry-after", b"Wed, 21 Oct 2026 07:28:00 GMT"),), 0.0),
        (((b"retry-after", b"9" * 40),), 0.0),
        ((), 0.0),
    ],
)
def test_how_long_an_engine_asks_to_be_left_alone(headers, expected):
    """In seconds; a date, or what is no time, is as good as nothing."""
    assert retry_after(headers) == expected
