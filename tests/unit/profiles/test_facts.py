import os
import sys

import pytest

from profiles import facts


def test_this_machine():
    found = facts.gather({"llama_cpp": "llama_cpp", "none": "no_such_module_anywhere"})
    assert found.system
    assert 1 <= found.cpus <= (os.cpu_count() or 1)
    assert found.memory_bytes > 1 << 20
    assert found.engines["llama_cpp"][0].isdigit()
    assert "none" not in found.engines


def test_looking_for_an_engine_does_not_import_it():
    assert "wave" not in sys.modules
    assert facts.gather({"wave": "wave"}).engines == {"wave": "of an unknown version"}
    assert "wave" not in sys.modules


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None), ("99900000 100000", None), ("?", None)],
)
def test_a_containers_quota_bounds_the_cpus(tmp_path, quota, cpus):
    path = tmp_path / "cpu.max"
    path.write_text(quota)
    assert facts._usable_cpus(path) == (cpus or facts._usable_cpus(tmp_path / "none"))
