import json

import jsonschema
import pytest

from scripts.stress import results
from scripts.stress.results import SCHEMA, StressResults


def test_the_schema_is_that_of_the_types():
    """`python -m scripts.stress.results` writes it anew."""
    assert SCHEMA.read_bytes() == results.schema()
    jsonschema.Draft202012Validator.check_schema(json.loads(results.schema()))


def test_what_is_written_is_read_again(tmp_path, finished):
    """And is as the schema says."""
    path = tmp_path / "results.json"
    results.write(finished, path)
    jsonschema.validate(json.loads(path.read_text()), json.loads(SCHEMA.read_text()))
    assert results.read(path) == finished


@pytest.mark.parametrize("change", [{"steps": 3}, {"surplus": 1}, {"checks": [{"name": "x"}]}])
def test_what_is_wrong_is_found(tmp_path, finished, change):
    """By the schema."""
    path = tmp_path / "results.json"
    results.write(finished, path)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(path.read_text()) | change, json.loads(SCHEMA.read_text()))


def test_nothing_is_missing_but_by_default(finished):
    """A sample without a server that can be watched is one, too."""
    assert isinstance(finished, StressResults)
    assert finished.samples[0].server_cpu is None
