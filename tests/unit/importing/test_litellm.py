"""Five configurations of LiteLLM, each with where requests went, and what was changed in them."""

from pathlib import Path

import pytest

from router.core.errors import ModelNotFoundError
from router.core.keys import digest
from tests.unit.importing.routed import Made, Routed, made_of

FILES = Path(__file__).parent / "imports" / "litellm"
SECRETS = ("sk-of-canada", "of-nobody", "sk-secret-of-the-house", "sk-of-the-team", "sk-1234", "u:p@db")

REQUESTS = {
    "several-deployments": {
        "gpt-4o": "eu.openai.example:gpt-4o-eu | azure:gpt-4o-ca | openai:gpt-4o",
        "gpt-4": "eu.openai.example:gpt-4o-eu | azure:gpt-4o-ca | openai:gpt-4o",
        "hidden-one": "eu.openai.example:gpt-4o-eu | azure:gpt-4o-ca | openai:gpt-4o",
        "text-embedding-3-small": "openai-2:text-embedding-3-small",
    },
    "local-servers": {
        "qwen": "gpu-box-8000:Qwen/Qwen3-8B | mac-studio-11434:qwen3:8b > localhost-11434:gemma3 > "
        "localhost-1234:some-model > openai:gpt-4o-mini > gemini:gemini-2.5-pro",
        "gemma": "localhost-11434:gemma3 > localhost-1234:some-model > gemini:gemini-2.5-pro",
        "any-local": "localhost-1234:some-model",
        "mini": "openai:gpt-4o-mini > gemini:gemini-2.5-pro",
        "long": "gemini:gemini-2.5-pro",
    },
    "order-and-weights": {
        "claude": "anthropic:claude-sonnet-4-5 | anthropic-2:claude-sonnet-4-5 > "
        "openrouter:anthropic/claude-sonnet-4.5",
        "split": "groq:llama-3.3-70b | deepseek:deepseek-chat",
        "careful": "deepseek-2:deepseek-reasoner",
    },
    "wildcards": {
        "house": "house.example-2:house-large > mistral:mistral-small-latest",
        "spare": "mistral:mistral-small-latest",
        "whatever": "house.example:house-default",
    },
    "team": {"chat": "127.0.0.1-8080:chat-large | 127.0.0.1-8081:chat-large", "code": "127.0.0.1-8082:coder"},
}
"""A configuration → the names that clients ask for, and where each goes, in order."""

UNKNOWN = [
    ("several-deployments", "none"),
    ("order-and-weights", "painter"),
    ("order-and-weights", "who-knows"),
    ("local-servers", "nobody"),
]

ASKED = {"temperature": 1.5, "top_k": 5}
CHANGES = [
    ("order-and-weights", "claude", {**ASKED, "max_tokens": 8192}),
    ("order-and-weights", "careful", {"temperature": 1.5, "thinking": {"type": "enabled"}}),
    ("order-and-weights", "split", ASKED),
    ("local-servers", "qwen", ASKED),
]


@pytest.fixture(scope="module")
def made() -> dict[str, Made]:
    return {name: made_of((FILES / f"{name}.yaml").read_bytes(), f"{name}.yaml") for name in REQUESTS}


@pytest.mark.parametrize(("name", "model"), [(name, model) for name, table in REQUESTS.items() for model in table])
def test_a_request_goes_where_it_went(made, name, model):
    """To all deployments of its name, and then where its fallbacks say."""
    assert Routed(made[name][2]).where(model) == REQUESTS[name][model]


@pytest.mark.parametrize(("name", "model"), UNKNOWN)
def test_a_name_that_can_not_be_served_means_nothing(made, name, model):
    """An alias of nothing, a provider with an API of its own."""
    with pytest.raises(ModelNotFoundError):
        Routed(made[name][2]).where(model)


@pytest.mark.parametrize(("name", "model", "sent"), CHANGES)
def test_a_request_is_changed_as_it_was(made, name, model, sent):
    """A client's own fields win over a deployment's."""
    assert Routed(made[name][2]).sent(model, **ASKED) == sent


@pytest.mark.parametrize("name", REQUESTS)
def test_no_secret_is_carried(made, name):
    """Not in the file, and not in what is said of it."""
    imported, text, _ = made[name]
    said = text + str(imported.left_out)
    assert not [each for each in SECRETS if each in said]
    assert max(map(len, text.splitlines())) <= 120


def backend(made, name, which):
    return next(each for each in made[name][2].backends if each.name == which)


def test_keys_and_bases(made):
    """Of variables, of the file, of the provider's usual ones; none where a word stands for none."""
    eu, azure, openai = made["several-deployments"][2].backends[:3]
    assert (eu.url, azure.url) == ("https://eu.openai.example/openai/v1", "http://127.0.0.1:1/openai/v1")
    assert {name: value.get_secret_value() for name, value in eu.headers.items()} == {
        "api-key": "value-of-AZURE_API_KEY_EU"
    }
    assert eu.api_key is None
    assert openai.api_key.get_secret_value() == "value-of-OPENAI_API_KEY"
    assert backend(made, "local-servers", "gpu-box-8000").api_key is None
    assert backend(made, "team", "127.0.0.1-8080").api_key is None
    deepseek = backend(made, "order-and-weights", "deepseek")
    assert deepseek.api_key is None
    assert deepseek.headers.keys() == {"x-team", "authorization"}
    assert made["several-deployments"][0].variables["AZURE_API_BASE_CA"].needed


