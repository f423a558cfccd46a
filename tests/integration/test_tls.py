"""The router's port with a certificate: all that works without one, and whom it doesn't let in."""

import asyncio
import json
import os
import socket
import ssl
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from router.app import App
from router.proxy import secured
from tests.certificates import Authority, Files
from tests.fakes.engine import FakeEngine, expected_body, expected_stream
from tests.integration.raw import ASK, LANES, Raw, connect, lane_of_connections, nothing_left, post, small_send_buffers
from tests.running import eventually

pytestmark = pytest.mark.usefixtures("logs_as_at_work")

GET = b"GET %s HTTP/1.1\r\nhost: localhost\r\n\r\n"

Start = Callable[..., Awaitable[App]]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Give a CA, which is made once."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> Files:
    """Give a certificate for this machine that a test may replace."""
    return authority.issue("own", folder=tmp_path)


@pytest.fixture
def trusting(authority: Authority) -> ssl.SSLContext:
    """Give a client's context that trusts the CA alone."""
    return ssl.create_default_context(cafile=authority.pem)


@pytest.fixture
async def router(start_router: Start, fake: FakeEngine, files: Files) -> App:
    """Give a router with this certificate, in front of the fake engine."""
    backends: list[dict[str, object]] = [{"url": fake.url, "name": "b", "models": ["demo"]}]
    return await start_router(backends, server={"port": 0, "tls": files.config})


@pytest.fixture
async def secure(router: App, trusting: ssl.SSLContext) -> AsyncIterator[Callable[..., Awaitable[Raw]]]:
    """Give a function that connects to that router over TLS, for raw bytes."""
    made: list[Raw] = []

    async def to(**options: int) -> Raw:
        made.append(await connect(router.url, tls=trusting, **options))
        return made[-1]

    yield to
    for each in made:
        each.leave()


# What works without TLS


async def test_both_lanes_on_one_connection(router, secure):
    """Requests of both kinds, streams, and the router's own answers; the connection goes over to the slow lane."""
    client = await secure()
    for lane in ("fast", "fast", "slow", "fast"):
        client.send(post(ASK, lane=lane))
        assert (await client.answer()).body == expected_body(0, 8)
        client.send(post({**ASK, "stream": True}, lane=lane))
        assert (await client.answer()).body == expected_stream(0, 8, 16)
    client.send(GET % b"/health")
    assert (await client.answer()).status == 200
    assert lane_of_connections(router) == (0, 1)


async def test_prometheus_is_told_when_the_certificate_ends(router, session, trusting):
    """It is valid for some time yet."""
    async with session.get(router.url + "/metrics", ssl=trusting) as answer:
        page = await answer.text()
    (ends,) = (line for line in page.splitlines() if line.startswith("router_certificate_expiry_timestamp_seconds "))
    assert float(ends.split()[1]) == pytest.approx(router.certificates.ends)
    assert router.certificates.ends > time.time()


async def test_a_connection_that_began_in_the_fast_lane_stays_there(router, secure):
    """And it is counted once, as long as it is open."""
    room = router.listener._lane.room
    client = await secure()
    client.send(post(ASK) + post(ASK))
    assert [(await client.answer()).status for _ in range(2)] == [200, 200]
    assert lane_of_connections(router) == (1, 0)
    assert router.listener._lane.room == room - 1
    client.leave()
    await eventually(lambda: router.listener._lane.room == room and lane_of_connections(router) == (0, 0))


@pytest.mark.parametrize("lane", LANES)
async def test_large_bodies(secure, lane):
    """Uploads of many records, and answers of many."""
    client = await secure()
    body = {**ASK, "filler": "x" * 3_000_000, "fake": {"events": 20_000}}
    client.send(post(body, lane=lane))
    assert (await client.answer()).body == expected_body(0, 20_000)


async def test_a_person_sees_the_page(router, session, trusting):
    """It is the router's own: what it asks is let in, by its https origin alone."""
    async with session.get(f"{router.url}/", headers={"accept": "text/html"}, ssl=trusting) as answer:
        assert answer.status == 200
        assert "<!doctype html>" in (await answer.text()).lower()
    for origin, status in ((router.url, 200), (router.url.replace("https", "http"), 403)):
        async with session.get(f"{router.url}/v1/models", headers={"origin": origin}, ssl=trusting) as answer:
            assert answer.status == status


