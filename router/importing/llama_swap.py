"""llama-swap's configuration → router.yaml. Pure.

1. each of `models` is a backend, by swap_models; its other names are routes, by swap_names
2. each of `peers` is a backend with a url
3. selectors, groups, keys and settings
4. what is left is listed, with the reason
"""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from router.config.reading.environment import literal
from router.importing import swap_models
from router.importing.imported import Entry, Imported, Names, Value, hashed, is_true, mapping, texts, whole
from router.importing.reasons import ENDS, LOADING, TIMEOUTS, UNKNOWN
from router.importing.swap_macros import Macros, carried
from router.importing.swap_models import Shared, base_of
from router.importing.swap_names import Meanings, filters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from router.importing.source import Source

WHOSE: Final = "llama-swap"
PORT: Final = 8080

_OWN_LOGS: Final = "the router's logs and records have settings of their own (`logging`, `state`, `telemetry`)"
_NEEDLESS: Final[Mapping[str, str]] = MappingProxyType({
    "startPort": "the router gives each start a free port",
    "logTimeFormat": _OWN_LOGS,
    "logToStdout": _OWN_LOGS,
    "logRequests": _OWN_LOGS,
    "metricsMaxInMemory": _OWN_LOGS,
    "captureBuffer": _OWN_LOGS,
    "store": _OWN_LOGS,
    "performance": _OWN_LOGS,
    "ui": _OWN_LOGS,
    "unloadTimeout": ENDS,
})  # fmt: skip
"""Settings that the router needs none for."""

_LOST: Final[Mapping[str, str]] = MappingProxyType({
    "profiles": "nothing switches the meaning of names: change `routes`, which takes effect as soon as it is saved",
    "upstream": "/upstream/NAME/… is for admins alone, and loads nothing by itself",
    "sendLoadingState": LOADING,
})  # fmt: skip
_READ: Final = frozenset({
    "models", "peers", "selectors", "groups", "matrix", "routing", "macros", "hooks", "apiKeys", "globalTTL",
    "healthCheckTimeout", "includeAliasesInList", "logLevel",
})  # fmt: skip
_LEVELS: Final[Mapping[str, str]] = MappingProxyType({"debug": "debug", "warn": "warning", "error": "error"})
_MEASURED: Final = "what fits into memory together is measured, and models that don't fit take turns (docs/models.md)"


def imported(source: Source, runs: Callable[[str], bool] = lambda _: False) -> Imported:
    """Read a configuration. `runs` tells of a path whether it is the llama-server that the router itself runs."""
    return _Reading(source, runs).all()


