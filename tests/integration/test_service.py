"""A router that a service manager has started: what it tells it, from its start to its end."""

import os
import signal
import socket

from tests.fakes.engine import FakeEngine
from tests.running import RunningRouter, eventually


async def test_what_systemd_is_told(tmp_path):
    """Ready once it listens; each reload, and what came of it; that it lives; and its end, with the time for it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(0)
        told: list[str] = []

        def heard(*words: str) -> bool:
            while True:
                try:
                    told.append(manager.recv(4096).decode())
                except BlockingIOError:
                    break
            return any(all(word in each for word in words) for each in told)

        env = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        async with FakeEngine() as fake:
            config = f"server: {{port: 0}}\nlimits: {{drain_timeout: 7s}}\nbackends: [{{url: '{fake.url}', name: b}}]\n"
            async with RunningRouter(tmp_path, config, env=env) as router:
                await router.ready()
                await eventually(lambda: heard("READY=1", "STATUS=Serving ", f" at {router.url}, "))
                await eventually(lambda: heard("WATCHDOG=1"))
                await eventually(lambda: heard("STATUS=Serving 1 model at"))
                told.clear()
                (tmp_path / "router.yaml").write_text(config.replace("name: b", "nmae: b"))
                await eventually(lambda: heard("RELOADING=1\nMONOTONIC_USEC="))
                await eventually(lambda: heard("READY=1", "router.yaml is not taken over: 1 mistake"))
                told.clear()
                (tmp_path / "router.yaml").write_text(config)
                await eventually(lambda: heard("RELOADING=1"))
                await eventually(lambda: heard("READY=1") and not heard("READY=1", "mistake"))
                router.signal(signal.SIGTERM)
                assert await router.exit_code() == 0
                assert heard("STOPPING=1\nEXTEND_TIMEOUT_USEC=37000000\n", "STATUS=Stopping: 0 requests in flight")
