"""Names of servers and programs that are no engines here."""

import pytest

from router.config.keys.elsewhere import PROGRAMS, SERVERS, what_it_is
from router.config.keys.values import ENGINES, url


@pytest.mark.parametrize("name", ["ollama", "Ollama", "LM Studio", "lm-studio", "lmstudio", "lm_studio", "OpenAI"])
def test_a_server_that_runs_already_is_a_url(name):
    """However its name is written."""
    assert "write `url: http" in what_it_is(name)


@pytest.mark.parametrize("name", ["sglang", "TGI", "whisper.cpp", "koboldcpp"])
def test_a_program_is_started_by_its_command(name):
    """docs/commands.md says how."""
    assert "write `cmd` instead" in what_it_is(name)


@pytest.mark.parametrize("name", ["llama.cpp", "vlm", "", 7, None])
def test_of_other_words_nothing_is_known(name):
    """They may be an engine's, misspelt."""
    assert what_it_is(name) == ""


def test_no_engine_is_among_them():
    """And each address can be used as it is written."""
    assert not {*SERVERS, *PROGRAMS} & {name.replace("_", "") for name in ENGINES}
    assert [url(address) for address in SERVERS.values()] == list(SERVERS.values())
