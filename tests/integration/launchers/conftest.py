import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
import uvloop

from launchers.process import Keepers
from launchers.spec import LaunchSpec
from launchers.states import RestartPolicy, State
from tests.integration.launchers.scripted import BOUND, SERVER, Scripted, Watched

MAKE_DEMO_MODEL = Path(__file__).parents[3] / "scripts" / "make_demo_model.py"


@pytest.fixture
def engine(tmp_path):
    (tmp_path / "server.py").write_text(SERVER)
    return Scripted(tmp_path)


@pytest.fixture
async def keepers():
    """Gives a router's keepers; in the end, they end."""
    made = Keepers()
    yield made
    await made.close()


@pytest.fixture
async def supervise(tmp_path, engine, keepers):
    """Makes supervisors, and ends them."""
    made = []

    def make(
        model="any",
        start_timeout=BOUND,
        stop_timeout=BOUND,
        give_up_after=5,
        rest=30.0,
        source="",
        claim=None,
        **kwargs,
    ):
        spec = LaunchSpec(
            "demo-1", "scripted", model, "demo", {}, {}, start_timeout, stop_timeout, source=source, claim=claim
        )
        policy = RestartPolicy(first_delay=0.06, longest_delay=0.06, give_up_after=give_up_after, first_rest=rest)
        made.append(Watched(spec, engine, keepers=keepers, logs=tmp_path / "logs", policy=policy, **kwargs))
        return made[-1]

    yield make
    for supervisor in made:
        if supervisor.status.state is not State.STOPPED:
            await supervisor.kill()


@pytest.fixture(scope="session")
def demo_model(tmp_path_factory):
    """The folder of a model that is small and real."""
    folder = tmp_path_factory.mktemp("demo")
    subprocess.run([sys.executable, MAKE_DEMO_MODEL, folder], check=True, stdout=subprocess.DEVNULL)
    return folder


def pytest_asyncio_loop_factories(config, item):  # noqa: ARG001 -- the hook's signature
    """Tests of processes and their keeper run on both loops, which spawn in ways of their own; the others on ours."""
    both = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return both if item.path.name in {"test_keeper.py", "test_process.py"} else {"uvloop": both["uvloop"]}