@pytest.mark.parametrize("lane", LANES)
async def test_a_client_that_leaves_frees_its_engine(router, secure, lane):
    """At once, and nothing is left of it."""
    client = await secure()
    client.send(post({**ASK, "stream": True, "fake": {"events": 1000, "delay": 0.01}}, lane=lane))
    await client.reader.readuntil(b"data: ")
    client.leave()
    await eventually(lambda: nothing_left(router) and lane_of_connections(router) == (0, 0))


async def test_a_client_that_says_that_it_ends_has_left(router, secure):
    """By TLS alone, before its socket closes."""
    client = await secure()
    client.send(post({**ASK, "stream": True, "fake": {"events": 1000, "delay": 0.01}}))
    await client.reader.readuntil(b"data: ")
    client._writer.close()
    await eventually(lambda: nothing_left(router) and lane_of_connections(router) == (0, 0))


@pytest.mark.parametrize("lane", LANES)
async def test_a_slow_client_stops_its_engine(router, secure, lane):
    """Little is kept for it; and it gets all of it, once it reads."""
    small_send_buffers(router)
    client = await secure(receive_buffer=4096)
    client.send(post({**ASK, "stream": True, "fake": {"events": 400, "size": 1000}}, lane=lane))
    await client.reader.readuntil(b"data: ")

    def paused() -> bool:
        return any(exchange.paused for exchange in router.plane.exchanges)

    await eventually(paused)
    rest = b""
    async with asyncio.timeout(60):
        while not rest.endswith(b"\r\n0\r\n\r\n"):
            rest += await client.reader.read(2**16)
    assert len(rest) > len(expected_stream(0, 400, 1000)) - 1000  # of which the head is read


async def test_a_stream_in_flight_ends_before_the_router_does(router, secure):
    """As it does without TLS."""
    client = await secure()
    client.send(post({**ASK, "stream": True, "fake": {"events": 50, "delay": 0.02}}))
    await client.reader.readuntil(b"data: ")
    stopping = asyncio.create_task(router.stop())
    rest = await client.rest()
    assert rest.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    await stopping


async def test_a_refused_client_reads_why(start_router, fake, files, trusting):
    """Its side is ended, not cut, while it may still send."""
    router = await start_router(
        [{"url": fake.url, "models": ["demo"]}],
        server={"port": 0, "tls": files.config}, limits={"max_body": "1KiB"},
    )  # fmt: skip
    client = await connect(router.url, tls=trusting)
    client.send(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n" + b"x" * 5000
    )
    said = await client.rest()
    client.leave()
    assert said.startswith(b"HTTP/1.1 413 ")
    assert said.endswith(b"}")


async def test_the_port_for_ollamas_clients(start_router, fake, files, trusting, session):
    """It speaks TLS, too: nothing is left open beside it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    router = await start_router(
        [{"url": fake.url, "models": ["demo"]}], server={"port": 0, "ollama_port": port, "tls": files.config}
    )
    assert router.listener.ollama_url == f"https://127.0.0.1:{port}"
    async with session.get(f"{router.listener.ollama_url}/api/tags", ssl=trusting) as answer:
        assert answer.status == 200
    async with session.get(f"http://127.0.0.1:{port}/api/tags") as answer:
        assert answer.status == 400


async def test_many_come_at_once(router, trusting):
    """Their handshakes are made one after the other, and each is."""
    clients = await asyncio.gather(*(connect(router.url, tls=trusting) for _ in range(100)))
    for client in clients:
        client.send(post(ASK))
    assert {(await client.answer()).status for client in clients} == {200}
    for client in clients:
        client.leave()


# Who isn't let in


async def test_plain_http_is_told_so(router, raw):
    """In the API's own form, and the connection closes."""
    client = await raw(router)
    client.send(post(ASK))
    said = await client.rest()
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in said
    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["message"] == secured.ONLY_TLS
    client.send(b"more of it")
    client.leave()
    await eventually(lambda: lane_of_connections(router) == (0, 0))


