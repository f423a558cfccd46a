import pytest

from router.config.keys.wake import mac
from router.config.load import load
from tests.configured import backend, errors


@pytest.mark.parametrize(
    "written",
    ["00:1A:2b:33:44:55", "00-1a-2b-33-44-55", "001A2B334455", "001a.2b33.4455", " 00:1a:2b:33:44:55 "],
)
def test_an_address_may_be_written_as_any_system_shows_it(written):
    """Linux and macOS, Windows, labels, switches."""
    assert mac(written) == "00:1a:2b:33:44:55"


@pytest.mark.parametrize(
    "written", ["00:11:22:33:44", "00:11:22:33:44:5g", "00:11-22:33:44:55", "0:1:2:3:4:5", "pc", True, 1.5]
)
def test_anything_else_is_refused(written):
    """With an example."""
    with pytest.raises(ValueError, match=r"00:11:22:33:44:55|expected text"):
        mac(written)


@pytest.mark.parametrize("written", ["ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "01:00:5e:00:00:01"])
def test_the_address_of_nobody_or_of_a_group_is_refused(written):
    """A packet for these wakes no machine, or all of them."""
    with pytest.raises(ValueError, match="no single network card"):
        mac(written)


def test_digits_alone_are_no_number(tmp_path):
    """YAML 1.1 would read a number to the base of 60; a shell may leave it empty."""
    file = tmp_path / "router.yaml"
    file.write_text(
        "backends:\n  - {url: 'http://pc:1', wake: 00:11:22:33:44:55}\n  - {url: 'http://b:1', wake: '${NO:-}'}\n"
    )
    assert [each.wake for each in load(file, {}).config.backends] == ["00:11:22:33:44:55", None]


def test_a_machine_has_two_minutes_to_wake():
    """Unless another time is written."""
    assert backend(url="http://pc:1", wake="00:11:22:33:44:55").wake_timeout == 120.0
    assert backend(url="http://pc:1", wake="00:11:22:33:44:55", wake_timeout="30s").wake_timeout == 30.0


def test_this_machine_is_awake():
    """A launched engine has none that could be woken."""
    launched = {"name": "a", "launch": {"model": "a.gguf"}, "wake": "00:11:22:33:44:55"}
    assert any("runs on this one" in each for each in errors({"backends": [launched]}))
