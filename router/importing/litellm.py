"""LiteLLM's config.yaml → router.yaml. Pure.

1. Each entry of `model_list` is a deployment, by litellm_deployments; those at one place are one backend.
2. Entries of one `model_name` are a group, by litellm_groups: several backends of one model.
3. Settings of the router, of the library and of the proxy, and keys.
4. What is left is listed, with the reason.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from router.importing.imported import (
    Entry,
    Imported,
    Names,
    Route,
    Value,
    duration,
    hashed,
    is_true,
    listed,
    mapping,
    number,
    texts,
    whole,
)
from router.importing.litellm_deployments import PROVIDERS, Deployment, Reading, host_of
from router.importing.litellm_groups import ANY, Groups
from router.importing.reasons import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router.importing.source import Source

WHOSE: Final = "LiteLLM"
PORT: Final = 4000

SHUFFLE: Final = "simple-shuffle"
_POLICIES: Final[Mapping[str, str]] = MappingProxyType({
    "least-busy": "least_in_flight",
    "latency-based-routing": "least_latency",
    "usage-based-routing": "least_in_flight",
    "usage-based-routing-v2": "least_in_flight",
})  # fmt: skip
_MOST_RETRIES: Final = 10
_MOST_FAILURES: Final = 100
_LEAST_SHARE: Final = 0.001

_TOLD: Final = "the router has logs, /metrics and `telemetry.traces` of its own, and keeps what was used in usage.db"
_NO_REDIS: Final = "one process knows all of it, and needs no Redis"
_VIRTUAL: Final = "virtual keys are in LiteLLM's database: make each anew, with `python -m router key new --name NAME"
_SECTIONS: Final = ("litellm_settings", "router_settings", "general_settings")
_NEW_KEYS: Final = (
    "default_key_generate_params", "upperbound_key_generate_params", "default_internal_user_params",
    "default_team_params", "max_internal_user_budget",
)  # fmt: skip
_READ: Final = frozenset({
    "routing_strategy", "model_group_alias", "model_alias_map", "fallbacks", "context_window_fallbacks",
    "default_fallbacks", "num_retries", "timeout", "request_timeout", "stream_timeout", "allowed_fails", "master_key",
    "set_verbose", "json_logs", "max_budget", "budget_duration", *_NEW_KEYS,
})  # fmt: skip
_NEEDLESS: Final = (
    (re.compile(r"redis\w*|cache_responses|client_ttl|enable_pre_call_checks_redis"), _NO_REDIS),
    (re.compile(r"(\w*_)?callbacks?|callback_\w+|langfuse\w*|turn_off_message_logging|redact\w+|alerting\w*|"
                r"spend_\w+|disable_spend\w*|store_prompts\w*|proxy_batch\w*|debug_level"), _TOLD),
    (re.compile(r"database\w*|store_model_in_db|prisma\w*|ui\w*|disable_\w+|use_\w+|background_health_checks|"
                r"health_check\w*|proxy_budget\w*|allow_requests_on_db\w*|maximum_\w+|salt_key"),
     "the router has no database to set up; what runs and what was used is shown by its own page and commands"),
    (re.compile(r"cooldown_time|disable_cooldowns|allowed_fails_policy|enable_pre_call_checks|retry_after"),
     "a backend that fails gets nothing until it answers again, and prompts go where they fit: both by themselves"),
)  # fmt: skip
_LOST: Final = (
    (re.compile(r"cache(_params)?|enable_caching\w*"), "the router caches no answers; engines cache prompts"),
    (re.compile(r"content_policy_fallbacks"), "a refusal is an answer: `next_on` of a route goes by statuses"),
    (re.compile(r"drop_params|modify_params"), "a `url` gets what clients send: `strip` of a route drops fields"),
    (re.compile(r"retry_policy|model_group_retry_policy|model_group_\w+"), "`limits.retries` are for all"),
    (re.compile(r"max_parallel_requests|global_max_parallel_requests"),
     "`auth.keys[].max_in_flight` bounds a key, `max_in_flight` a backend"),
    (re.compile(r"guardrails?|\w*moderation\w*|\w*_pii\w*"), "the router looks at no contents"),
    (re.compile(r"pass_through_endpoints|mcp_\w+|allowed_routes|public_routes|\w*jwt\w*|\w*sso\w*|custom_auth\w*"),
     "nothing here is like it"),
    (re.compile(r"\w*tag\w*"), "requests have no tags here"),
)  # fmt: skip


def imported(source: Source) -> Imported:
    """Read a configuration."""
    return _Conversion(source).all()


class _Conversion:
    """One walk over a configuration."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._found = Imported(WHOSE, source.file, PORT)
        self._reading = Reading(source, self._found)
        self._names = Names()
        self._said = {name: mapping(source.data.get(name)) for name in _SECTIONS}

    def all(self) -> Imported:
        items = listed(self._source.data.get("model_list"))
        deployments = [self._reading.deployment(index, mapping(each)) for index, each in enumerate(items)]
        usable = [each for each in deployments if not each.problem]
        groups = self._groups(usable)
        self._entries(usable, groups)
        for each in deployments:
            if each.problem:
                keys: dict[str, Value] = {"name": self._names.new(each.group), "models": {each.group: each.known}}
                self._found.entries.append(Entry(keys, each.provider or "unknown provider", each.line, each.problem))
                self._found.leave(each.group, each.problem, each.line)
        aliases = {**mapping(self._setting("model_alias_map")), **mapping(self._setting("model_group_alias"))}
        groups.routes(aliases, "model_group_alias", self._line("model_group_alias") or self._line("model_alias_map"))
        self._balance(usable)
        self._limits()
        self._keys()
        self._leave()
        return self._found

    def _setting(self, name: str) -> Any:  # noqa: ANN401 -- whatever the file holds
        """Give a setting, whichever section it stands in; the router's goes first."""
        sections = (self._said[each] for each in ("router_settings", "litellm_settings", "general_settings"))
        return next((said[name] for said in sections if said.get(name) is not None), None)

    def _line(self, name: str) -> int:
        return next((self._source.line(each, name) for each in _SECTIONS if name in self._said[each]), 0)

    # Backends

    def _groups(self, usable: Sequence[Deployment]) -> Groups:
        groups = Groups(usable, self._found)
        groups.fall_back(self._setting("fallbacks") or [], "fallbacks", self._line("fallbacks"))
        longer = self._setting("context_window_fallbacks")
        groups.fall_back(longer or [], "context_window_fallbacks", self._line("context_window_fallbacks"), longer=True)
        if longer:
            why = "they come last in a route: too long a prompt goes there at once, and what failed everywhere else"
            self._found.leave("context_window_fallbacks", why, self._line("context_window_fallbacks"))
        if (all_of_them := self._setting("default_fallbacks")) is not None:
            groups.fall_back_all(all_of_them, "default_fallbacks", self._line("default_fallbacks"))
        return groups

    def _entries(self, usable: Sequence[Deployment], groups: Groups) -> None:
        shares = _shares(usable)
        made: dict[tuple[object, ...], list[Entry]] = {}
        for each, share in zip(usable, shares, strict=True):
            if ANY in each.group:
                self._any(each)
                continue
            names = groups.names(each)
            place = (each.place, share, each.most)
            entry = next((one for one in made.get(place, []) if names[0] not in mapping(one.keys["models"])), None)
            if entry is None:
                entry = self._entry(each, share)
                made.setdefault(place, []).append(entry)
            models, prices = dict(mapping(entry.keys["models"])), dict(mapping(entry.keys.get("prices")))
            models |= dict.fromkeys(names, each.known)
            if each.price:
                prices |= dict.fromkeys(names, each.price)
                entry.keys["prices"] = prices
            entry.keys["models"] = models

    def _entry(self, each: Deployment, share: float | None) -> Entry:
        usual, variable = PROVIDERS.get(each.provider, ("", ""))
        is_usual = bool(variable) and each.place.url == usual
        name = each.provider if is_usual else host_of(each.place.url) or each.provider or each.group
        keys: dict[str, Value] = {"name": self._names.new(name), "url": each.place.url}
        if each.place.key:
            keys["api_key"] = each.place.key
        if each.place.headers:
            keys["headers"] = dict(each.place.headers)
        if share is not None:
            keys["weight"] = share
        if each.most:
            keys["max_in_flight"] = each.most
        entry = Entry({**keys, "models": {}}, each.provider or "openai", each.line)
        self._found.entries.append(entry)
        return entry

    def _any(self, each: Deployment) -> None:
        """Add a provider of which any model may be asked for: it is asked which it has."""
        if not each.known.endswith(ANY):
            self._found.routes[each.group] = self._any_as_one(each)
            return
        entry = self._entry(each, None)
        del entry.keys["models"]
        entry.about += ", which is asked for its models"
        if each.group != ANY:
            why = f"its models have their own names here, without {each.group.rstrip(ANY)}"
            self._found.leave(f"model_list: {each.group}", why, each.line)

    def _any_as_one(self, each: Deployment) -> Route:
        entry = self._entry(each, None)
        entry.keys["models"] = [each.known]
        return Route([each.known], {}, each.line)

    # Settings

    def _balance(self, usable: Sequence[Deployment]) -> None:
        strategy = str(self._setting("routing_strategy") or SHUFFLE)
        line = self._line("routing_strategy")
        if strategy == SHUFFLE:
            if any(share is not None for share in _shares(usable)):
                self._found.sections["balance"] = {"policy": "weighted"}
            elif line:
                why = "requests go where they are answered soonest; `balance.policy: random` is as it was"
                self._found.leave("routing_strategy: simple-shuffle", why, line, is_lost=False)
        elif strategy in _POLICIES:
            self._found.sections["balance"] = {"policy": _POLICIES[strategy]}
            if strategy.startswith("usage-based"):
                why = "requests in flight are compared, not tokens a minute: `least_in_flight`"
                self._found.leave(f"routing_strategy: {strategy}", why, line)
        else:
            self._found.leave(f"routing_strategy: {strategy}", "no policy is like it: see docs/balancing.md", line)
        if strategy.startswith("usage-based") or "enforce_model_rate_limits" in texts(
            self._setting("optional_pre_call_checks")
        ):
            for each in usable:
                if each.shares.keys() & {"rpm", "tpm"}:
                    why = "a backend has `max_in_flight`; requests and tokens a minute are limits of keys"
                    self._found.leave(f"{each.group}: rpm, tpm", why, each.line)

    def _limits(self) -> None:
        limits: dict[str, Value] = {}
        if (retries := whole(self._setting("num_retries"))) is not None:
            limits["retries"] = min(max(retries, 0), _MOST_RETRIES)
        timeout = number(self._setting("timeout")) or number(self._setting("request_timeout"))
        if timeout:
            limits["first_byte_timeout"] = duration(min(timeout, 86400))
        if limits:
            self._found.sections["limits"] = limits
        if (fails := whole(self._setting("allowed_fails"))) is not None:
            self._found.sections["health"] = {"unhealthy_after": min(max(fails + 1, 1), _MOST_FAILURES)}
        logs: dict[str, Value] = {"level": "debug"} if is_true(self._setting("set_verbose")) else {}
        if is_true(self._setting("json_logs")):
            logs["format"] = "json"
        if logs:
            self._found.sections["logging"] = logs

    def _keys(self) -> None:
        said = self._said["general_settings"].get("master_key")
        if said is None:
            self._found.advice.append(
                "LiteLLM asked for no key. Here other machines need one: see `auth` in docs/keys.md."
            )
            return
        key: dict[str, Value] = {"name": "master"}
        if str(said).startswith("os.environ/"):
            key["key"] = self._reading.value(said, "the master key", needed=True)
        else:
            key["hash"] = hashed(str(said))
        if limit := self._budget():
            key |= limit
        self._found.sections["auth"] = {"keys": [key]}
        self._found.advice.append(
            "The master key is a client's key here. /admin is for others: `python -m router key new --name me --admin` "
            "makes one."
        )

    def _budget(self) -> dict[str, Value]:
        """Give the budget of all that is asked, which is the master key's here."""
        budget = number(self._setting("max_budget"))
        if not budget:
            return {}
        time = str(self._setting("budget_duration") or "30d")
        found = re.fullmatch(r"(\d{1,4})(h|d|mo)", time)
        days = int(found[1]) * {"h": 1 / 24, "d": 1, "mo": 30}[found[2]] if found else 0
        if days in {1, 28, 30, 31}:
            return {"cost_per_day" if days == 1 else "cost_per_month": budget}
        self._found.leave("max_budget", f"budgets are for a day or a month, not for {time}", self._line("max_budget"))
        return {}

    # What is left

    def _leave(self) -> None:
        for section in _SECTIONS:
            for name in self._said[section]:
                if name not in _READ:
                    self._left(section, name)
        for name in _NEW_KEYS:
            if (said := self._setting(name)) is not None:
                self._found.leave(name, f"{_VIRTUAL}{_options(mapping(said))}`", self._line(name))
        for name in mapping(self._source.data.get("environment_variables")):
            line = self._source.line("environment_variables", name)
            self._found.leave(f"environment_variables.{name}", "set it where the router is started", line)
        for name in self._source.data:
            if name not in {*_SECTIONS, "model_list", "environment_variables", "credential_list"}:
                why = (
                    "import these files, too: `include` of router.yaml takes what comes of them"
                    if name == "include"
                    else UNKNOWN
                )
                self._found.leave(name, why, self._source.line(name))

    def _left(self, section: str, name: str) -> None:
        line = self._source.line(section, name)
        for table, is_lost in ((_LOST, True), (_NEEDLESS, False)):
            if why := next((reason for pattern, reason in table if pattern.fullmatch(name)), ""):
                self._found.leave(f"{section}.{name}", why, line, is_lost=is_lost)
                return
        self._found.leave(f"{section}.{name}", UNKNOWN, line)


