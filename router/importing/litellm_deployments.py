"""LiteLLM's deployments: each entry of `model_list` → where it is, what it is sent, and what it costs. Pure.

The provider is the word before the first slash of `litellm_params.model`. Those that have OpenAI's API are reached at a
base that is known, or that `api_base` says. Others have an API of their own, which the router doesn't speak.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from router.config.reading.environment import literal
from router.importing.commands import is_name_of_secret
from router.importing.imported import FIXED, Imported, Value, listed, literals, mapping, number, texts, whole
from router.importing.reasons import UNKNOWN, WHOLE_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.importing.source import Source

PROVIDERS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType({
    "openai": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "text-completion-openai": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic": ("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
    "gemini": ("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    "groq": ("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "mistral": ("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "deepseek": ("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "openrouter": ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "together_ai": ("https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
    "fireworks_ai": ("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    "xai": ("https://api.x.ai/v1", "XAI_API_KEY"),
    "cerebras": ("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    "nvidia_nim": ("https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
    "sambanova": ("https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
    "deepinfra": ("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    "moonshot": ("https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
    "cohere": ("https://api.cohere.ai/compatibility/v1", "COHERE_API_KEY"),
    "cohere_chat": ("https://api.cohere.ai/compatibility/v1", "COHERE_API_KEY"),
    "ollama": ("http://localhost:11434", ""),
    "ollama_chat": ("http://localhost:11434", ""),
})  # fmt: skip
"""Providers that have OpenAI's API, where it is, and the variable that LiteLLM reads the key from."""

COMPATIBLE: Final = frozenset({
    "hosted_vllm", "vllm", "openai_like", "custom_openai", "litellm_proxy", "lm_studio", "llamafile", "xinference",
    "infinity", "huggingface", "oobabooga", "docker_model_runner", "lemonade", "azure_ai",
})  # fmt: skip
"""Providers that are wherever `api_base` says."""

OTHERS: Final = frozenset({
    "bedrock", "bedrock_converse", "vertex_ai", "vertex_ai_beta", "sagemaker", "sagemaker_chat", "watsonx", "replicate",
    "oci", "snowflake", "github_copilot", "palm", "nlp_cloud", "petals", "predibase", "triton", "gigachat",
    "databricks", "perplexity", "cloudflare", "voyage", "jina_ai", "aleph_alpha", "ai21", "clarifai", "assemblyai",
    "elevenlabs", "deepgram", "bytez", "aiml", "vercel_ai_gateway", "github", "friendliai", "galadriel", "novita",
    "nebius", "nscale", "volcengine", "dashscope", "meta_llama", "featherless_ai", "hyperbolic", "lambda_ai", "v0",
    "codestral",
})  # fmt: skip
"""Providers whose base isn't known here, or that have no API of OpenAI's form."""

_WITHOUT: Final = (
    (re.compile(r"(gpt-|o[134](-|$)|chatgpt-|text-embedding-|dall-e|whisper-|tts-|omni-moderation)"), "openai"),
    (re.compile(r"claude"), "anthropic"),
)  # fmt: skip
"""How models look that stand without their provider."""

_NO_KEYS: Final = frozenset({
    "", "none", "null", "dummy", "empty", "fake", "fake-key", "not-needed", "no-key", "no-key-required", "na", "n/a",
    "x", "ollama", "lm-studio", "lmstudio", "anything", "any", "sk-no-key-required", "sk-dummy", "sk-none",
    "placeholder",
})  # fmt: skip
"""What stands for a key where none is needed."""

FIELDS: Final = frozenset({
    "temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "stop", "seed", "presence_penalty",
    "frequency_penalty", "repetition_penalty", "n", "logit_bias", "user", "response_format", "reasoning_effort",
    "thinking", "tools", "tool_choice", "parallel_tool_calls", "chat_template_kwargs", "keep_alive", "dimensions",
    "encoding_format", "service_tier", "logprobs", "top_logprobs", "verbosity", "reasoning", "modalities", "store",
})  # fmt: skip
"""Fields of requests, which a deployment adds where a client leaves them out."""