@pytest.mark.parametrize(
    "data", [b"\x00\x01\x02", b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\xff\xff" + b"x" * 70_000]
)
async def test_nonsense_is_cut(router, raw, data):
    """And counted out."""
    room = router.listener._lane.room
    client = await raw(router)
    client.send(data)
    await client.cut()
    await eventually(lambda: router.listener._lane.room == room and lane_of_connections(router) == (0, 0))


async def test_nonsense_within_a_connection_is_cut(router, secure):
    """Bytes that aren't this client's end it, and what it waited for."""
    client = await secure()
    client.send(post({**ASK, "stream": True, "fake": {"events": 1000, "delay": 0.01}}))
    await client.reader.readuntil(b"data: ")
    os.write(client._writer.get_extra_info("socket").fileno(), b"\x17\x03\x03\x00\x20" + b"x" * 32)
    await eventually(lambda: nothing_left(router) and lane_of_connections(router) == (0, 0))


async def test_handshakes_that_do_not_end_count_and_are_cut(router, raw, monkeypatch):
    """Whether nothing has come, or half of what is to come."""
    lane = router.listener._lane
    room = lane.room
    silent, half = await raw(router), await raw(router)
    half.send(b"\x16\x03\x01\x02\x00\x01")
    await eventually(lambda: lane.room == room - 2)
    assert lane_of_connections(router) == (2, 0)
    monkeypatch.setattr(secured, "HANDSHAKE_TIMEOUT", 0.0)
    assert await silent.cut() == await half.cut() == b""
    await eventually(lambda: lane.room == room)


async def test_a_router_that_is_full_says_so_over_tls(start_router, fake, files, trusting, raw):
    """And is alive; one that is still shaking hands makes way like others."""
    router = await start_router(
        [{"url": fake.url, "models": ["demo"]}],
        server={"port": 0, "tls": files.config}, limits={"max_connections": 1},
    )  # fmt: skip
    stays = await connect(router.url, tls=trusting)
    stays.send(post(ASK))
    assert (await stays.answer()).status == 200
    for asks, status in ((post(ASK), b"503"), (GET % b"/health", b"200")):
        guest = await connect(router.url, tls=trusting)
        guest.send(asks)
        assert (await guest.rest()).split()[1] == status
        guest.leave()
    silent = [await raw(router) for _ in range(40)]
    await silent[0].cut()
    await eventually(lambda: len(router.listener._lane.guests) == 0)
    stays.send(post(ASK))
    assert (await stays.answer()).status == 200
    stays.leave()


def shaken(url: str, context: ssl.SSLContext) -> Awaitable[tuple[str, str]]:
    """Make a handshake; give the version and the cipher."""

    async def shake() -> tuple[str, str]:
        host, port = url.partition("://")[2].split(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=host)
        secure = writer.get_extra_info("ssl_object")
        writer.close()
        return secure.version(), secure.cipher()[0]

    return shake()


def old(version: ssl.TLSVersion, ciphers: str) -> ssl.SSLContext:
    """Make a client that speaks one version with these ciphers, whatever is safe."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_old_versions_are_refused(router, version):
    """Both are broken."""
    with pytest.raises(ssl.SSLError):
        await shaken(router.url, old(version, "ALL"))


WEAK = [
    each["name"]
    for each in old(ssl.TLSVersion.TLSv1_2, "ALL:!TLSv1.3").get_ciphers()
    if not each["name"].startswith("TLS_")
    and not (each["name"].startswith("ECDHE-") and ("GCM" in each["name"] or "CHACHA20" in each["name"]))
]


async def test_weak_ciphers_are_refused(router):
    """Each that this OpenSSL knows and that lacks forward secrecy, or doesn't authenticate what it encrypts."""
    assert {"AES128-SHA", "ECDHE-RSA-AES128-SHA", "AES128-GCM-SHA256"} <= set(WEAK)
    for cipher in WEAK:
        with pytest.raises(ssl.SSLError), warnings.catch_warnings():
            await shaken(router.url, old(ssl.TLSVersion.TLSv1_2, cipher))


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"])
async def test_tls_1_2_with_good_ciphers(router, cipher):
    """For clients that don't speak 1.3 yet."""
    version, taken = await shaken(router.url, old(ssl.TLSVersion.TLSv1_2, f"ECDHE+{cipher[:6]}:ALL"))
    assert version == "TLSv1.2"
    assert taken.startswith("ECDHE-")


async def test_tls_1_3(router, trusting):
    """What all clients of today take; and HTTP/1.1, whatever they would rather have."""
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    host, port = router.url.partition("://")[2].split(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=trusting, server_hostname=host)
    secure = writer.get_extra_info("ssl_object")
    assert (secure.version(), secure.selected_alpn_protocol(), secure.compression()) == ("TLSv1.3", "http/1.1", None)
    writer.close()


def distrusting(url: str) -> None:
    """Make a handshake as most clients do that don't trust a certificate: they say so."""
    host, port = url.partition("://")[2].split(":")
    context = ssl.create_default_context()
    with socket.create_connection((host, int(port))) as plain, pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(plain, server_hostname=host)


async def test_a_client_that_does_not_trust_it_is_told_of(router, caplog):
    """Clients show but their own error."""
    await asyncio.to_thread(distrusting, router.url)
    await eventually(lambda: "The TLS handshake failed: the client said: unknown ca" in caplog.text)


async def test_so_is_one_that_says_nothing(router, caplog):
    """It leaves within the handshake. One that comes and leaves, as a load balancer does, is none."""
    host, port = router.url.partition("://")[2].split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.close()
    with pytest.raises(ssl.SSLCertVerificationError):
        await shaken(router.url, ssl.create_default_context())
    await eventually(lambda: caplog.text.count("The TLS handshake broke off") == 1)


# Another certificate


def serial(router: App, trusting: ssl.SSLContext) -> Awaitable[str]:
    """Give the number of the certificate that a new connection gets."""

    async def ask() -> str:
        host, port = router.url.partition("://")[2].split(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=trusting, server_hostname=host)
        number = writer.get_extra_info("peercert")["serialNumber"]
        writer.close()
        return str(number)

    return ask()


async def until_another(router: App, trusting: ssl.SSLContext, before: str) -> str:
    """Wait until new connections get another certificate."""
    for _ in range(1000):
        if (now := await serial(router, trusting)) != before:
            return now
        await asyncio.sleep(0.03)
    pytest.fail("the certificate stays")


async def test_certificates_change_under_streams(router, secure, trusting, authority, tmp_path):
    """New connections get the new one, and no stream is cut: five changes here, a hundred in tests/endurance."""
    clients = [await secure() for _ in range(10)]
    for index, client in enumerate(clients):
        client.send(post({**ASK, "stream": True, "fake": {"events": 200, "delay": 0.02, "seed": index}}))
    before = await serial(router, trusting)
    for _ in range(5):
        authority.issue("own", folder=tmp_path)
        before = await until_another(router, trusting, before)
    answers = await asyncio.gather(*(client.answer() for client in clients))
    for index, answer in enumerate(answers):
        assert answer.body == expected_stream(index, 200, 16)


def as_kubernetes_does(folder: Path, files: Files) -> Files:
    """Have the files behind two links; the next call changes where the inner one leads, in one step."""
    held = folder / f"..{len(list(folder.iterdir()))}"
    held.mkdir()
    for path in files:
        path.rename(held / f"tls{path.suffix}")
    inner = folder / "..new"
    inner.symlink_to(held.name)
    inner.rename(folder / "..data")
    outer = Files(folder / "tls.crt", folder / "tls.key")
    for path in outer:
        if not path.is_symlink():
            path.symlink_to(f"..data/{path.name}")
    return outer


def as_certbot_does(folder: Path, files: Files) -> Files:
    """Have links into an archive, each of which is replaced by itself, the key last."""
    archive, live = folder / "archive", folder / "live"
    for each in (archive, live):
        each.mkdir(exist_ok=True)
    outer = Files(live / "fullchain.pem", live / "privkey.pem")
    number = len(list(archive.iterdir()))
    for path, link in zip(files, outer, strict=True):
        path.rename(archive / f"{link.stem}{number}.pem")
        new = live / "new"
        new.symlink_to(f"../archive/{link.stem}{number}.pem")
        new.rename(link)
    return outer


@pytest.mark.parametrize("way", [as_kubernetes_does, as_certbot_does])
async def test_links_that_lead_elsewhere(start_router, fake, authority, trusting, tmp_path, way):
    """A certificate that others renew is seen wherever its links lead."""
    folder = tmp_path / "tls"
    folder.mkdir()
    files = way(folder, authority.issue("a", folder=tmp_path))
    router = await start_router([{"url": fake.url, "models": ["demo"]}], server={"port": 0, "tls": files.config})
    now = await serial(router, trusting)
    for _ in range(2):
        way(folder, authority.issue("a", folder=tmp_path))
        now = await until_another(router, trusting, now)


@pytest.mark.parametrize("change", ["garbage", "half", "other key", "expired", "encrypted", "gone"])
async def test_a_bad_certificate_changes_nothing(router, trusting, authority, files, tmp_path, change, caplog):
    """The one before stays, and it is said once what is wrong; a good one is taken then."""
    before = await serial(router, trusting)
    if change == "garbage":
        files.cert.write_bytes(b"nonsense")
    elif change == "half":
        files.cert.write_bytes(files.cert.read_bytes()[:400])
    elif change == "other key":
        files.key.write_bytes(authority.issue("other", folder=tmp_path).key.read_bytes())
    elif change == "expired":
        authority.issue("own", days=-2, folder=tmp_path)
    elif change == "encrypted":
        files.key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIF\n-----END ENCRYPTED PRIVATE KEY-----\n")
    else:
        files.cert.unlink()
    await eventually(lambda: "the new certificate isn't taken, and the one before stays" in caplog.text)
    assert await serial(router, trusting) == before
    authority.issue("own", folder=tmp_path)
    await until_another(router, trusting, before)


async def test_a_reload_names_other_files(tmp_path, fake, authority, trusting):
    """Those are followed then; a file that can't be used changes nothing at all."""
    from router.config import load  # noqa: PLC0415
    from router.fleet.reload import Reload, Reloader  # noqa: PLC0415

    first, second = authority.issue("a", folder=tmp_path), authority.issue("b", folder=tmp_path)
    file = tmp_path / "router.yaml"

    def text(name: str) -> str:
        tls = f"server: {{port: 0, tls: {{cert: {name}.crt, key: {name}.key}}}}"
        return f"{tls}\nhealth: {{interval: 1h}}\nbackends: [{{url: '{fake.url}', models: [demo]}}]\n"

    async def becomes(words: str) -> Reload:
        before = reloader.last
        file.write_text(words)
        await eventually(lambda: reloader.last is not before)
        assert reloader.last is not None
        return reloader.last

    file.write_text(text("a"))
    at_start = load(file, {})
    reloader = Reloader(at_start, lambda: load(file, {}))
    app = App(at_start.config, tmp_path, reloader=reloader)
    await app.start()
    try:
        before = await serial(app, trusting)
        told = await becomes(text("c"))
        (said,) = map(str, told.problems)
        assert "server.tls.cert: " in said
        assert "c.crt: there is no such file" in said
        told = await becomes(text("b"))
        assert not told.problems
        assert [step.name for step in told.steps if step.do.value == "limit"] == ["server.tls"]
        now = await until_another(app, trusting, before)
        first.cert.unlink()
        authority.issue("b", folder=tmp_path)
        await until_another(app, trusting, now)
        told = await becomes(text("b").replace(f", tls: {{cert: {second.cert.name}, key: {second.key.name}}}", ""))
        assert [step.name for step in told.steps if step.do.value == "stuck"] == ["server.tls"]
        await serial(app, trusting)
    finally:
        await app.kill()


async def test_one_that_has_expired_serves_at_the_start(start_router, fake, authority, tmp_path, caplog):
    """A router must not stay away because of a date; but it says so."""
    files = authority.issue("own", days=-2, folder=tmp_path)
    router = await start_router([{"url": fake.url, "models": ["demo"]}], server={"port": 0, "tls": files.config})
    assert "server.tls.cert: it has expired, on " in caplog.text
    with suppress(aiohttp.ClientConnectorCertificateError), pytest.raises(ssl.SSLCertVerificationError):
        await shaken(router.url, ssl.create_default_context(cafile=authority.pem))
