"""/admin/found: the models on this disk that router.yaml lacks."""

import pytest
import yaml

from router.app import App
from router.config import Config
from tests.fakes.launched import FACTS, LaunchedFake
from tests.models import write_gguf

pytestmark = pytest.mark.usefixtures("logs_as_at_work")


@pytest.fixture
async def app(tmp_path, monkeypatch):
    """Give a router with a model of two that are there."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS", "LLAMA_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    for name in ("mine", "new"):
        put(tmp_path / "models" / f"{name}.gguf")
    config = Config.model_validate({
        "server": {"port": 0},
        "health": {"interval": "1h"},
        "backends": [
            {"name": "mine", "launch": {"engine": "llama_cpp", "model": "models/mine.gguf", "load": "on_demand"}}
        ],
    })  # fmt: skip
    app = App(config, tmp_path, engines={"llama_cpp": LaunchedFake()}, facts=FACTS)
    await app.start()
    yield app
    await app.kill()


def put(path):
    path.parent.mkdir(exist_ok=True)
    write_gguf(path, layers=1, layer=1 << 20)


async def found(app, session):
    async with session.get(app.url + "/admin/found") as answer:
        return answer.status, await answer.json()


async def test_what_the_file_lacks(app, session, tmp_path):
    """With the lines to add; for some seconds, the same answer."""
    status, told = await found(app, session)
    assert (status, told["cut"], [each["name"] for each in told["models"]]) == (200, "", ["new"])
    (model,) = told["models"]
    assert model["place"] == str(tmp_path / "models" / "new.gguf")
    (entry,) = yaml.safe_load("\n".join(model["lines"]))
    assert (entry["name"], entry["launch"]["model"]) == ("new", "models/new.gguf")
    put(tmp_path / "models" / "later.gguf")
    assert await found(app, session) == (status, told)
