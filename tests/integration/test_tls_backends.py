"""Backends at https URLs: whom the router trusts there, who it is, and what it says where that fails."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import aiohttp
import pytest

from router.config import BackendConfig
from router.core.health import Verdict
from router.doctor.looking import reach
from tests.certificates import Authority, Files
from tests.fakes.engine import FakeEngine, expected_body, expected_stream
from tests.integration.raw import ASK
from tests.running import dead_port, eventually

CHAT = "/v1/chat/completions"

pytestmark = pytest.mark.usefixtures("logs_as_at_work")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Give the CA of the backends."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Give a CA of others."""
    return Authority(tmp_path_factory.mktemp("other"))


Serve = Callable[..., Awaitable[FakeEngine]]


@pytest.fixture
async def serving() -> AsyncIterator[Serve]:
    """Give a function that starts an engine with a certificate; `clients` is the CA of those that it lets in."""
    async with AsyncExitStack() as stack:

        async def serve(files: Files, clients: Path | None = None, version: ssl.TLSVersion | None = None) -> FakeEngine:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*files)
            if version is not None:
                context.maximum_version = version
            if clients is not None:
                context.load_verify_locations(clients)
                context.verify_mode = ssl.CERT_REQUIRED
            return await stack.enter_async_context(FakeEngine(tls=context))

        yield serve


def entry(engine: FakeEngine, **tls: object) -> dict[str, object]:
    """Write the backend's entry."""
    said: dict[str, object] = {"url": engine.url, "name": "far", "models": ["demo"]}
    return said | (
        {"tls": {key: str(value) if isinstance(value, Path) else value for key, value in tls.items()}} if tls else {}
    )


async def refused(session: aiohttp.ClientSession, router, caplog) -> str:
    """Ask, and be told that it can't be answered; give what the log says."""
    async with session.post(router.url + CHAT, json=ASK) as answer:
        assert answer.status in {502, 503}
    backend = router.plane.backends["far"]
    await eventually(lambda: backend.health.verdict is not Verdict.UP and backend.health.reason)
    return f"{backend.health.reason}\n{caplog.text}"


async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as a server of plain HTTP does."""
    await reader.read(100)
    writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    await writer.drain()


class Strict:
    """A server that wants a certificate of its clients, and says so before it closes, as most do: asyncio's don't."""

    def __init__(self, files: Files, clients: Path, version: ssl.TLSVersion) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*files)
        self._context.load_verify_locations(clients)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.maximum_version = version
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(30)
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with self._listening, suppress(TimeoutError):
            while True:
                plain, _ = self._listening.accept()
                with socket.socket(fileno=socket.dup(plain.fileno())) as kept, suppress(OSError):
                    kept.settimeout(5)
                    with suppress(ssl.SSLError):
                        self._context.wrap_socket(plain, server_side=True)
                    # What closes with something unread resets the connection, and what it said is lost.
                    while kept.recv(4096):
                        pass


async def test_its_ca_is_named(start_router, serving, session, authority):
    """Requests, streams, probes, its models and its own pages: all of it goes there over TLS."""
    fake = await serving(authority.issue("there", folder=authority.pem.parent))
    told = entry(fake, ca=authority.pem)
    del told["models"]
    router = await start_router([told], health={"interval": "1s"})
    await eventually(lambda: [each.name for each in router.plane.catalog.listing()] == ["demo"])
    async with session.post(router.url + CHAT, json=ASK) as answer:
        assert await answer.read() == expected_body(0, 8)
    async with session.post(router.url + CHAT, json={**ASK, "stream": True}) as answer:
        assert await answer.read() == expected_stream(0, 8, 16)
    async with session.get(f"{router.url}/upstream/far/v1/models") as answer:
        assert answer.status == 200
    assert router.plane.backends["far"].health.verdict is Verdict.UP


async def test_large_bodies_and_clients_that_leave(start_router, serving, session, authority):
    """As over plain HTTP: both ways, and its work ends with the client."""
    fake = await serving(authority.issue("there", folder=authority.pem.parent))
    router = await start_router([entry(fake, ca=authority.pem)])
    asks = {**ASK, "filler": "x" * 900_000, "fake": {"events": 20_000}}
    async with session.post(router.url + CHAT, json=asks) as answer:
        assert await answer.read() == expected_body(0, 20_000)
    async with session.post(
        router.url + CHAT, json={**ASK, "stream": True, "fake": {"events": 1000, "delay": 0.01}}
    ) as answer:
        await answer.content.readany()
        answer.close()
    await eventually(lambda: fake.stats.aborted == 1)
    async with session.post(router.url + CHAT, json=ASK) as answer:
        assert await answer.read() == expected_body(0, 8)


async def test_its_own_certificate_may_be_named(start_router, serving, session, authority):
    """It needs no CA then."""
    files = authority.issue("alone", folder=authority.pem.parent)
    router = await start_router([entry(await serving(files), ca=files.cert)])
    async with session.post(router.url + CHAT, json=ASK) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("system", "its certificate isn't trusted: the CA that it comes from isn't trusted here"),
        ("wrong ca", "its certificate isn't trusted: the CA that it comes from isn't trusted here"),
        ("wrong name", "its certificate is for another name than the URL's host: set tls.name to one that it has"),
        ("expired", "its certificate has expired: it needs a new one"),
        ("no certificate of ours", "TLS failed: it wants a certificate from its clients: set tls.cert and tls.key"),
        ("no certificate of ours, 1.2", "TLS failed: it refused the handshake: it may want a certificate (tls.cert)"),
        ("without a word", "TLS failed: it broke off the handshake: it may want a certificate (tls.cert)"),
        ("one of another ca", "TLS failed: it doesn't know the CA of this client's certificate: see tls.cert"),
        ("plain", "TLS failed: what answers there speaks no TLS: does its URL begin with http://?"),
    ],
)
async def test_what_is_wrong_is_said(
    start_router, serving, session, authority, other, engine, tmp_path, case, says, caplog
):
    """By requests and by probes alike, and by doctor: of whom, and which key helps."""
    trusts: dict[str, object] = {"ca": authority.pem}
    files = authority.issue("there", folder=tmp_path)
    if case == "system":
        fake, trusts = await serving(files), {}
    elif case == "wrong ca":
        fake, trusts = await serving(files), {"ca": other.pem}
    elif case == "wrong name":
        fake = await serving(authority.issue("there", "gpu-box.lan", folder=tmp_path))
    elif case == "expired":
        fake = await serving(authority.issue("there", days=-2, folder=tmp_path))
    elif case == "plain":
        fake = FakeEngine(port=int((await engine(no_tls)).rpartition(":")[2]))
    else:
        strict = Strict(files, authority.pem, ssl.TLSVersion.TLSv1_2 if "1.2" in case else ssl.TLSVersion.TLSv1_3)
        fake = FakeEngine(port=strict.port)
        if case == "without a word":
            fake = await serving(files, authority.pem, ssl.TLSVersion.TLSv1_2)
        elif case.startswith("one of"):
            own = other.issue("own", folder=tmp_path)
            trusts |= {"cert": own.cert, "key": own.key}
    told = entry(fake, **trusts)
    told["url"] = f"https://127.0.0.1:{fake.port}"
    router = await start_router([told], health={"interval": "1s"}, limits={"retries": 0, "queue_timeout": "1s"})
    said = await refused(session, router, caplog)
    assert says in said
    (found,) = await reach([BackendConfig.model_validate(told)])
    assert says in found.text


async def test_who_can_not_be_trusted_is_told_at_once(start_router, serving, session, authority, other):
    """Also where no probe shows it: nothing is waited for, and the client isn't told to try again."""
    fake = await serving(authority.issue("there", folder=authority.pem.parent))
    router = await start_router([entry(fake, ca=other.pem) | {"probe": "never"}])
    for _ in range(4):
        async with asyncio.timeout(30), session.post(router.url + CHAT, json=ASK) as answer:
            assert answer.status == 502
            message = (await answer.json())["error"]["message"]
        assert (
            message == "The backend 'far' has a certificate that the router doesn't trust. The router's log says why."
        )


