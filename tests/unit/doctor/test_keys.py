"""What doctor and check say of keys."""

import pytest

from router.config import Config
from router.doctor.findings import Mark
from router.doctor.keys import of_keys

ALICE = {"key": "a", "name": "alice"}
QWEN = [{"url": "http://a", "models": ["qwen-7b"]}]
NOW = 1801440000.0
"""The end of 2027-01-31."""


@pytest.mark.parametrize(
    ("more", "backends", "routes", "told"),
    [
        ({}, QWEN, {}, []),
        ({"expires": "2027-02-01"}, QWEN, {}, []),
        (
            {"expires": "2027-01-31"},
            QWEN,
            {},
            ["alice: expired; take it out, or give it another date (auth.keys)"],
        ),
        (
            {"expires": "2020-01-31", "name": None},
            QWEN,
            {},
            ["the key at auth.keys[0]: expired; take it out, or give it another date (auth.keys)"],
        ),
        ({"models": ["qwen*", "best"]}, QWEN, {"best": "qwen-7b"}, []),
        (
            {"models": ["qwn*", "qwen*", "best"]},
            QWEN,
            {},
            ["alice: may use qwn*, best, which is no model's name and no route's"],
        ),
        ({"models": ["qwn*"]}, [{"url": "http://a"}], {}, []),
        ({"models": ["gpt-4o"]}, QWEN, {"gpt-*": "qwen-7b"}, []),
    ],
)
def test_keys_that_deserve_a_look(more, backends, routes, told):
    """One that has expired, and one for models that aren't there, as far as that can be known."""
    config = Config.model_validate({"backends": backends, "routes": routes, "auth": {"keys": [ALICE | more]}})
    found = list(of_keys(config, NOW))
    assert [each.text for each in found] == told
    assert {each.mark for each in found} <= {Mark.LOOK}