_READ: Final = frozenset({
    "model", "api_base", "base_url", "api_key", "custom_llm_provider", "organization", "extra_headers", "headers",
    "rpm", "tpm", "weight", "order", "max_parallel_requests", "litellm_credential_name", "additional_drop_params",
    "extra_body", "input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost", "azure_ad_token",
})  # fmt: skip
_NEEDLESS: Final[Mapping[str, str]] = MappingProxyType({
    "api_version": "Azure's /openai/v1 has no versions",
    "mock_response": "the router asks a server",
    "drop_params": "a launched engine gets what it understands, and a `url` what clients send",
    "tags": "requests have no tags here",
    "use_in_pass_through": "each backend is asked at its own paths",
    "merge_reasoning_content_in_choices": "answers stay as they are",
})  # fmt: skip
_ALL: Final = "`limits` are for all backends"
_LOST: Final[Mapping[str, str]] = MappingProxyType({
    "timeout": _ALL, "stream_timeout": _ALL, "max_retries": _ALL, "num_retries": _ALL,
    "max_budget": "a backend has no budget: keys have (`auth.keys[].cost_per_month`)",
    "budget_duration": "a backend has no budget: keys have (`auth.keys[].cost_per_month`)",
})  # fmt: skip
_PRICES: Final = (
    ("input", "input_cost_per_token"), ("output", "output_cost_per_token"), ("cached", "cache_read_input_token_cost"),
)  # fmt: skip
_MILLION: Final = 1_000_000
_ENVIRONMENT: Final = "os.environ/"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a deployment is, and how it is asked."""

    url: str
    key: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Deployment:
    """An entry of `model_list`. `known` is the model's name there. `problem`: why it can't be used."""

    group: str
    known: str
    provider: str
    place: Place
    line: int
    id: str = ""
    shares: Mapping[str, float] = field(default_factory=dict)
    order: int | None = None
    most: int | None = None
    price: dict[str, Value] = field(default_factory=dict)
    default: dict[str, Value] = field(default_factory=dict)
    strip: tuple[str, ...] = ()
    problem: str = ""


class Reading:
    """Reads deployments; notes their variables, and what is left out."""

    def __init__(self, source: Source, found: Imported) -> None:
        self._source = source
        self._found = found
        self._credentials = {
            str(each.get("credential_name")): mapping(each.get("credential_values"))
            for each in map(mapping, listed(source.data.get("credential_list")))
        }
        # A secret that stands in several entries is one variable.
        self._secrets: dict[str, str] = {}

    def deployment(self, index: int, said: Mapping[str, Any]) -> Deployment:
        """Read an entry of `model_list`."""
        params, info = mapping(said.get("litellm_params")), mapping(said.get("model_info"))
        params = {**self._credentials.get(str(params.get("litellm_credential_name")), {}), **params}
        group, line = str(said.get("model_name") or "").strip(), self._source.line("model_list", index)
        provider, known = provider_of(params)
        what = f"model_list[{index}] ({group})"
        place, problem = self._place(provider, params, group, line) if group else (Place(""), "it has no model_name")
        strip = texts(params.get("additional_drop_params"))
        default = {name: each for name, each in params.items() if name in FIELDS}
        default |= {name: each for name, each in mapping(params.get("extra_body")).items() if name not in FIXED}
        self._leave(what, index, params, info)
        return Deployment(
            group,
            literal(known),
            provider,
            place,
            line,
            str(info.get("id") or ""),
            {name: share for name in ("weight", "rpm", "tpm") if (share := number(params.get(name))) is not None},
            whole(params.get("order")),
            whole(params.get("max_parallel_requests")) or None,
            _price({**info, **params}),
            {name: literals(each) for name, each in default.items() if name not in strip},
            tuple(each for each in strip if "." not in each and "[" not in each),
            problem,
        )

    def value(self, value: object, about: str, *, needed: bool = False, is_url: bool = False) -> str:
        """Write a text as router.yaml has it: `os.environ/NAME` is a variable."""
        text = str(value)
        if text.startswith(_ENVIRONMENT):
            return self._found.refer(text.removeprefix(_ENVIRONMENT), about, needed=needed, is_url=is_url)
        return literal(text)

    def secret(self, value: object, wish: str, about: str, line: int) -> str:
        """Write a secret: a variable, whether it is one there, too, or stands in the file."""
        text = str(value)
        if text.startswith(_ENVIRONMENT):
            return self.value(text, about)
        if text not in self._secrets:
            self._secrets[text] = self._found.secret(wish, f"{about}: as in the entry of line {line}")
        return self._secrets[text]

    def _place(self, provider: str, params: Mapping[str, Any], group: str, line: int) -> tuple[Place, str]:
        """Give where a deployment is, and why it can't be asked there."""
        base, usual = params.get("api_base") or params.get("base_url"), PROVIDERS.get(provider, ("", ""))
        if provider == "azure":
            base, usual = base or f"{_ENVIRONMENT}AZURE_API_BASE", ("", "AZURE_API_KEY")
        if provider in OTHERS and not base:
            why = f"backends speak OpenAI's API, and none of {provider} is known: LiteLLM itself can be a `url` for it"
            return Place(""), why
        if not base and not usual[0]:
            named = f"{provider} needs an api_base" if provider else "its provider isn't known, and it has no api_base"
            return Place(""), named
        url = self._url(str(base), group) if base else usual[0]
        # A key of the file gets a name of its own: the provider's may be set, to a key that this server must not see.
        whose = (host_of(url) or group) if base else provider
        headers = [
            (name, self._header(name, each, whose, line)) for name, each in {
                **mapping(params.get("headers")), **mapping(params.get("extra_headers")),
                **({"OpenAI-Organization": params["organization"]} if params.get("organization") else {}),
            }.items()
        ]  # fmt: skip
        key = self._key(params, "" if base and provider != "azure" else usual[1], whose, line)
        if provider == "azure":
            url = f"{url.rstrip('/').removesuffix('/openai/v1').removesuffix('/openai')}/openai/v1"
        if any(name.lower() == "authorization" for name, _ in headers):
            key = ""
        if provider in {"azure", "azure_ai"} and key and not params.get("azure_ad_token"):
            headers.append(("api-key", key))
            key = ""
        return Place(url, key, tuple(headers)), ""

    def _url(self, base: str, group: str) -> str:
        about = f"where {group} is"
        if base.startswith(_ENVIRONMENT):
            return self.value(base, about, needed=True, is_url=True)
        return self._found.url(base, group, about)

    def _header(self, name: str, value: object, whose: str, line: int) -> str:
        about = f"the header {name} of {whose}"
        return (
            self.secret(value, f"{whose}_{name}", about, line) if is_name_of_secret(name) else self.value(value, about)
        )

    def _key(self, params: Mapping[str, Any], usual: str, whose: str, line: int) -> str:
        said = params.get("azure_ad_token") or params.get("api_key")
        about = f"key of {whose}"
        if said is None:
            return self._found.refer(usual, about) if usual else ""
        return "" if str(said).lower() in _NO_KEYS else self.secret(said, f"{whose}_API_KEY", about, line)

    def _leave(self, what: str, index: int, params: Mapping[str, Any], info: Mapping[str, Any]) -> None:
        for name in params:
            line = self._source.line("model_list", index, "litellm_params", name)
            if name in _NEEDLESS:
                self._found.leave(f"{what}.{name}", _NEEDLESS[name], line, is_lost=False)
            elif name in _LOST:
                self._found.leave(f"{what}.{name}", _LOST[name], line)
            elif name not in _READ and name not in FIELDS:
                self._found.leave(f"{what}.{name}", UNKNOWN, line)
        for each in texts(params.get("additional_drop_params")):
            if "." in each or "[" in each:
                line = self._source.line("model_list", index, "litellm_params", "additional_drop_params")
                self._found.leave(f"{what}.additional_drop_params: {each}", WHOLE_FIELDS, line)
        if "access_groups" in info:
            line = self._source.line("model_list", index, "model_info", "access_groups")
            self._found.leave(f"{what}.access_groups", "`auth.keys[].models` says what a key may use", line)


def provider_of(params: Mapping[str, Any]) -> tuple[str, str]:
    """Give the provider of a deployment, "" if none is said, and the model's name there."""
    model = str(params.get("model") or "")
    if said := params.get("custom_llm_provider"):
        return str(said), model.removeprefix(f"{said}/")
    first, slash, rest = model.partition("/")
    if slash and (first in PROVIDERS or first in COMPATIBLE or first in OTHERS or first == "azure"):
        return first, rest
    has_base = params.get("api_base") or params.get("base_url")
    guessed = next((name for pattern, name in _WITHOUT if pattern.match(model)), "openai_like" if has_base else "")
    return guessed, model


def host_of(url: str) -> str:
    """Give what a backend at a url is called."""
    try:
        parts = urlsplit(url)
        port = f"-{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    return "" if "$" in (parts.netloc or "$") else f"{parts.hostname}{port}"


def _price(said: Mapping[str, Any]) -> dict[str, Value]:
    """Give what a million tokens cost."""
    found = {ours: number(said.get(theirs)) for ours, theirs in _PRICES}
    return {name: float(f"{each * _MILLION:.6g}") for name, each in found.items() if each}
