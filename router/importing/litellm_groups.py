"""LiteLLM's model groups: deployments of one name, their order, fallbacks and aliases → models and routes. Pure.

A group is a model that several backends serve. Where requests for it are changed, or go on to others, its name is a
route's, and its backends serve it under another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.importing.imported import PLAIN, Imported, Route, Value, is_true, listed, mapping

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router.importing.litellm_deployments import Deployment

ANY: Final = "*"
NEXT_ON: Final = [400, 408, 422, 500]
"""Statuses after which LiteLLM goes on to a fallback, beside those after which the router does so anyhow."""

_ORDERED: Final = [408, 500]


class Groups:
    """What each name means."""

    def __init__(self, deployments: Sequence[Deployment], found: Imported) -> None:
        self._found = found
        self._groups: dict[str, list[Deployment]] = {}
        for each in deployments:
            if ANY not in each.group:
                self._groups.setdefault(each.group, []).append(each)
        self._ids = {each.id: each for each in deployments if each.id}
        self._fallbacks: dict[str, list[str]] = {}
        self._longer: dict[str, list[str]] = {}
        self._aliases: dict[str, str] = {}

    def fall_back(self, said: object, what: str, line: int, *, longer: bool = False) -> None:
        """Note fallbacks: a list of mappings of a group to those that follow it. `longer`: for prompts too long."""
        for each in listed(said):
            for group, targets in mapping(each).items():
                names = [self._target(target, f"{what}: {group}", line) for target in listed(targets)]
                (self._longer if longer else self._fallbacks)[group] = [name for name in names if name]

    def fall_back_all(self, targets: object, what: str, line: int) -> None:
        """Note what follows each group that has no fallbacks of its own."""
        self._fallbacks[ANY] = [name for each in listed(targets) if (name := self._target(each, what, line))]

    def _target(self, target: object, what: str, line: int) -> str:
        if isinstance(target, str) and (target in self._groups or target in self._ids):
            return target
        why = "a route leads to models" if not isinstance(target, str) else f"{target} is no model here"
        self._found.leave(what, why, line)
        return ""

    def names(self, each: Deployment) -> list[str]:
        """Give the names under which a backend serves a deployment."""
        group = each.group
        inner = self._levels(group)[self._level(each)] if self._is_route(group) else group
        is_target = each.id and any(each.id in targets for targets in self._all_targets())
        return [inner, each.id] if is_target and each.id not in self._groups else [inner]

    def routes(self, aliases: Mapping[str, Any], what: str, line: int) -> None:
        """Write the routes of groups, then those of aliases."""
        routes = self._found.routes
        for group in self._groups:
            if self._is_route(group):
                routes[group] = self._route(group)
        for alias, said in aliases.items():
            target = str(mapping(said).get("model") or said)
            if alias in self._groups:
                continue
            if target not in self._groups:
                self._found.leave(f"{what}.{alias}", f"{target} is no model here", line)
                continue
            hidden = is_true(mapping(said).get("hidden"))
            routes[alias] = (routes[target] if target in routes else Route([target])).like(hidden=hidden, line=line)

    def _route(self, group: str) -> Route:
        first = self._groups[group][0]
        keys: dict[str, Value] = {}
        if default := self._common(group):
            keys["default"] = default
        if strip := [name for name in first.strip if name not in default]:
            keys["strip"] = strip
        chain = [*self._chain(group, []), *(each for last in self._last(group) for each in self._models(last))]
        chain = [*dict.fromkeys(chain)]
        if len(chain) > 1:
            keys["next_on"] = NEXT_ON if self._follows(group) or self._last(group) else _ORDERED
        return Route(chain, keys, first.line)

    def _common(self, group: str) -> dict[str, Value]:
        """Give the fields that all deployments of a group add alike; the others are noted."""
        deployments = self._groups[group]
        first = deployments[0].default
        common = {name: each for name, each in first.items() if all(d.default.get(name) == each for d in deployments)}
        differ = sorted({name for d in deployments for name in d.default} - common.keys())
        if differ:
            why = "its deployments say it differently, and a route is one for all of them"
            self._found.leave(f"{group}: {', '.join(differ)}", why, deployments[0].line)
        return common

    def _chain(self, group: str, before: list[str]) -> dict[str, None]:
        """Give the models of a group, then those of what follows it, and of what follows that; each once."""
        if group in before:
            return {}
        found = dict.fromkeys(self._models(group))
        for target in self._follows(group):
            found |= self._chain(target, [*before, group])
        return found

    def _models(self, group: str) -> list[str]:
        return self._levels(group) if self._is_route(group) else [group]

    def _follows(self, group: str) -> list[str]:
        general = self._fallbacks.get(group)
        if general is None:
            general = self._fallbacks.get(ANY, []) if group in self._groups else []
        return [name for name in general if name != group]

    def _last(self, group: str) -> list[str]:
        """Give what follows for too long a prompt: last, as what follows a model gets its failures, too."""
        before, groups = list[str](), [group]
        while groups:
            each = groups.pop(0)
            if each not in before:
                before.append(each)
                groups += self._follows(each)
        return [name for each in before for name in self._longer.get(each, []) if name != group]

    def _is_route(self, group: str) -> bool:
        deployments = self._groups.get(group, [])
        return bool(self._follows(group) or self._longer.get(group)) or any(
            each.default or each.strip or each.order != deployments[0].order for each in deployments
        )

    def _levels(self, group: str) -> list[str]:
        """Give the names of a group's models, one for each order of its deployments."""
        orders = self._orders(group)
        return [f"{group}{PLAIN}" + (f"-{number}" if number > 1 else "") for number in range(1, len(orders) + 1)]

    def _level(self, each: Deployment) -> int:
        return self._orders(each.group).index(_order(each))

    def _orders(self, group: str) -> list[float]:
        return sorted({_order(each) for each in self._groups[group]})

    def _all_targets(self) -> list[list[str]]:
        return [*self._fallbacks.values(), *self._longer.values()]


def _order(each: Deployment) -> float:
    return float("inf") if each.order is None else each.order
