"""A node router ends with its actor."""

import signal
import subprocess
import sys
from pathlib import Path

CONFIG = "server: {port: 0}\nbackends: [{url: 'http://127.0.0.1:1'}]\n"


def test_it_ends_when_its_stdin_does(tmp_path: Path):
    (tmp_path / "router.yaml").write_text(CONFIG)
    with subprocess.Popen(
        [sys.executable, "-m", "router.cluster.ray_node", str(tmp_path / "router.yaml")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        while b"listening at" not in process.stdout.readline():
            assert process.poll() is None
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
