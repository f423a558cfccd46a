"""docs/recording.svg: a session in a terminal, as README.md shows it.

    python -m scripts.make_recording

The session is real: a folder with two copies of the demo model, which talks nonsense, and the commands of `SESSION` in
their order. What differs from machine to machine and from time to time (the folder, ports, times, pids, this machine's
profile) is written alike, so that the same program makes the same picture. It refers to nothing outside of itself: no
fonts, no addresses.
"""

import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.text import Text

ROOT: Final = Path(__file__).parents[1]
PICTURE: Final = ROOT / "docs" / "recording.svg"
MODELS: Final = ("demo", "tiny")
WIDTH: Final = 116
WITHIN: Final = 60.0

ASK: Final = """curl -s http://127.0.0.1:8001/v1/chat/completions -H 'content-type: application/json' \\
    -d '{"model": "demo", "max_tokens": 9, "temperature": 0, "messages": [{"role": "user", "content": "Hello"}]}'"""
SESSION: Final = ("router init", "router", ASK, "router ps", "router unload demo")
"""`router` starts it, and is shown until it is ready; the others are shown whole."""

_FORMAT: Final = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
    <title>A session with the router in a terminal</title>
    <style>
    .{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: {char_height}px;
        line-height: {line_height}px; font-variant-east-asian: full-width; }}
    .{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
        <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""


class Said(NamedTuple):
    """A command, and what it printed."""

    command: str
    text: str


def alike(text: str, folder: Path, port: int) -> str:
    """Write what differs between two sessions as if it were one."""
    text = text.replace(f"{folder}/", "~/llm/").replace(f":{port}", ":8001")
    text = re.sub(r"\b\d\d:\d\d:\d\d\b", "10:00:00", text)
    text = re.sub(r"(profile \w+: ).*", r"\1this machine, as `router doctor` describes it", text)
    text = re.sub(r".*(?:room for \d+ connections|the first of the \w+ profile's engines).*\n", "", text)
    # Columns of `ps`: how long it was idle, and the pid, are as wide as these.
    text = re.sub(r"\b\d+s( +\w+ +)\d{1,7}\b", r"1s\g<1>4711", text)
    text = re.sub(r'"id":"chatcmpl-[^"]*"', '"id":"chatcmpl-4f2a"', text)
    return re.sub(r'"created":\d+', '"created":1800000000', text)


def drawn(session: list[Said]) -> str:
    """Draw a session."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for number, said in enumerate(session):
        console.print(Text("\n" * bool(number) + "$ ", "bold green") + Text(said.command, "bold white"))
        # The answer of an engine has one line, however long it is.
        console.print(Text(said.text.strip("\n")), soft_wrap=False)
    return console.export_svg(title="router", code_format=_FORMAT, unique_id="router")


@contextmanager
def _router(folder: Path, env: Mapping[str, str]) -> Iterator[str]:
    """Run a router; give what it said until it was ready. Raises TimeoutError."""
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen([sys.executable, "-m", "router"], cwd=folder, env=env, stdout=said, stderr=said)
    try:
        until = time.monotonic() + WITHIN
        while "in a browser." not in (text := (folder / "said").read_text()) or "profile" not in text:
            if process.poll() is not None or time.monotonic() > until:
                raise TimeoutError(text)
            time.sleep(0.05)
        lines = text.splitlines()
        logged = [line for line in lines if re.match(r"\d\d:", line)]
        ready = [line.removesuffix(" Try:") for line in lines if line.startswith("Ready")]
        yield "".join(f"{line}\n" for line in (*logged, *ready))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(WITHIN)


def recorded(folder: Path) -> list[Said]:
    """Do what the session says, in an empty folder."""
    (folder / "models").mkdir()
    for name in MODELS:
        shutil.copy(ROOT / "models/demo/demo.gguf", folder / f"models/{name}.gguf")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {
        "PATH": path, "HOME": str(folder), "COLUMNS": str(WIDTH), "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT),
        "ROUTER_SERVER__PORT": str(port),
    }  # fmt: skip

    def say(command: str) -> Said:
        typed = command.replace(":8001", f":{port}")
        done = subprocess.run(
            ["/bin/sh", "-c", typed], cwd=folder, env=env, capture_output=True, text=True, timeout=WITHIN, check=True
        )
        return Said(command, alike(done.stdout, folder, port))

    first, start, *others = SESSION
    session = [say(first)]
    with _router(folder, env) as text:
        session.append(Said(start, alike(text, folder, port)))
        session += map(say, others)
    return session


def main() -> int:
    """Record the session, and draw it."""
    with tempfile.TemporaryDirectory() as folder:
        session = recorded(Path(folder).resolve())
    PICTURE.write_text(drawn(session), encoding="utf-8")
    print(f"{PICTURE} is written: {len(session)} commands")
    return 0


if __name__ == "__main__":
    sys.exit(main())
