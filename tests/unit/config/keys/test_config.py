from __future__ import annotations

import json
import math
import re

import pytest
from pydantic import BaseModel, ValidationError

from router.config import Config, LaunchConfig
from router.config.keys.section import Section
from tests.configured import LAUNCHED, REMOTE, backend, errors


def test_all_but_backends_has_a_default():
    """The defaults are those of the documentation, in seconds and bytes."""
    config = Config.model_validate({"backends": [LAUNCHED]})
    launch = config.backends[0].launch
    assert launch == LaunchConfig(model="models/demo")
    assert launch is not None
    assert (launch.engine, launch.replicas, launch.load, launch.start_timeout) == ("auto", 1, "startup", 600.0)
    assert (launch.unload_after, launch.pinned, launch.memory, launch.gpus) == (math.inf, False, None, "auto")
    assert not launch.warm_up
    assert config.memory.model_dump() == {"limit": {"ram": None, "gpu": None}, "max_wait": 120.0}
    assert str(config.state.dir) == "state"
    assert (config.server.host, config.server.port, config.profile) == ("127.0.0.1", 8001, "auto")
    assert config.balance.policy == "least_latency"
    assert config.health.model_dump() == {
        "interval": 5.0,
        "timeout": 2.0,
        "unhealthy_after": 3,
        "healthy_after": 2,
        "stall_after": 60.0,
        "trial": 2,
        "ramp": 5.0,
        "error_rate": 0.5,
    }
    assert config.limits.model_dump() == {
        "max_body": 64 * 1024**2,
        "max_uploads": 256 * 1024**2,
        "max_connections": 16384,
        "max_queue": 512,
        "queue_timeout": 60.0,
        "connect_timeout": 5.0,
        "first_byte_timeout": 600.0,
        "idle_timeout": 120.0,
        "retries": 2,
        "drain_timeout": 300.0,
    }
    assert (config.auth.keys, config.auth.admin_keys) == ((), ())
    assert (config.logging.level, str(config.logging.dir)) == ("info", "logs")


def test_equal_data_makes_equal_configs():
    """Configs compare by value, whatever form the value was written in, and can't be changed."""
    one = Config.model_validate({"backends": [{**REMOTE, "models": ["a"]}]})
    other = Config.model_validate({"backends": [{**REMOTE, "models": {"a": "a"}, "weight": 1}]})
    assert one == other
    assert one != Config.model_validate({"backends": [{**REMOTE, "models": ["b"]}]})
    with pytest.raises(ValidationError):
        one.profile = "cuda"  # type: ignore[misc]
    with pytest.raises(TypeError):
        one.backends[0].models["b"] = "b"  # type: ignore[index]


def test_every_key_is_described():
    """The schema gives each key's meaning, and the default of each that has one. It is plain JSON."""

    def check(section: type[BaseModel]) -> None:
        for name, field in section.model_fields.items():
            assert field.description, name
            said = re.search(r"Default: |Required", field.description) or field.default_factory
            assert said, name

    for section in Section.__subclasses__():
        check(section)
    assert json.loads(json.dumps(Config.model_json_schema(), allow_nan=False))["required"] == ["backends"]


def test_a_config_can_be_dumped():
    """What mappings are inside doesn't show outside, and secrets don't either."""
    config = Config.model_validate(
        {"backends": [{**LAUNCHED, "launch": {"model": {"mlx": "m"}, "args": {"a": [1]}}, "api_key": "s3cret"}]}
    )
    dumped = config.model_dump(mode="json")
    assert dumped["backends"][0]["models"] == {"demo": "demo"}
    assert dumped["backends"][0]["launch"]["model"] == {"mlx": "m"}
    assert "s3cret" not in str(dumped) + repr(config)


def test_routes_lead_to_models_in_order():
    """A name and a list of names become a tuple."""
    routes = {"a": "demo", "b": ["demo", "demo"], "gpt-*": "demo"}
    config = Config.model_validate({"backends": [LAUNCHED], "routes": routes})
    assert config.targets == {"a": ("demo",), "b": ("demo", "demo"), "gpt-*": ("demo",)}


def test_there_is_at_least_one_backend():
    """An empty list is answered with the least that works."""
    assert "the least that works is `backends: [{url:" in errors({"backends": None})[0]


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"limits": {"max_body": "10MB", "max_uploads": "1MB"}}, "less than limits.max_body"),
        ({"limits": {"max_body": "1GiB", "max_uploads": "256MiB"}}, ""),
        ({"server": {"ollama_port": 8001}}, ""),  # of one port for both
    ],
)
def test_settings_that_can_not_both_be_meant(sections, said):
    """One of the two would do nothing."""
    if said:
        assert said in errors({"backends": [LAUNCHED], **sections})[0]
    else:
        Config.model_validate({"backends": [LAUNCHED], **sections})


def test_lists_are_bounded():
    """No list is longer than anybody would write."""
    assert "10000 items at most" in errors({"backends": [{}] * 10_001})[0]


@pytest.mark.parametrize("data", [5, {"server": 5}, {"server": []}])
def test_a_section_is_a_mapping(data):
    """A value where keys belong is said to be one."""
    assert any("expected keys with values, such as" in error for error in errors(data))


def test_an_empty_section_is_its_defaults():
    """A section whose keys are all comments is as good as left out."""
    assert backend(name="demo", launch={"model": "models/demo", "args": None}) == backend(**LAUNCHED)
    assert Config.model_validate({"backends": [REMOTE], "auth": None}) == Config.model_validate({"backends": [REMOTE]})