class _Reading:
    """One walk over a configuration."""

    def __init__(self, source: Source, runs: Callable[[str], bool]) -> None:
        self._source = source
        self._runs = runs
        self._macros = mapping(source.data.get("macros"))
        self._all = Macros(self._macros)
        self._found = Imported(WHOSE, source.file, PORT)
        self._names = Names()
        self._meanings = Meanings(self._found)

    def all(self) -> Imported:
        said = self._source.data
        groups, sets = self._groups()
        shared = Shared(
            ttl=whole(self._all.expanded(said.get("globalTTL"))) or 0,
            ready_within=whole(self._all.expanded(said.get("healthCheckTimeout"))) or 0,
            preload=self._preloaded(),
            pinned=frozenset(each for group in groups.values() for each in _persistent(group)),
            lists_aliases=is_true(self._all.expanded(said.get("includeAliasesInList"))),
            runs=self._runs,
        )
        for name, each in mapping(said.get("models")).items():
            macros = Macros(self._macros, mapping(mapping(each).get("macros")), model=name)
            model = swap_models.Model(name, mapping(each), macros, shared, self._source, self._found)
            self._found.entries.append(model.entry(self._names, self._meanings))
        self._peers(mapping(self._all.expanded(said.get("peers"))))
        self._meanings.select(self._source, mapping(self._all.expanded(said.get("selectors"))))
        self._keys()
        level = _LEVELS.get(str(said.get("logLevel")))
        if level is not None:
            self._found.sections["logging"] = {"level": level}
        self._leave(groups, sets)
        return self._found

    # Groups

    def _groups(self) -> tuple[Mapping[str, Any], bool]:
        """Give the groups, and whether a matrix stands in their place."""
        said = self._source.data
        settings = mapping(mapping(mapping(said.get("routing")).get("router")).get("settings"))
        use = mapping(mapping(said.get("routing")).get("router")).get("use")
        is_matrix = "matrix" in said or use == "matrix"
        groups = said.get("groups") or (settings.get("groups") if use != "matrix" else None)
        return mapping(self._all.expanded(groups)), is_matrix

    def _preloaded(self) -> frozenset[str]:
        hooks = mapping(self._all.expanded(self._source.data.get("hooks")))
        return frozenset(each.strip() for each in texts(mapping(hooks.get("on_startup")).get("preload")))

    # Peers

    def _peers(self, peers: Mapping[str, Any]) -> None:
        ours = [*peers.items()]
        bare = Counter(model for _, each in ours for model in dict.fromkeys(texts(mapping(each).get("models"))))
        for name, each in ours:
            said, line = mapping(each), self._source.line("peers", name)
            about = f"peer {name}"
            changes = filters(mapping(said.get("filters")), self._found, f"peers.{name}.filters", line)
            models: dict[str, Value] = {}
            for model in dict.fromkeys(texts(said.get("models"))):
                known = [(model, False)] if bare[model] == 1 and not self._meanings.knows(model) else []
                whole_name = f"{name}/{model}"
                models[self._meanings.serve(whole_name, known, changes, line)] = model
            keys: dict[str, Value] = {"name": self._names.new(name), "url": self._base(str(said.get("proxy")), about)}
            if key := said.get("apiKey"):
                keys["api_key"] = self._key_of(name, str(key), about)
            entry = Entry({**keys, "models": models}, f"{name}, a peer", line)
            if not models:
                entry.reason = "it names no models"
            self._found.entries.append(entry)
            if "timeouts" in said:
                self._found.leave(f"peers.{name}.timeouts", TIMEOUTS, self._source.line("peers", name, "timeouts"))

    def _base(self, proxy: str, about: str) -> str:
        """Write the base of a peer's API."""
        base = base_of(proxy)
        if "${" not in base:
            return self._found.url(base, about, f"where {about} is")
        written = carried(base, self._found, about)
        for name in self._found.variables:
            if f"${{{name}}}" in str(written):
                self._found.refer(name, about, needed=True, is_url=str(written).startswith("${"))
        return str(written)

    def _key_of(self, name: str, key: str, about: str) -> str:
        if "${" in key:
            return str(carried(key, self._found, f"key of {about}"))
        line = self._source.line("peers", name, "apiKey")
        return self._found.secret(f"{name}_API_KEY", f"key of {about}: as in line {line}")

    # Keys

    def _keys(self) -> None:
        keys: list[Value] = []
        said = [each for each in texts(self._all.expanded(self._source.data.get("apiKeys"))) if each.strip()]
        for index, each in enumerate(dict.fromkeys(said)):
            name = f"client-{index + 1}"
            if "${env." in each:
                keys.append({"name": name, "key": carried(each, self._found, f"key of {name}")})
            else:
                keys.append({"name": name, "hash": hashed(each)})
        if keys:
            self._found.sections["auth"] = {"keys": keys}
            self._found.advice.append(
                "Clients' keys are in `auth.keys` by their hashes: they go on as they are. /admin, /logs, /unload and "
                "the like are for admins: `python -m router key new --name me --admin` makes a key of theirs."
            )

    # What is left

    def _leave(self, groups: Mapping[str, Any], is_matrix: bool) -> None:  # noqa: FBT001
        source, found = self._source, self._found
        path: tuple[str, ...]
        for name, group in groups.items():
            path = ("groups",) if "groups" in source.data else ("routing", "router", "settings", "groups")
            at = ".".join((*path, literal(name)))
            found.leave(at, _MEASURED, source.line(*path, name), is_lost=False)
            self._leave_unknown(f"{at}.members", texts(mapping(group).get("members")), source.line(*path, name))
        self._leave_unknown("hooks.on_startup.preload", self._preloaded(), source.line("hooks"))
        if is_matrix:
            path = ("matrix",) if "matrix" in source.data else ("routing", "router", "settings", "matrix")
            found.leave(".".join(path), _MEASURED, source.line(*path), is_lost=False)
        elif not groups and len(mapping(source.data.get("models"))) > 1:
            found.advice.append(
                "llama-swap ran one model at a time, as no groups said otherwise. Here models stay loaded as long as "
                "they fit into memory together; `memory.limit` bounds that."
            )
        scheduler = mapping(mapping(source.data.get("routing")).get("scheduler"))
        if mapping(mapping(mapping(scheduler.get("settings")).get("fifo")).get("priority")):
            why = "priorities are those of keys (`auth.keys[].priority`) and of requests, not of models"
            found.leave("routing.scheduler", why, source.line("routing", "scheduler"))
        for name in source.data:
            if name in _NEEDLESS:
                found.leave(name, _NEEDLESS[name], source.line(name), is_lost=False)
            elif name in _LOST:
                if name != "sendLoadingState" or is_true(source.data[name]):
                    found.leave(name, _LOST[name], source.line(name))
            elif name not in _READ and not name.startswith("x-"):
                found.leave(name, UNKNOWN, source.line(name))

    def _leave_unknown(self, where: str, names: Iterable[str], line: int) -> None:
        models = mapping(self._source.data.get("models"))
        known = {*models, *(alias for each in models.values() for alias in texts(mapping(each).get("aliases")))}
        for name in sorted({*names} - known):
            self._found.leave(f"{where}: {name}", "no model is called so", line)


def _persistent(group: object) -> list[str]:
    """Give the members of a group that stays loaded; of one whose members swap, none can."""
    said = mapping(group)
    members = texts(said.get("members"))
    stays = is_true(said.get("persistent")) and (said.get("swap") is False or len(members) == 1)
    return members if stays else []
