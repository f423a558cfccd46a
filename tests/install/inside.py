"""Runs in a fresh root, as process 1, with the standard library alone: install the wheel, start it, ask it something.

    python inside.py HOW      pip, uv or pipx

/wheels has what a download would bring, and there is no network: so what is timed begins where a download ends. The
last line that it prints is what it found, as JSON.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

WHAT = "llm-engine-router[llama-server]"
HOME = Path.home()
OFFLINE = ("--no-index", "--find-links", "/wheels")
URL = "http://127.0.0.1:8001"
WITHIN = 60.0
"""Seconds from the end of the download to the first answer; of the CPU, as other programs may be busy."""

AT_MOST = 300.0
"""Seconds by the clock, however busy the machine is."""

ROUTER_YAML = "backends: [{name: demo, launch: {model: /model/demo.gguf}}]\n"
QUESTION = {"model": "demo", "max_tokens": 8, "messages": [{"role": "user", "content": "Hello"}]}


def run(*command, folder=HOME):
    """Run a program; give what it prints."""
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} ({done.returncode}):\n{done.stdout}")
    return done.stdout


def environment(folder, *packages):
    """Make an environment; give the folder of its commands."""
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin/python", "-m", "pip", "install", "--quiet", *OFFLINE, *packages)
    return folder / "bin"


def by_pip():
    """Install the wheel into an environment."""
    return lambda: environment(HOME / "router", WHAT) / "router"


def by_uv():
    """Install it as a tool of uv, which is there already."""
    uv = environment(HOME / "tools", "uv") / "uv"
    return lambda: run(uv, "tool", "install", "--python", sys.executable, *OFFLINE, WHAT) and local()


def by_pipx():
    """Install it by pipx, which is there already."""
    pipx = environment(HOME / "tools", "pipx") / "pipx"
    os.environ.update(PIP_NO_INDEX="1", PIP_FIND_LINKS="/wheels")
    return lambda: run(pipx, "install", "--python", sys.executable, WHAT) and local()


def local():
    """Give the command where uv and pipx put it."""
    return HOME / ".local/bin/router"


def answer(router, until):
    """Ask until it answers; give what it says."""
    body = json.dumps(QUESTION).encode()
    while True:
        request = urllib.request.Request(f"{URL}/v1/chat/completions", body, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=max(until - time.monotonic(), 0.1)) as got:
                return json.load(got)["choices"][0]["message"]["content"]
        except urllib.error.HTTPError as error:
            said = f"{error.code}: {error.read().decode()}"
        except OSError as error:
            said = str(error)
        if time.monotonic() > until or router.poll() is not None:
            sys.exit(f"no answer: {said}\n{(HOME / 'work/said').read_text()}")
        time.sleep(0.05)


def others():
    """Give the processes there are, but for this one: none is left by a router that has ended."""
    return [each.name for each in Path("/proc").iterdir() if each.name.isdigit() and int(each.name) != os.getpid()]


def main(how):
    """Do all of it."""
    found = [each for each in ("cc", "gcc", "g++", "clang", "make") if shutil.which(each)]
    if found:
        sys.exit(f"this root has a compiler: {found}")
    install = {"pip": by_pip, "uv": by_uv, "pipx": by_pipx}[how]()
    began, before = time.monotonic(), sum(os.times()[2:4])
    command = install()
    installed = time.monotonic()
    work = HOME / "work"
    work.mkdir()
    (work / "router.yaml").write_text(ROUTER_YAML)
    with (work / "said").open("wb") as said:
        router = subprocess.Popen([command], cwd=work, stdout=said, stderr=said)
    text = answer(router, began + AT_MOST)
    answered = time.monotonic()
    python = command.resolve().open("rb").readline().decode().removeprefix("#!").split()[0]  # pipx adds -E
    where = run(python, "-c", "import router.proxy.exchange as it; print(it.__file__)")
    told = {
        "how": how,
        "install": round(installed - began, 1),
        "start": round(answered - installed, 1),
        "together": round(answered - began, 1),
        "answer": text,
        "compiled": where.strip().endswith(".so"),
        "version": run(command, "--version").strip(),
        "models": [each["name"] for each in json.loads(run(command, "ps", "--json", folder=work))["models"]],
    }
    router.send_signal(signal.SIGTERM)
    told["ended"] = router.wait(60)
    told["left"] = others()
    told["cpu"] = round(sum(os.times()[2:4]) - before, 1)  # of all that have ended, which is all that was started
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
