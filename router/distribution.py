"""The distribution that this program is installed from: its name, its version, and how more is installed beside it.

pyproject.toml reads VERSION from here. Asking the installed metadata instead would depend on how it was installed.
"""

import shlex
import sys
from importlib.util import find_spec
from pathlib import PurePath
from typing import Final

NAME: Final = "llm-engine-router"
"""Its name for pip, and that of its second command, which `pipx run` and `uvx` look for."""

VERSION: Final = "0.1.0"


def called() -> str:
    """Give the words that this program was started with, for messages that say what to type."""
    name = PurePath(sys.argv[0]).name
    return name if name in {"router", NAME} else "python -m router"


def install_command(install: str) -> str:
    """Give the command that installs something where the router looks for it: in its own Python, activated or not.

    `install` is `pip install …`; another program's command stays as it is. Environments that uv makes have no pip.
    """
    if not install.startswith("pip "):
        return install
    here = shlex.quote(sys.executable)
    if find_spec("pip") is None:
        return install.replace("pip install", f"uv pip install --python {here}", 1)
    return f"{here} -m {install}"
