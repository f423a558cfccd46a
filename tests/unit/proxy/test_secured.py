"""TLS of clients, without sockets: turns of handshakes, what is cut, and what a transport tells."""

import asyncio
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from router.proxy.lane import GUEST_TIMEOUT
from router.proxy.secured import HANDSHAKE_TIMEOUT, LINGER_TIMEOUT, Secured
from router.tls.certificate import load, pinned
from tests.certificates import Authority
from tests.running import eventually
from tests.unit.proxy.test_downstream import Door, Transport


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory):
    """Give a certificate."""
    return Authority(tmp_path_factory.mktemp("ca")).issue("own")


class Raw(Transport):
    """The socket's transport: keeps what is sent, and whether it is read from."""

    def __init__(self):
        super().__init__()
        self.reads = True
        self.limits: tuple[object, object] = (None, None)

    def pause_reading(self):
        """Note it."""
        self.reads = False

    def resume_reading(self):
        """Note it."""
        self.reads = True

    def is_reading(self):
        """Tell it."""
        return self.reads

    def set_write_buffer_limits(self, high=None, low=None):
        """Keep them."""
        self.limits = (low, high)

    def get_write_buffer_limits(self):
        """Give them."""
        return self.limits

    def get_extra_info(self, name, default=None):
        """Tell of the client."""
        return ("10.0.0.7", 5) if name == "peername" else default


class Inner(asyncio.Protocol):
    """The protocol behind it: keeps what it is told."""

    def __init__(self):
        self.said = []

    def connection_made(self, transport):
        """Keep the transport."""
        self.transport = transport
        self.said.append("made")

    def data_received(self, data):
        """Keep it."""
        self.said.append(data)

    def pause_writing(self):
        """Note it."""
        self.said.append("pause")

    def resume_writing(self):
        """Note it."""
        self.said.append("resume")

    def eof_received(self):
        """Note it."""
        self.said.append("eof")

    def connection_lost(self, error):
        """Note it."""
        self.said.append(("lost", error))


class Client:
    """A client's side, in memory."""

    def __init__(self, files, scene):
        self.files, self.raw, self.inner = files, Raw(), Inner()
        self.beside = ThreadPoolExecutor(1)
        self.lane = scene.lane
        context = load(*files).context
        self.secured = Secured(self.lane, self.beside, lambda: context, lambda: self.inner)
        self.secured.connection_made(self.raw)  # type: ignore[arg-type]
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = pinned(Path(files.cert).read_bytes(), files.cert).wrap_bio(self.into, self.out)

    async def shake(self):
        """Make the handshake."""
        while True:
            self.take()
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self.give()
        await self.give()
        self.take()

    async def give(self):
        """Send what there is, and let the router's side have its turns."""
        if data := self.out.read():
            self.secured.data_received(data)
        await eventually(lambda: self.raw.reads)

    def take(self):
        """Take what has come."""
        self.into.write(self.raw.got)
        self.raw.got = b""

    def read(self):
        """Decrypt what has come; None: nothing has."""
        self.take()
        try:
            return self.tls.read(100_000)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            return b""


@pytest.fixture
async def client(files, door):
    """Give a client that has come, and said nothing."""
    return Client(files, door)


@pytest.fixture
async def door():
    """Give a lane."""
    made = Door()
    yield made
    made.close()


async def test_bytes_both_ways(client):
    """The protocol is made once the handshake is whole; it is told of one read at once, and writes as to a socket."""
    await client.shake()
    client.tls.write(b"a" * 40_000)
    client.tls.write(b"b")
    await client.give()
    assert client.inner.said == ["made", b"a" * 40_000 + b"b"]
    client.secured.writelines([b"one ", bytearray(b"two ")])
    client.secured.write(memoryview(b"three"))
    client.secured.write(b"")
    assert client.read() == b"one two "
    assert client.read() == b"three"
    assert client.read() is None


async def test_it_is_counted_until_the_protocol_is(client):
    """In the lane, as a connection that isn't busy."""
    lane = client.lane
    assert client.secured in lane.connections
    assert not client.secured.busy
    client.secured.refuse_unread(None)
    room = lane.room
    await client.shake()
    assert client.secured not in lane.connections
    assert lane.room == room + 1  # `Inner` doesn't count itself


async def test_what_is_overdue(client):
    """A handshake, and whoever has been told that this is no plain HTTP; both are cut."""
    since = client.secured._since
    assert not client.secured.overdue(since + HANDSHAKE_TIMEOUT)
    assert client.secured.overdue(since + HANDSHAKE_TIMEOUT + 0.1)
    client.secured.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert client.raw.got.startswith(b"HTTP/1.1 400 ")
    client.secured.data_received(b"more")
    since = client.secured._since
    assert not client.secured.overdue(since + LINGER_TIMEOUT)
    assert client.secured.overdue(since + LINGER_TIMEOUT + 0.1)
    client.secured.give_up()
    client.secured.hang_up()
    client.secured.make_way()
    assert client.raw.done == ["eof", "abort", "close", "abort"]


def said_of(client, monkeypatch):
    """Note what is said of refused handshakes."""
    told = []
    monkeypatch.setattr(client.lane, "note_refusal", lambda error, *_: told.append(error.message))
    return told


async def begin(client):
    """Have the client begin its handshake, and be shown the certificate."""
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    await client.give()


