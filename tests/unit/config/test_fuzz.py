"""Whatever becomes of router.yaml, it is taken whole or refused with places: there is no third way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.shipped import ENVIRON, MUTATIONS, WHOLE, beside_its_part, taken_or_refused

if TYPE_CHECKING:
    from pathlib import Path

here = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return beside_its_part(tmp_path)


def test_the_file_that_is_mutated_is_taken(path):
    """Else mutations would be refused for one mistake that all of them share."""
    path.write_bytes(WHOLE)
    assert taken_or_refused(path, ENVIRON)


@settings(here, max_examples=400)
@given(MUTATIONS)
def test_mutations_of_the_file(path, content):
    """Of its bytes, tokens, lines and nodes (10,000 of them: `make test-endurance`)."""
    path.write_bytes(content)
    taken_or_refused(path, ENVIRON)


NAMES = st.lists(
    st.sampled_from(
        ["SERVER", "PORT", "BACKENDS", "0", "1", "99", "LAUNCH", "env", "A", "ROUTES", "gpt-*", "AUTH", "KEYS"]
    )
    | st.text(st.characters(exclude_characters="\0=", exclude_categories=["Cs"]), max_size=3),
    max_size=5,
).map(lambda levels: "ROUTER_" + "__".join(levels))


@settings(here, max_examples=200)
@given(st.dictionaries(NAMES, st.text(st.characters(exclude_characters="\0"), max_size=8), max_size=4))
def test_variables_of_any_name_and_value(path, environ):
    """What no environment of a person would hold makes no third way either."""
    path.write_bytes(WHOLE)
    taken_or_refused(path, ENVIRON | environ)
