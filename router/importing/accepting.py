"""Tries what was imported as router.yaml would be read. An entry that can't be used becomes a comment, with the reason.

So whatever another program's file says, what is written can be used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from router.config import ConfigError, load
from router.importing.writing import entry, inline, section, written
from router.scan.entries import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.importing.imported import Entry, Imported, Route, Variable

_FILE = Path("router.yaml")
_BACKEND = 'backends: [{url: "http://127.0.0.1:1"}]'


def accepted(imported: Imported) -> str:
    """Give the text of a router.yaml that can be used, once its variables are set.

    Raises ConfigError where nothing is left that could be used.
    """
    environ = stand_ins(imported.variables)
    for each in imported.entries:
        if not each.reason and (why := _why_not(each, environ)):
            each.reason = why
            imported.leave(f"backend {each.name}", why, each.line)
    for name, keys in [*imported.sections.items()]:
        if why := _tried("\n".join([_BACKEND, *section(name, keys)]), environ):
            imported.leave(name, why)
            del imported.sections[name]
    served, complete = _served(imported)
    for name, route in [*imported.routes.items()]:
        lacking = [model for model in route.to if complete and model not in served]
        route.to = [model for model in route.to if model not in lacking]
        why = f"it leads to {', '.join(lacking)}, which no backend here serves" if lacking else ""
        if name in served:
            imported.leave(f"route {name}", "a model has this name, too", route.line)
            del imported.routes[name]
        elif lacking and route.to:
            imported.leave(f"route {name}", why, route.line)
        elif lacking or (why := _why_no_route(name, route, environ)):
            imported.leave(f"route {name}", why, route.line)
            del imported.routes[name]
    text = written(imported)
    load(_FILE, environ, text.encode())
    return text


def stand_ins(variables: Mapping[str, Variable]) -> dict[str, str]:
    """Give an environment in which all variables are set."""
    return {name: "http://127.0.0.1:1" if each.is_url else f"value-of-{name}" for name, each in variables.items()}


def _served(imported: Imported) -> tuple[set[str], bool]:
    """Give the models of all backends, and whether they are all: a url without any is asked for them."""
    usable = [each.keys for each in imported.entries if not each.reason]
    found: set[str] = set()
    for keys in usable:
        models = keys.get("models")
        if isinstance(models, dict | list):
            found |= {str(each) for each in models}
        elif "launch" in keys:
            found.add(str(keys["name"]))
    return found, all("launch" in keys or keys.get("models") for keys in usable)


def _why_not(each: Entry, environ: Mapping[str, str]) -> str:
    return _tried("\n".join(["backends:", *entry(each)]), environ)


def _why_no_route(name: str, route: Route, environ: Mapping[str, str]) -> str:
    """Try a route before a backend that has its models."""
    models = ", ".join(quoted(each) for each in dict.fromkeys(route.to))
    backend = f'backends: [{{url: "http://127.0.0.1:1", models: [{models}]}}]'
    keys = {"to": route.to, **route.keys}
    return _tried(f"{backend}\nroutes:\n  {quoted(name)}: {inline(keys)}\n", environ)


def _tried(text: str, environ: Mapping[str, str]) -> str:
    """Say why router.yaml can't have this; "" if it can."""
    try:
        load(_FILE, environ, text.encode())
    except ConfigError as error:
        # Where it stands in this text says nothing to anybody.
        return "; ".join(f"{each.key.rpartition('].')[2] or each.key}: {each.message}" for each in error.problems[:3])
    return ""
