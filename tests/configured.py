"""Configurations that tests begin with, and what is wrong with others."""

import pytest
from pydantic import ValidationError

from router.config import BackendConfig, Config
from router.config.problems import dotted

REMOTE = {"url": "http://box:8000"}
LAUNCHED = {"name": "demo", "launch": {"model": "models/demo"}}


def errors(data: object) -> list[str]:
    """Each error of the data as `path: message`."""
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(data)
    return [f"{dotted(error['loc'])}: {error['msg']}" for error in caught.value.errors()]


def backend(**keys: object) -> BackendConfig:
    """The configuration of a backend with these keys."""
    return Config.model_validate({"backends": [keys]}).backends[0]
