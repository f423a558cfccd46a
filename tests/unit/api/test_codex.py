"""The list of models that Codex reads; tests/clients runs Codex itself."""

from typing import Any

from launchers.abilities import UNKNOWN, Abilities
from router.api import codex

REQUIRED = {
    "slug", "display_name", "supported_reasoning_levels", "shell_type", "visibility", "supported_in_api", "priority",
    "support_verbosity", "truncation_policy", "experimental_supported_tools", "base_instructions",
}  # fmt: skip


def test_each_model_has_every_field_that_codex_asks_for():
    """Also one of which nothing is known, whose context is left out."""
    demo, other = codex.models({"demo": Abilities(8192, vision=True), "other": UNKNOWN})
    assert demo.keys() >= REQUIRED
    assert other.keys() >= REQUIRED
    assert (demo["slug"], demo["context_window"], demo["input_modalities"]) == ("demo", 8192, ["text", "image"])
    assert (other["slug"], other["input_modalities"], other["visibility"]) == ("other", ["text"], "list")
    assert "context_window" not in other
    assert (demo["priority"], other["priority"]) == (1, 2)


def test_a_model_that_reasons_has_levels():
    found: Any
    (found,) = codex.models({"demo": Abilities(reasoning=True)})
    assert [level["effort"] for level in found["supported_reasoning_levels"]] == ["low", "medium", "high"]
    assert found["default_reasoning_level"] == "medium"


def test_a_model_that_only_embeds_is_hidden():
    (found,) = codex.models({"demo": Abilities(completion=False)})
    assert found["visibility"] == "hide"
