"""10,000 mutations of router.yaml (`make test-endurance`): each is taken whole, or refused with a place."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from tests.shipped import ENVIRON, MUTATIONS, beside_its_part, taken_or_refused

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(1200)
def test_ten_thousand_mutations(tmp_path: Path) -> None:
    """Of its bytes, tokens, lines and nodes, other ones each time. It prints how many were taken."""
    path, counts = beside_its_part(tmp_path), Counter[bool]()

    @settings(max_examples=10_000, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(MUTATIONS)
    def mutate(content: bytes) -> None:
        path.write_bytes(content)
        counts[taken_or_refused(path, ENVIRON)] += 1

    mutate()
    print(f"{counts.total()} mutations: {counts[True]} taken, {counts[False]} refused")  # noqa: T201
    assert counts.total() >= 10_000
    assert min(counts[True], counts[False]) >= 1_000
