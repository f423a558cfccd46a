"""What names mean in llama-swap: models, aliases, selectors, and models of peers, with the filters that each has. Pure.

In router.yaml a model's own name is sent on as it came: only a route changes a request. So a model with filters has the
name of a route, and its backend serves it under another one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from router.importing.imported import FIXED, PLAIN, Imported, Route, is_true, mapping, texts
from router.importing.reasons import WHOLE_FIELDS
from router.importing.swap_macros import carried

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router.importing.imported import Value
    from router.importing.source import Source


@dataclass(frozen=True, slots=True)
class Filters:
    """What a model's or a peer's `filters` say: fields that are dropped and set, and those set for one name alone.

    A field whose name ends in ? is set where a client left it out.
    """

    strip: tuple[str, ...] = ()
    set: Mapping[str, Value] = field(default_factory=dict)
    by_name: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)

    def for_name(self, name: str) -> dict[str, Value]:
        """Give a route's keys for a name that clients ask for. Fields are dropped first, then set, then the name's."""
        changes: dict[str, Value] = {}
        defaults: dict[str, Value] = {}
        for stage in (self.set, self.by_name.get(name, {})):
            for key, value in stage.items():
                if not key.endswith("?"):
                    changes[key] = value
                elif (key := key[:-1]) in self.strip:
                    changes.setdefault(key, value)
                elif key not in changes:
                    defaults.setdefault(key, value)
        strip: list[Value] = [each for each in self.strip if each not in changes]
        defaults = {key: value for key, value in defaults.items() if key not in changes}
        keys: dict[str, Value] = {"set": changes, "default": defaults, "strip": strip}
        return {key: value for key, value in keys.items() if value}


def filters(said: Mapping[str, Any], imported: Imported, what: str, line: int) -> Filters:
    """Read filters, whose macros are replaced already."""
    reading = _Changes(imported, what, line)
    strip = [each.strip() for each in ",".join(texts(said.get("stripParams") or said.get("strip_params"))).split(",")]
    return Filters(
        tuple(dict.fromkeys(each for each in strip if each and reading.can_have(each))),
        reading.of(mapping(said.get("setParams"))),
        {name: reading.of(mapping(each)) for name, each in mapping(said.get("setParamsByID")).items()},
    )


class _Changes:
    """Reads fields of requests; notes those that no route changes."""

    def __init__(self, imported: Imported, what: str, line: int) -> None:
        self._imported = imported
        self._what = what
        self._line = line

    def can_have(self, name: str) -> bool:
        """Whether a route may change this field."""
        if name in FIXED or "." in name:
            # llama-swap leaves the model as it is, too.
            why = WHOLE_FIELDS if "." in name else "whether an answer is streamed is for clients to say"
            if name != "model":
                self._imported.leave(f"{self._what}: {name}", why, self._line)
            return False
        return True

    def of(self, said: Mapping[str, Any]) -> dict[str, Value]:
        """Give the fields that are set. One within another, as `a.b`, becomes that one with this alone."""
        found: dict[str, Value] = {}
        for name, value in said.items():
            field_name, *inside = name.split(".")
            if inside:
                why = f"a route sets whole fields: {field_name} has this alone then"
                self._imported.leave(f"{self._what}: {name}", why, self._line)
                mark = "?" if name.endswith("?") else ""
                inner: Value = carried(value, self._imported, f"{self._what}: {name}")
                for each in reversed(inside):
                    inner = {each.removesuffix("?"): inner}
                before = found.get(field_name + mark)
                found[field_name + mark] = {**mapping(before), **mapping(inner)}
            elif self.can_have(name.removesuffix("?")):
                found[name] = carried(value, self._imported, f"{self._what}: {name}")
        return found


class Meanings:
    """What each name that clients may ask for leads to. The first meaning of a name stands, as in llama-swap."""

    def __init__(self, imported: Imported) -> None:
        self._imported = imported
        self._means: dict[str, Route] = {}

    def serve(
        self, name: str, others: Sequence[tuple[str, bool]], said: Filters, line: int, *, unlisted: bool = False
    ) -> str:
        """Note a model and its other names, each of them listed or not. Gives the name that its backend serves."""
        own, routes = said.for_name(name), self._imported.routes
        served = f"{name}{PLAIN}" if own else name
        if own:
            routes[name] = Route([served], own, line).like(hidden=unlisted)
        self._means[name] = routes.get(name, Route([name]))
        for other, is_listed in others:
            if other not in self._means:
                routes[other] = Route([served], said.for_name(other), line).like(hidden=not is_listed)
                self._means[other] = routes[other]
        return served

    def select(self, source: Source, expanded: Mapping[str, Any]) -> None:
        """Note selectors: names that lead to one of several models."""
        for name, each in mapping(expanded).items():
            said, line = mapping(each), source.line("selectors", name)
            targets = [self._means[target] for target in texts(said.get("targets")) if target in self._means]
            strategy = said.get("strategy")
            if strategy == "pin":
                targets = targets[:1]
            if not targets:
                self._imported.leave(f"selectors.{name}", "its targets are no models here", line)
                continue
            if strategy == "spillover":
                self._imported.leave(
                    f"selectors.{name}.strategy: spillover",
                    "a route goes on to its next model when those before it can't be served, or aren't loaded, not at "
                    "a number of requests; on several backends of one model requests spread by themselves",
                    line,
                )
            keys = targets[0].keys
            if any(_changing(each) != _changing(targets[0]) for each in targets):
                self._imported.leave(
                    f"selectors.{name}", "its targets' filters differ: it has those of the first", line
                )
            to = dict.fromkeys(model for target in targets for model in target.to)
            route = Route([*to], keys, line).like(hidden=is_true(said.get("unlisted")))
            self._means[name] = self._imported.routes[name] = route

    def knows(self, name: str) -> bool:
        """Whether a name means something already."""
        return name in self._means


def _changing(route: Route) -> Mapping[str, Value]:
    return {name: value for name, value in route.keys.items() if name != "hidden"}