def _options(said: Mapping[str, Any]) -> str:
    """Write the limits of new keys as the command that makes one has them."""
    month = str(said.get("budget_duration") or "30d") not in {"1d", "24h"}
    options = {
        "requests-per-minute": said.get("rpm_limit"),
        "tokens-per-minute": said.get("tpm_limit"),
        "max-in-flight": said.get("max_parallel_requests"),
        "cost-per-month" if month else "cost-per-day": said.get("max_budget"),
        "models": ",".join(texts(said.get("models"))),
    }
    return "".join(f" --{name} {value}" for name, value in options.items() if value)


def _shares(usable: Sequence[Deployment]) -> list[float | None]:
    """Give the weight of each deployment in its group: by `weight`, else by `rpm`, else by `tpm`, as the first says."""
    groups: dict[str, list[Deployment]] = {}
    for each in usable:
        groups.setdefault(each.group, []).append(each)
    found: list[float | None] = []
    for each in usable:
        group = groups[each.group]
        by = next((name for name in ("weight", "rpm", "tpm") if group[0].shares.get(name)), "")
        shares = [one.shares.get(by, 0.0) for one in group]
        is_equal = len(set(shares)) == 1
        found.append(None if is_equal else max(round(each.shares.get(by, 0.0) / max(shares), 3), _LEAST_SHARE))
    return found