@pytest.mark.parametrize("version", [None, ssl.TLSVersion.TLSv1_2])
async def test_it_is_shown_our_certificate(start_router, serving, session, authority, tmp_path, version):
    """With each connection that is opened there."""
    fake = await serving(authority.issue("there", folder=tmp_path), authority.pem, version)
    own = authority.issue("own", "router.lan", folder=tmp_path)
    router = await start_router([entry(fake, ca=authority.pem, cert=own.cert, key=own.key)], health={"interval": "1s"})
    async with session.post(router.url + CHAT, json=ASK) as answer:
        assert answer.status == 200
    await eventually(lambda: router.plane.backends["far"].health.verdict is Verdict.UP)


async def test_it_is_known_by_another_name(start_router, serving, session, authority, tmp_path):
    """Where the URL's host isn't in its certificate."""
    fake = await serving(authority.issue("there", "gpu-box.lan", folder=tmp_path))
    router = await start_router([entry(fake, ca=authority.pem, name="gpu-box.lan")], health={"interval": "1s"})
    async with session.post(router.url + CHAT, json=ASK) as answer:
        assert answer.status == 200
    async with session.get(f"{router.url}/upstream/far/health") as answer:
        assert answer.status == 200


async def test_one_that_may_be_anybody(start_router, serving, session, authority, tmp_path, caplog):
    """It is asked as router.yaml says, and the log says once what that means."""
    fake = await serving(authority.issue("there", "gpu-box.lan", folder=tmp_path))
    router = await start_router([entry(fake, verify=False)], health={"interval": "1s"})
    for _ in range(2):
        async with session.post(router.url + CHAT, json=ASK) as answer:
            assert answer.status == 200
    assert caplog.text.count("its certificate isn't checked (tls.verify: false)") == 1


async def test_a_renewed_certificate_of_ours_is_shown(start_router, serving, session, authority, other, tmp_path):
    """By the connections to come, and without a reload; so are others trusted, once they are named."""
    fake = await serving(authority.issue("there", folder=tmp_path), authority.pem, ssl.TLSVersion.TLSv1_2)
    own = other.issue("own", "router.lan", folder=tmp_path)
    router = await start_router(
        [entry(fake, ca=authority.pem, cert=own.cert, key=own.key)],
        health={"interval": "1s"}, limits={"retries": 0, "queue_timeout": "1s"},
    )  # fmt: skip
    backend = router.plane.backends["far"]
    await eventually(lambda: backend.health.reason)
    own.key.write_bytes(b"half of")  # what was before stays, and nothing breaks
    await asyncio.sleep(0)
    authority.issue("own", "router.lan", folder=tmp_path)
    await eventually(lambda: backend.health.verdict is Verdict.UP)
    async with session.post(router.url + CHAT, json=ASK) as answer:
        assert answer.status == 200


async def test_a_file_that_is_not_there_stops_the_start(start_router):
    """As it stops a reload: with the entry, the key and the file."""
    told = {"url": f"https://127.0.0.1:{dead_port()}", "models": ["demo"], "name": "far", "tls": {"ca": "no.pem"}}
    with pytest.raises(Exception, match=r"backends\[0\] \(far\): tls\.ca: .*/no\.pem: there is no such file"):
        await start_router([told])
