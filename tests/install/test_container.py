"""The image for the CPU: built by the Dockerfile's own steps, run as docker runs it, asked something, and stopped."""

import shutil
import signal
import subprocess
import time

import psutil
import pytest

from tests.install import container
from tests.running import REPOSITORY

ROUTER_YAML = """\
auth: {open: true}
backends: [{name: demo, launch: {model: demo.gguf}}]
"""
ASK = """\
import json, urllib.request as r
body = json.dumps({"model": "demo", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]}).encode()
asked = r.Request("http://127.0.0.1:8001/v1/chat/completions", body, {"content-type": "application/json"})
print(json.load(r.urlopen(asked, timeout=60))["usage"]["completion_tokens"])
"""
USER = 10001


def done(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a program."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)


@pytest.mark.timeout(1800)
def test_the_image_for_the_cpu(tmp_path):
    """It refuses to start where nobody is said to be let in; then it is well, answers, and ends with 0."""
    image = container.build("cpu", {"ROUTER_OPTIMISE": "0"})
    home = image.root / image.folder[1:]
    assert (image.user, home.stat().st_uid) == (str(USER), USER)
    said = tmp_path / "said"

    (home / "router.yaml").write_text(ROUTER_YAML.partition("\n")[2])
    shutil.copy(REPOSITORY / "models/demo/demo.gguf", home)
    assert container.started(image, said).wait(60) == 2
    assert "auth.keys" in said.read_text()

    (home / "router.yaml").write_text(ROUTER_YAML)
    process = container.started(image, said)
    try:
        first = _first(process, said)
        until = time.monotonic() + 60
        while (health := done(image.beside(first, *image.health))).returncode:
            assert time.monotonic() < until, health.stderr + said.read_text()
        answer = done(image.beside(first, "python", "-c", ASK))
        assert answer.stdout.strip() == "4", answer.stderr + said.read_text()
        where = done(image.beside(first, "python", "-c", "import router.proxy.exchange as it; print(it.__file__)"))
        assert where.stdout.strip().endswith(".so")
        psutil.Process(first).send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, said.read_text()
    finally:
        process.kill()
        process.wait()


def _first(process: subprocess.Popen[bytes], said) -> int:
    """Wait for process 1 of the container; give its id outside."""
    until = time.monotonic() + 60
    while True:
        if found := psutil.Process(process.pid).children():
            return found[0].pid
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < until
        time.sleep(0.02)
