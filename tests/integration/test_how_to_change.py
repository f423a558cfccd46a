"""ARCHITECTURE.md's "How to change it", done in a copy of the tree.

A policy, an engine, an endpoint and a setting are added, each where it says, and every check passes there.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import REPOSITORY

BIN = Path(sys.executable).parent

POLICY = '''
class _LeastBytes(_Scored):
    """The one with the fewest bytes of requests in flight for its weight."""

    unit = " bytes"

    def scores(self, candidates: Sequence[Candidate], ask: Ask, now: float) -> list[float]:  # noqa: ARG002
        """Tell the bytes that each has in flight for its weight."""
        return [backend.size / backend.weight for backend, _ in candidates]


'''

TEST_OF_THE_POLICY = '''

def test_the_fewest_bytes_are_taken():
    """However many requests they are."""
    two = candidates(1, 3)
    two[0].backend.size = 100
    assert policy_of("least_bytes").pick(two, Ask(1), 0.0, never) is two[1]
'''

NAMES_TOLD = '''
class Names(Told):
    """The names of backends, in the order of router.yaml."""

    names: tuple[str, ...]


'''

NAMES_ENDPOINT = """
NAMES: Final = Endpoint[ManagedStatus, Nothing, Names](
    operation="names",
    method="GET",
    path="/admin/names",
    scope=Scope.READ,
    doc="The names of backends.",
    asks=Nothing,
    tells=Names,
    handle=lambda part: part.names,
)

"""

TEST_OF_THE_ENDPOINT = '''

async def test_the_names_of_backends(start, session):
    """In the order of router.yaml."""
    async with session.get(await start() + "/admin/names") as answer:
        assert await answer.json() == {"names": ["fake"]}
'''

TEST_OF_THE_SETTING = '''

def test_how_long_the_end_of_a_framing_may_take():
    """It reaches the exchanges."""
    config = Config.model_validate({"backends": [{"url": "http://a"}], "limits": {"end_timeout": "3s"}})
    assert settings.exchange_limits(config).end_timeout == 3.0
'''


class Tree:
    """A copy of all that git would commit."""

    def __init__(self, root: Path) -> None:
        self.root = root
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
            cwd=REPOSITORY,
            capture_output=True,
            check=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (REPOSITORY / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, root / name)
        if (REPOSITORY / ".mypy_cache").is_dir():  # what is known of files that don't change needn't be found out again
            shutil.copytree(REPOSITORY / ".mypy_cache", root / ".mypy_cache")

    def add(self, name: str, before: str, text: str) -> None:
        """Put a text into a file, before the one place where this stands."""
        path = self.root / name
        whole = path.read_text(encoding="utf-8")
        assert whole.count(before) == 1, f"{name} has {before!r} {whole.count(before)} times"
        path.write_text(whole.replace(before, text + before), encoding="utf-8")

    def append(self, name: str, text: str) -> None:
        """Put a text behind a file's last."""
        with (self.root / name).open("a", encoding="utf-8") as file:
            file.write(text)

    def run(self, *command: str) -> None:
        """Run a command there, which has to succeed."""
        ran = subprocess.run(command, cwd=self.root, capture_output=True, text=True, timeout=400, check=False)
        assert ran.returncode == 0, f"{' '.join(command)}\n{ran.stdout[-4000:]}\n{ran.stderr[-4000:]}"


def add_policy(tree: Tree) -> None:
    """Add `least_bytes`."""
    tree.add("router/core/balance.py", "_POLICIES: dict[", POLICY.lstrip("\n"))
    tree.add("router/core/balance.py", '    "random": _Scored,\n', '    "least_bytes": _LeastBytes,\n')
    tree.add("docs/balancing.md", "| random | at random", "| least_bytes | with the fewest bytes | comparison |\n")
    tree.append("tests/unit/core/test_balance.py", TEST_OF_THE_POLICY)


def add_engine(tree: Tree) -> None:
    """Add `tiny`, the guide's own."""
    guide = (REPOSITORY / "docs/adding-an-engine.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"(?s)```python\n(.*?)```", guide)
    (tree.root / "launchers/engines/tiny.py").write_text(source, encoding="utf-8")
    registry = "launchers/engines/__init__.py"
    tree.add(registry, "from launchers.engines.vllm", "from launchers.engines.tiny import Tiny\n")
    tree.add(registry, "Vllm())", "Tiny(), ")
    tree.add("tests/unit/launchers/test_engines.py", '"vllm"]\n\n\n@pytest.fixture(params=ENGINES', '"tiny", ')
    tree.add("pyproject.toml", "vllm = [", 'tiny = ["tiny-server>=1"]\n')


def add_endpoint(tree: Tree) -> None:
    """Add GET /admin/names."""
    says = '        """Give the backends\' names."""\n'
    table = "router/api/admin/status.py"
    tree.add(table, "class ManagedStatus(", NAMES_TOLD.lstrip("\n"))
    tree.add(
        table, "    async def openapi(", f"    async def names(self, asked: Nothing, admin: Admin) -> Names:\n{says}\n"
    )
    tree.add(table, "OPENAPI: Final", NAMES_ENDPOINT.lstrip("\n"))
    tree.add(table, "OPENAPI)", "NAMES, ")
    handlers = "router/management/status.py"
    tree.add(handlers, "    NeighbourTold,\n", "    Names,\n")
    tree.add(
        handlers,
        "    async def openapi(",
        f"    async def names(self, _: Nothing, _admin: Admin) -> Names:\n{says}"
        "        return Names(names=tuple(self._plane.backends))\n\n",
    )
    tree.append("tests/integration/test_management.py", TEST_OF_THE_ENDPOINT)


def add_setting(tree: Tree) -> None:
    """Add `limits.end_timeout`."""
    tree.add(
        "router/config/keys/limits.py",
        "    drain_timeout: Annotated",
        '    end_timeout: Annotated[Duration, lasting("10ms", "1m")] = setting(\n'
        '        "1s", "How long the end of an answer\'s framing may take, once its message is whole."\n    )\n',
    )
    tree.add("router/proxy/plane.py", "    stall_after: float = inf\n", "    end_timeout: float = 1.0\n")
    tree.add("router/settings.py", "        stall_after=config", "        end_timeout=limits.end_timeout,\n")
    tree.add("router.yaml", "  # drain_timeout: 5m", "  # end_timeout: 1s             # of an answer's framing\n")
    defaults = "tests/unit/config/keys/test_config.py"
    tree.add(defaults, '        "drain_timeout": 300.0,\n', '        "end_timeout": 1.0,\n')
    tree.append("tests/unit/test_settings.py", TEST_OF_THE_SETTING)


@pytest.mark.long
@pytest.mark.timeout(500)
def test_a_policy_an_engine_an_endpoint_and_a_setting(tmp_path):
    """Nothing else has to be edited, and `make check` passes."""
    tree = Tree(tmp_path)
    add_policy(tree)
    add_engine(tree)
    add_endpoint(tree)
    add_setting(tree)
    python = str(BIN / "python")
    tree.run(python, "-m", "scripts.make_configuration_docs")
    tree.run(python, "-m", "scripts.make_management_docs")
    tree.run("make", "check", f"BIN={BIN}", "--old-file=.venv/dev")
    tests = (
        "tests/unit/core/test_balance.py",
        "tests/unit/launchers/test_engines.py",
        "tests/unit/config/keys/test_config.py",
        "tests/unit/test_settings.py",
        "tests/integration/test_management.py",
    )
    tree.run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
