"""One of llama-swap's `models` → an entry of `backends`. Pure.

1. a command of llama-server is `model` and `args`, so that its memory can be counted
2. any other command that is told its port is `cmd`
3. a command whose server is elsewhere, or at a port that nobody tells it, is a `url`
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from router.importing.commands import (
    LLAMA_SERVER,
    PORT,
    Command,
    Launched,
    flags,
    is_name_of_secret,
    launched,
    secrets,
    split,
    uncommented,
    with_port,
    without_keys,
)
from router.importing.imported import Entry, Imported, Names, Value, duration, is_true, mapping, texts, whole
from router.importing.reasons import ENDS, FOUND_OUT, LOADING, TIMEOUTS, UNKNOWN
from router.importing.swap_macros import Macros, carried, unknown
from router.importing.swap_names import Meanings, filters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from router.importing.source import Source

AT_ONCE: Final = 10
"""Requests that llama-swap has a model work on, unless `concurrencyLimit` says otherwise."""

_SHORTEST: Final = 15
"""Seconds that llama-swap waits for a model at least, whatever `healthCheckTimeout` says."""
_HERE: Final = frozenset({"localhost", "127.0.0.1", "0.0.0.0", "::1", "host.docker.internal", None})
_FREE_PORT = re.compile(r"(?<=:)\{port\}")

_NEEDLESS: Final[Mapping[str, str]] = MappingProxyType({
    "name": FOUND_OUT, "description": FOUND_OUT, "metadata": FOUND_OUT, "capabilities": FOUND_OUT,
    "unloadTimeout": ENDS,
    "compat": "only requests load a model here, and count as its use",
})  # fmt: skip
_LOST: Final[Mapping[str, str]] = MappingProxyType({"timeouts": TIMEOUTS, "sendLoadingState": LOADING})
_OWN_PROGRAM: Final = (
    "A llama-server that is named by its path stays a command: for `engine: llama_server` the router runs one alone, "
    "that on PATH, or the package. What a command takes of memory is known once it was loaded; until then, `memory` "
    "may say it. To have it as a model, put its folder on PATH, and import again."
)
_READ: Final = frozenset({
    "cmd", "cmdStop", "proxy", "aliases", "env", "checkEndpoint", "ttl", "unlisted", "useModelName", "concurrencyLimit",
    "filters", "macros", "healthCheckTimeout",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shared:
    """What holds for all models. `runs` tells of a path whether it is the llama-server that the router runs."""

    ttl: int = 0
    ready_within: int = 0
    preload: frozenset[str] = frozenset()
    pinned: frozenset[str] = frozenset()
    lists_aliases: bool = False
    runs: Callable[[str], bool] = lambda _: False


class Model:
    """One model, with what its macros mean."""

    def __init__(
        self, name: str, said: Mapping[str, Any], macros: Macros, shared: Shared, source: Source, found: Imported
    ) -> None:
        self._name = name
        self._written = said
        # Comments of a command go first: a macro in one must not become part of it.
        said = {**said, "cmd": uncommented(str(said.get("cmd") or ""))}
        self._said = mapping(macros.expanded({key: each for key, each in said.items() if key != "macros"}))
        self._shared = shared
        self._source = source
        self._found = found

    def entry(self, names: Names, meanings: Meanings) -> Entry:
        """Give its entry; notes what is left out of it, and its other names."""
        said, line = self._said, self._line()
        changes = filters(mapping(said.get("filters")), self._found, f"models.{self._name}.filters", line)
        names_of_filters = [each for each in changes.by_name if each != self._name]
        aliases = dict.fromkeys([*texts(said.get("aliases")), *names_of_filters])
        others = [(alias, self._shared.lists_aliases) for alias in aliases]
        unlisted = is_true(said.get("unlisted"))
        if unlisted:
            self._leave(
                "unlisted", "/v1/models lists every model of a backend; `auth.keys[].models` bounds who sees it"
            )
        served = meanings.serve(self._name, others, changes, line, unlisted=unlisted)
        about = " ".join(str(said.get("name") or self._name).split())
        backend = names.new(self._name)
        entry = Entry({"name": backend}, f"{self._name}: {about}" if about != self._name else about, line)
        try:
            self._started(entry, served)
        except ValueError as error:
            entry.reason = f"its command can't be read: {error}"
            self._leave("cmd", entry.reason)
        for key, each in said.items():
            for macro in dict.fromkeys(unknown(each)):
                self._leave(f"{key}: {macro}", "no macro is called so, and llama-swap itself would not start")
        for key in self._written:
            if key in _NEEDLESS:
                self._leave(key, _NEEDLESS[key], is_lost=False)
            elif key in _LOST:
                self._leave(key, _LOST[key])
            elif key not in _READ:
                self._leave(key, UNKNOWN)
        return entry

    def _started(self, entry: Entry, served: str) -> None:
        """Add how it is started, or where it is. Raises ValueError for a command that can't be read."""
        command = split(str(self._said["cmd"]))
        host, port = self._proxy()
        program = command.words[0]
        is_usual = program == LLAMA_SERVER or (command.program == LLAMA_SERVER and self._shared.runs(program))
        runs = launched(command) if is_usual and host in _HERE else ""
        if isinstance(runs, Launched):
            self._as_model(entry, served, runs)
            return
        if runs:
            entry.about += f". A command, not a model, as {runs}"
        words, had_key = without_keys(with_port(command.words, port))
        variables = {**self._env(), **command.env}
        is_told = any(PORT in each for each in (*words, *variables.values()))
        if host in _HERE and is_told:
            if had_key:
                self._leave("cmd: --api-key", "the router makes a key for each program: see docs/commands.md")
            self._as_command(entry, served, Command(words, variables))
            return
        self._as_url(entry, served, "it answers on another machine" if is_told else "nothing tells it its port")

    # 1. A model

    def _as_model(self, entry: Entry, served: str, runs: Launched) -> None:
        if served != entry.name:
            entry.keys["models"] = [served]
        if limit := whole(self._said.get("concurrencyLimit")):
            entry.keys["max_in_flight"] = limit
        if runs.guessed:
            entry.about += ". Its quantisation isn't named: the usual one is taken"
        for flag, why in runs.left.items():
            self._leave(f"cmd: {flag}", why)
        launch: dict[str, Value] = {"engine": "llama_server", "model": self._text(runs.model)}
        if runs.args:
            launch["args"] = {name: self._value(each) for name, each in runs.args.items()}
        entry.keys["launch"] = {**launch, **self._environment({**self._env(), **runs.env}), **self._kept()}

    # 2. Any command

    def _as_command(self, entry: Entry, served: str, command: Command) -> None:
        self._renamed(entry, served)
        engine = command.engine
        launch: dict[str, Value] = {"cmd": self._words(_on_this_machine(command.words) if engine else command.words)}
        if engine:
            launch["engine"] = engine
        if command.program == LLAMA_SERVER:
            self._found.advise(_OWN_PROGRAM)
        ready = str(self._said.get("checkEndpoint") or "/health")
        if ready == "none":
            ready = "/v1/models"
            why = f"a program is sent requests once a path says 200: {ready} is taken; where it has none, `ready: /`"
            self._leave("checkEndpoint: none", why)
        if ready != "/health":
            launch["ready"] = ready if ready.startswith("/") else f"/{ready}"
        if command.program in {"docker", "podman"}:
            entry.about += ". A container's memory isn't measured: say it by `memory`"
        limit = whole(self._said.get("concurrencyLimit")) or _parallel(command) or AT_ONCE
        entry.keys["launch"] = {**launch, "parallel": limit, **self._environment(command.env), **self._kept()}

    def _words(self, words: tuple[str, ...]) -> list[str]:
        found = [self._text(each) for each in words]
        for at, name, secret in secrets(words):
            reference = self._found.secret(name, f"{name} of {self._name}: as in line {self._line('cmd')}")
            found[at] = found[at].replace(self._text(secret), reference)
        return found

    # 3. A url

    def _as_url(self, entry: Entry, served: str, why: str) -> None:
        proxy = str(self._said.get("proxy") or "")
        url = urlsplit(proxy)
        if PORT in proxy or not url.scheme:
            entry.keys["url"] = _FREE_PORT.sub("8080", proxy) or "http://127.0.0.1:8080"
            entry.reason = f"{why}: write {PORT} into a `cmd`, or its address into `url`"
            self._leave("cmd", entry.reason)
            return
        base = base_of(proxy)
        entry.keys["url"] = (
            self._text(base) if "${" in base else self._found.url(base, self._name, f"where {self._name} is")
        )
        self._renamed(entry, served)
        entry.keys.setdefault("models", [served])
        self._leave("cmd", f"{why}, so that it isn't started here: start it yourself, or write {PORT} into a `cmd`")

    # Parts

    def _renamed(self, entry: Entry, served: str) -> None:
        """Say which name the program knows, where that isn't the backend's."""
        known = str(self._said.get("useModelName") or self._name)
        if known != served:
            entry.keys["models"] = {served: self._text(known)}
        elif served != entry.name:
            entry.keys["models"] = [served]

    def _kept(self) -> dict[str, Value]:
        """Say when it is loaded, and for how long."""
        shared, said = self._shared, self._said
        keys: dict[str, Value] = {}
        names = {self._name, *texts(said.get("aliases"))}
        if not names & shared.preload:
            keys["load"] = "on_demand"
        ttl = whole(said.get("ttl"))
        ttl = shared.ttl if ttl is None or ttl < 0 else ttl
        if ttl:
            keys["unload_after"] = duration(ttl)
        elif self._name in shared.pinned:
            keys["pinned"] = True
        if ready_within := whole(said.get("healthCheckTimeout")) or shared.ready_within:
            keys["start_timeout"] = duration(max(ready_within, _SHORTEST))
        if stop := said.get("cmdStop"):
            why = "the router ends a program with SIGTERM, which `docker run` passes on, and kills it if need be"
            self._leave("cmdStop", why, is_lost=not re.match(r"(docker|podman)\s+(stop|kill)\b", str(stop)))
        return keys

    def _env(self) -> dict[str, str]:
        said = [each.partition("=") for each in texts(self._said.get("env"))]
        return {name: value for name, _, value in said if name}

    def _environment(self, variables: Mapping[str, str]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for name, value in variables.items():
            is_secret = is_name_of_secret(name) and value and "${" not in value
            about = f"{name} of {self._name}: as in line {self._line('env')}"
            found[name] = self._found.refer(name, about) if is_secret else self._text(value)
        return {"env": found} if found else {}

    def _proxy(self) -> tuple[str | None, int | None]:
        """Give the host and the fixed port of its server; None where they aren't said."""
        proxy = str(self._said.get("proxy") or "")
        try:
            url = urlsplit(_FREE_PORT.sub("0", proxy))
            host, port = url.hostname, url.port or None
        except ValueError:
            return None, None
        if url.path.strip("/") and host in _HERE and PORT in proxy:
            self._leave("proxy", f"a program that the router starts is asked at /v1: {url.path} is left out")
        return host, port

    def _value(self, value: Value) -> Value:
        return carried(value, self._found, f"arguments of {self._name}")

    def _text(self, text: str) -> str:
        return str(self._value(text))

    def _line(self, *path: str) -> int:
        return self._source.line("models", self._name, *path)

    def _leave(self, what: str, why: str, *, is_lost: bool = True) -> None:
        line = self._line(what.partition(":")[0])
        self._found.leave(f"models.{self._name}.{what}", why, line, is_lost=is_lost)


def base_of(proxy: str) -> str:
    """Give the base of the API at a `proxy`: llama-swap adds /v1 to its path, the router only where it has none."""
    base = proxy.rstrip("/")
    try:
        url = urlsplit(base)
    except ValueError:
        return base
    return f"{base}/v1" if url.netloc and url.path.strip("/") else base


def _on_this_machine(words: Sequence[str]) -> tuple[str, ...]:
    """Have an engine listen on this machine alone: the router is what others ask."""
    hosts = [at for at, word in enumerate(words[:-1]) if word == "--host" and words[at + 1] in {"0.0.0.0", "::"}]
    return tuple("127.0.0.1" if at - 1 in hosts else word for at, word in enumerate(words))


def _parallel(command: Command) -> int:
    """Give how many requests a command says that its program works on; 0 if it doesn't."""
    names = {"-np", "--parallel", "--max-num-seqs", "--max-running-requests"}
    found = [whole(value) for name, value in flags(command.words[1:]) if name in names]
    return next((each for each in found if each and each > 0), 0)