def test_weights(made):
    """By how much each deployment may do, where they differ."""
    backends = made["several-deployments"][2].backends
    assert [each.weight for each in backends] == [0.01, 0.1, 1, 1]
    assert made["several-deployments"][2].balance.policy == "weighted"
    assert [each.weight for each in made["order-and-weights"][2].backends if "split" in each.models] == [1, 0.111]
    assert backend(made, "order-and-weights", "groq").max_in_flight == 4
    assert {each.weight for each in made["team"][2].backends} == {1}
    assert made["team"][2].balance.policy == "least_in_flight"


def test_prices_are_for_a_million_tokens(made):
    price = backend(made, "local-servers", "openai").prices["mini-as-is"]
    assert (price.input, price.output, price.cached) == (0.15, 0.6, 0.075)


def test_settings(made):
    """Retries, times, failures, logs."""
    config = made["local-servers"][2]
    assert (config.limits.retries, config.limits.first_byte_timeout, config.health.unhealthy_after) == (3, 600, 4)
    assert (made["team"][2].logging.level, made["team"][2].logging.format) == ("debug", "json")


def test_the_master_key_is_a_clients(made):
    """By its hash, or by its variable, without which the router doesn't start; with the budget of all."""
    (team,) = made["team"][2].auth.keys
    assert (team.digest, team.cost_per_month) == (digest(b"sk-of-the-team"), 100)
    (house,) = made["wildcards"][2].auth.keys
    assert house.digest == digest(b"value-of-LITELLM_MASTER_KEY")
    assert "${LITELLM_MASTER_KEY}" in made["wildcards"][1]
    assert not made["local-servers"][2].auth.keys


def test_a_route_goes_on_after_what_litellm_goes_on_after(made):
    assert made["local-servers"][2].routes["qwen"].next_on == (400, 408, 422, 500)
    assert made["order-and-weights"][2].routes["claude"].next_on == (408, 500)
    assert made["order-and-weights"][2].routes["careful"].next_on is None


@pytest.mark.parametrize(
    ("name", "what", "line"),
    [
        ("several-deployments", "model_group_alias.none", 25),
        ("local-servers", "litellm_settings.cache", 28),
        ("local-servers", "context_window_fallbacks: mini", 27),
        ("order-and-weights", "painter", 19),
        ("order-and-weights", "claude: temperature", 3),
        ("order-and-weights", "model_list[5] (careful).additional_drop_params: tools[*].strict", 18),
        ("wildcards", "model_list: openai/*", 6),
        ("wildcards", "environment_variables.HOUSE_KEY", 16),
        ("wildcards", "include", 22),
        ("team", "default_key_generate_params", 16),
        ("team", "model_list[2] (code).timeout", 8),
        ("team", "guardrails", 25),
    ],
)
def test_what_is_left_out_is_told_with_its_line(made, name, what, line):
    """In the file, too."""
    imported, text, _ = made[name]
    assert [each.line for each in imported.left_out if each.what == what and each.is_lost] == [line]
    assert what.partition(":")[0] in text


def test_limits_of_new_keys_are_told_as_the_command_has_them(made):
    """So that each key can be made anew."""
    why = next(each.why for each in made["team"][0].left_out if each.what == "default_key_generate_params")
    assert "--requests-per-minute 60 --tokens-per-minute 100000 --max-in-flight 4 --cost-per-day 2" in why


def test_fallbacks_in_a_circle_and_aliases_of_a_group():
    """Each model stands once; a group's own name wins over an alias."""
    text = (
        "model_list:\n"
        "- {model_name: a, litellm_params: {model: x, custom_llm_provider: openai, api_base: 'http://a:1/v1'}}\n"
        "- {model_name: b, litellm_params: {model: openai/y, api_base: 'http://b:1/v1'}}\n"
        "router_settings: {fallbacks: [{a: [b]}, {b: [a]}], model_group_alias: {b: a, c: b}}\n"
    )
    routed = Routed(made_of(text.encode()).config)
    assert {name: routed.where(name) for name in "abc"} == {
        "a": "a-1:x > b-1:y",
        "b": "b-1:y > a-1:x",
        "c": "b-1:y > a-1:x",
    }


def test_a_url_with_a_password_is_a_variable():
    """And so is a header that is named like a secret."""
    params = "{model: openai/x, api_base: 'https://me:pw@a/v1', headers: {x-key: s3}}"
    text = f"model_list: [{{model_name: a, litellm_params: {params}}}]"
    imported, said, _ = made_of(text.encode())
    assert not [each for each in ("pw@", "s3") if each in said]
    assert imported.variables.keys() == {"A_URL", "A_X_KEY"}


def test_a_key_of_the_file_never_gets_the_name_of_a_providers():
    """That may be set already, to a key that this server must not see."""
    params = "{model: openai/x, api_base: 'http://a:1/v1', api_key: sk-of-a}"
    imported, said, _ = made_of(f"model_list: [{{model_name: m, litellm_params: {params}}}]".encode())
    assert "${A_1_API_KEY:-}" in said
    assert imported.variables["A_1_API_KEY"].about == "key of a-1: as in the entry of line 1"


def test_usage_is_not_compared():
    """What is compared in its place is told."""
    params = "{model: openai/x, api_base: 'http://a:1/v1'}"
    settings = "router_settings:\n  routing_strategy: usage-based-routing-v2\n"
    imported, said, _ = made_of(f"model_list: [{{model_name: m, litellm_params: {params}}}]\n{settings}".encode())
    assert "least_in_flight" in said
    assert [(each.what, each.line) for each in imported.left_out] == [("routing_strategy: usage-based-routing-v2", 3)]


def test_redis_is_not_needed(made):
    needless = {each.what for each in made["several-deployments"][0].left_out if not each.is_lost}
    assert "router_settings.redis_host" in needless
