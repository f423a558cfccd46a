"""A hundred new certificates under a hundred streams (`make test-endurance`): each is taken, and no stream is cut."""

import asyncio
import ssl
from pathlib import Path

import aiohttp

from tests.certificates import Authority
from tests.fakes.engine import FakeEngine, expected_stream
from tests.running import RunningRouter, eventually

CHANGES, STREAMS = 100, 100
EVENTS, DELAY = 100, 0.05


class Streams:
    """Streams without end until they are to, each on a connection of its own; every one must be whole."""

    def __init__(self, url: str, trusting: ssl.SSLContext) -> None:
        self.whole = 0
        self.cut: list[str] = []
        self._url = f"{url}/v1/chat/completions"
        self._trusting = trusting
        self._goes_on = True

    async def run(self) -> None:
        """Stream again and again."""
        async with asyncio.TaskGroup() as group:
            for seed in range(STREAMS):
                group.create_task(self._one_after_the_other(seed))

    def end(self) -> None:
        """Begin no more."""
        self._goes_on = False

    async def _one_after_the_other(self, seed: int) -> None:
        connector = aiohttp.TCPConnector(ssl=self._trusting, force_close=seed % 2 == 0)
        async with aiohttp.ClientSession(connector=connector) as session:
            while self._goes_on:
                asks = {"events": EVENTS, "delay": DELAY, "seed": seed}
                body = {"model": "demo", "stream": True, "messages": [], "fake": asks}
                try:
                    async with session.post(self._url, json=body) as answer:
                        got = await answer.read()
                except aiohttp.ClientError as error:
                    self.cut.append(repr(error))
                else:
                    self.whole += got == expected_stream(seed, EVENTS, 16)
                    if got != expected_stream(seed, EVENTS, 16):
                        self.cut.append(f"{len(got)} bytes")


async def serial(url: str, trusting: ssl.SSLContext) -> str:
    """Give the number of the certificate that a new connection gets."""
    host, port = url.partition("://")[2].split(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=trusting, server_hostname=host)
    number = writer.get_extra_info("peercert")["serialNumber"]
    writer.close()
    return str(number)


async def test_a_hundred_certificates_under_a_hundred_streams(tmp_path: Path) -> None:
    """Every third is replaced in place, half a file at a time; the others are renamed over the ones before."""
    authority = Authority(tmp_path)
    authority.issue("own")
    trusting = ssl.create_default_context(cafile=authority.pem)
    async with FakeEngine() as fake:
        config = f"server: {{port: 0, tls: {{cert: own.crt, key: own.key}}}}\nbackends: [{{url: '{fake.url}'}}]\n"
        async with RunningRouter(tmp_path, config) as router:
            await eventually(lambda: "Ready at" in router.said)
            streams = Streams(router.url, trusting)
            running = asyncio.create_task(streams.run())
            now = await serial(router.url, trusting)
            for number in range(CHANGES):
                if number % 3:
                    authority.issue("own")
                else:
                    new = authority.issue("new")
                    for name, path in (("own.key", new.key), ("own.crt", new.cert)):
                        data = path.read_bytes()
                        for part in (data[: len(data) // 2], data):
                            (tmp_path / name).write_bytes(part)
                            await asyncio.sleep(0.02)
                async with asyncio.timeout(60):
                    while (seen := await serial(router.url, trusting)) == now:  # noqa: ASYNC110 -- it tells nobody
                        await asyncio.sleep(0.02)
                now = seen
            streams.end()
            await running
            print(f"{CHANGES} certificates, {streams.whole} streams whole, {len(streams.cut)} cut")  # noqa: T201
            assert streams.cut == []
            assert streams.whole >= STREAMS
            assert router.said.count("new certificate: ") >= CHANGES