@pytest.mark.parametrize("guest", [False, True])
@pytest.mark.parametrize(("begun", "what"), [(False, "had not begun"), (True, "was not whole")])
async def test_a_handshake_that_is_late_is_said_to_be(client, monkeypatch, guest, begun, what):
    """It is no lack of trust, and said once."""
    told = said_of(client, monkeypatch)
    client.secured._guest = guest
    if begun:
        await begin(client)
    client.secured.give_up()
    client.secured.connection_lost(None)
    seconds = GUEST_TIMEOUT if guest else HANDSHAKE_TIMEOUT
    assert told == [f"The TLS handshake {what} within {seconds:g} s."]


@pytest.mark.parametrize(
    ("all_of_it", "likely"),
    [(True, "may not trust the certificate"), (False, "closed before it was shown the certificate")],
)
async def test_a_client_that_breaks_off_its_handshake(client, monkeypatch, all_of_it, likely):
    """Only one that has seen the certificate may not trust it."""
    told = said_of(client, monkeypatch)
    if all_of_it:
        await begin(client)
    else:
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.do_handshake()
        client.secured.data_received(client.out.read()[:50])
        await eventually(lambda: client.raw.reads)
    client.secured.connection_lost(None)
    assert told == [f"The TLS handshake broke off: its client {likely}."]


@pytest.mark.parametrize("end", ["hang_up", "make_way"])
async def test_what_this_side_ends_is_not_the_clients_fault(client, monkeypatch, end):
    """Nothing is said of it."""
    told = said_of(client, monkeypatch)
    await begin(client)
    getattr(client.secured, end)()
    client.secured.connection_lost(None)
    assert told == []


async def test_the_end_is_said(client):
    """Over TLS, before the socket's; what comes behind is dropped."""
    await client.shake()
    client.secured.write(b"last")
    assert client.secured.can_write_eof()
    client.secured.write_eof()
    client.secured.write(b"nothing any more")
    assert (client.read(), client.read()) == (b"last", b"")
    client.tls.write(b"late")
    await client.give()
    assert client.inner.said == ["made"]
    assert client.raw.done == ["eof"]


async def test_the_clients_end(client):
    """It closes: a protocol that wants to go on says so."""
    await client.shake()
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    await client.give()
    assert client.inner.said == ["made", "eof"]
    assert client.raw.done == ["close"]
    client.secured.close()
    assert client.raw.done == ["close"]
    client.secured.connection_lost(None)
    client.secured.connection_lost(None)
    assert client.inner.said == ["made", "eof", ("lost", None)]


async def test_a_socket_that_just_ends(client):
    """It is the same, in the same turn."""
    await client.shake()
    assert not client.secured.eof_received()
    client.secured.connection_lost(ConnectionResetError())
    assert [each if isinstance(each, str) else each[0] for each in client.inner.said] == ["made", "eof", "lost"]


async def test_what_it_passes_on(client):
    """Pauses, bounds and what is known of the connection are the socket's."""
    await client.shake()
    secured = client.secured
    secured.pause_writing()
    secured.resume_writing()
    assert client.inner.said == ["made", "pause", "resume"]
    secured.pause_reading()
    assert not secured.is_reading()
    secured.resume_reading()
    assert secured.is_reading()
    secured.set_write_buffer_limits(9)
    assert secured.get_write_buffer_limits() == (None, 9)
    assert secured.get_write_buffer_size() == 0
    assert secured.get_extra_info("peername") == ("10.0.0.7", 5)
    assert secured.get_extra_info("ssl_object").version() == "TLSv1.3"
    assert secured.get_extra_info("sslcontext") is secured._tls.context
    assert secured.get_extra_info("other", 3) == 3
    assert secured.get_protocol() is client.inner
    other = Inner()
    secured.set_protocol(other)
    client.tls.write(b"x")
    await client.give()
    assert other.said == [b"x"]
    secured.abort()
    assert secured.is_closing()
    assert repr(secured) == "<Secured open>"


async def test_before_the_protocol_is_there(client):
    """Nobody is told anything."""
    secured = client.secured
    secured.pause_writing()
    secured.resume_writing()
    assert not secured.eof_received()
    assert secured.get_protocol() is secured
    assert secured.get_extra_info("ssl_object") is None
    secured.write(b"x")
    assert client.raw.got == b""
    secured.connection_lost(None)
    assert client.inner.said == []
    assert secured not in client.lane.connections


async def test_a_client_that_left_before_its_turn(client):
    """Its handshake isn't gone on with."""
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    client.secured.data_received(client.out.read())
    assert not client.raw.reads
    client.raw.abort()
    client.beside.shutdown()
    await asyncio.sleep(0)
    assert client.raw.got == b""


async def test_handshakes_do_not_hold_the_loop(client):
    """Their steps are taken beside it; meanwhile nothing more is read of their clients."""
    threads = []
    client.secured._context().sni_callback = lambda *_: threads.append(threading.current_thread())
    await client.shake()
    assert threads != [threading.current_thread()]
    assert len(threads) == 1


async def test_what_comes_once_the_listener_is_closed(client):
    """It is cut: nobody makes a handshake any more."""
    client.beside.shutdown()
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    client.secured.data_received(client.out.read())
    assert client.raw.done == ["abort"]
