"""/admin/openapi.json: the table as OpenAPI 3.1, which other programs make clients, pages and tests from."""

from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic.json_schema import models_json_schema

from router.api.admin.endpoint import Endpoint

JSON: Final = "application/json"
_REF: Final = "#/components/schemas/{model}"
_ERRORS: Final = {
    400: "The request is wrong; `param` names the field.",
    401: "No admin key was sent, and one is needed.",
    403: "The key's scopes don't allow it; or, without keys, the request isn't one of this machine's own.",
}


def described(table: Sequence[Endpoint[Any, Any, Any]], version: str) -> dict[str, Any]:
    """Describe the endpoints of a router of this version."""
    told: list[type[Any]] = list({kind: None for each in table for kind in (each.fails, each.tells)})
    asked = list({each.asks: None for each in table})
    kinds: list[tuple[type[Any], Literal["serialization", "validation"]]] = []
    kinds += [(each, "serialization") for each in told]
    kinds += [(each, "validation") for each in asked]
    found, schemas = models_json_schema(kinds, ref_template=_REF)
    shapes: dict[type[Any], Any] = {kind: shape for (kind, _), shape in found.items()}
    paths: dict[str, dict[str, Any]] = {}
    for each in table:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, shapes, schemas["$defs"])
    kept = {name: shape for name, shape in schemas["$defs"].items() if name not in {kind.__name__ for kind in asked}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "router's management API",
            "version": version,
            "description": "Later versions may add fields to answers, but take none away.",
        },
        "paths": paths,
        "components": {
            "schemas": kept,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "One of auth.admin_keys."}},
        },
        "security": [{"key": []}, {}],
    }


def _operation(each: Endpoint[Any, Any, Any], shapes: dict[type[Any], Any], known: dict[str, Any]) -> dict[str, Any]:
    stops = {} if each.lasts else {503: "The router is stopping."}
    answers, failures = {200: "It is done.", **each.others}, _ERRORS | stops | dict(each.errors)
    told, failed = _content(shapes[each.tells], _kind(each)), _content(shapes[each.fails])
    either = _content({"anyOf": [shapes[each.tells], shapes[each.fails]]})
    return {
        "operationId": each.operation,
        "summary": each.doc,
        **({} if each.scope is None else {"x-scope": each.scope.value}),
        **_asked(each, known[each.asks.__name__]),
        "responses": {
            str(status): {
                "description": said,
                "content": told if status not in failures else failed if status not in answers else either,
            }
            for status, said in {**answers, **failures}.items()
        },
    }


def _asked(each: Endpoint[Any, Any, Any], shape: dict[str, Any]) -> dict[str, Any]:
    """Describe the fields of a request: those of the path, headers, one that is the body, the others in the query."""
    fields: dict[str, Any] = shape.get("properties", {})
    parameters = [
        {
            "name": each.asks.headers.get(name, name),
            "in": "path" if name in each.in_path else "header" if name in each.asks.headers else "query",
            "required": name in shape.get("required", ()),
            "schema": {key: value for key, value in field.items() if key != "title"},
            **({"example": each.example[name]} if name in each.example else {}),
        }
        for name, field in fields.items()
        if name != each.asks.raw
    ]
    raw = each.asks.raw
    body = {"required": True, "content": {"text/plain": {"schema": fields[raw]}}} if raw else None
    return {"parameters": parameters} | ({"requestBody": body} if body else {})


def _kind(each: Endpoint[Any, Any, Any]) -> str:
    if each.passes:
        return "*/*"
    if each.is_text:
        return "text/plain"
    return "text/event-stream" if each.streams else JSON


def _content(shape: dict[str, Any], kind: str = JSON) -> dict[str, Any]:
    return {kind: {"schema": shape}}
