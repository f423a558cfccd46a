"""The page docs/management.md, made from the table; `python -m scripts.make_management_docs` writes it."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from pydantic_core import PydanticUndefined

from router.api.admin.endpoint import Endpoint

_INTRODUCTION: Final = """\
# Management

What a running router does, and the levers over it, by command and over HTTP. This page is made from the table that the
router itself serves (`python -m scripts.make_management_docs`); `GET /admin/openapi.json` is the same for programs.

## Who may

Without `auth.admin_keys`, programs on this machine may read and manage, but nothing that a proxy passes on, and no page
of another site ([security.md](security.md)). With them, whoever sends one of these keys may do what its `scopes` say;
it is sent as `Authorization: Bearer KEY`.

| scope | allows |
|---|---|
| `read` | to see what runs |
| `manage` | to load, stop and move what router.yaml names |
| `configure` | to write router.yaml; without a key, nobody may |

```yaml
auth:
  admin_keys:
    - {name: ops, key: "${OPS_KEY}", scopes: [read, manage]}
    - {name: dashboard, key: "${DASHBOARD_KEY}", scopes: [read]}
```

## By command

```sh
python -m router status               # the router, the machine, each backend, who waits, the last reload
python -m router top                  # all of it live: backends, requests, GPUs, last events; Ctrl-C ends it
python -m router requests             # those under way; with --recent, those that ended last
python -m router requests ID          # all about one: its times, its attempts, and why it went where it went
python -m router requests ID --capture   # what it said and was answered, where telemetry.capture keeps that
python -m router cancel ID            # end one: its client is told, its engine stops
python -m router usage                # what was used, in tokens and money, by key, model and day
python -m router keys                 # what each key and team may use now, and what it has used
python -m router explain qwen         # where a request for this model would go now, and why
python -m router drain BACKEND        # send it nothing more; undrain: send it requests again
python -m router scale BACKEND 3      # have so many processes of it, until its entry in router.yaml changes
python -m router pin NAME             # keep a model loaded; unpin: let it leave again
python -m router restart BACKEND      # start its engine afresh, without cutting an answer
python -m router logs -f BACKEND      # what its engine writes; without BACKEND: what the router does
python -m router events --json        # what happens, as it happens, a line of JSON each
python -m router ps                   # models: loaded or not, their memory; also load, unload
```

They find the router as router.yaml in this folder says (`--config FILE` names another), or at `--url`, or in
`ROUTER_URL`; the admin key is that of `--key`, of `ROUTER_ADMIN_KEY`, or the first of the file. With `server.tls`,
the router must show the certificate of that file, by whatever name; at an https `--url` this system's CAs are
trusted, or those in `--ca FILE` (or `ROUTER_CA`). `--json` prints the router's own answer. Exit codes: 0; 1 if the
router couldn't do it; 2 if none answers there, or doesn't take the key.

While the router stops, it still answers this machine's programs what only reads, and `cancel`: until the requests under
way have ended, at most `limits.drain_timeout`, and its engines are stopped. Commands say so; anything else is a 503.
(Where `server.host` is one address of a network, nobody reaches it any more.)

## Requests and answers

Fields stand in the path, in the query, or in a JSON object in the body. A name with slashes may be written as it is, or
encoded. Answers are JSON. Errors have the form of OpenAI's API, `{"error": {"message", "type", "param", "code"}}`: 400
where a field is wrong, 401 without a key that is needed, 403 where the key's scopes don't allow it. Later versions may
add fields to answers, but take none away.

## From other systems

| there | here |
|---|---|
| `GET /v1/system`, `/v1/system/info` | `GET /admin/status` |
| `POST /v1/models/load`, `/v1/models/unload` | `POST /admin/models/{name}/load`, `…/unload` |
| `GET /v1/cluster` | `GET /admin/status`: its `backends` |
| llama-swap's `/running`, `/unload`, `/api/models/unload`, `/logs`, `/upstream/{name}/…` | the same, in its shapes |
| llama-swap's `/api/events`, `/api/metrics`, `/api/metrics/activity`, `/api/inflight/{id}/cancel` | the same |
"""


def page(table: Sequence[Endpoint[Any, Any, Any]]) -> str:
    """Write the page."""
    rows = [f"| `{each.method} {each.path}` | {each.scope or 'any'} | {each.doc} |" for each in table]
    listed = "\n".join(["## Endpoints", "", "| | scope | |", "|---|---|---|", *rows, ""])
    return "\n".join([_INTRODUCTION, listed, *("\n".join(_endpoint(each)) for each in table)])


def _endpoint(each: Endpoint[Any, Any, Any]) -> Iterator[str]:
    yield f"### {each.method} {each.path}\n"
    yield f"{each.doc}\n"
    fields = [_field(each.asks.headers.get(name, name), field) for name, field in each.asks.model_fields.items()]
    if fields:
        yield "| field | meaning | default |\n|---|---|---|"
        yield from fields
        yield ""
    for status, said in {**each.others, **each.errors}.items():
        yield f"- {status}: {said}"
    if each.others or each.errors:
        yield ""
    if not each.passes or each.method == "GET":
        yield f"```sh\n{curl(each)}\n```\n"


def _field(name: str, field: Any) -> str:  # noqa: ANN401 - a field of pydantic's
    default = "required" if field.default is PydanticUndefined else json.dumps(field.default)
    bounds = {key: getattr(each, key) for each in field.metadata for key in ("ge", "le") if hasattr(each, key)}
    within = f" ({bounds['ge']} to {bounds['le']})" if {"ge", "le"} <= bounds.keys() else ""
    return f"| `{name}` | {field.description}{within} | {default} |"


def curl(each: Endpoint[Any, Any, Any]) -> str:
    """Write an endpoint's example as a command."""
    method = "" if each.method == "GET" else f"-X {each.method} "
    body = " --data-binary @router.yaml" if each.asks.raw else ""
    headers = "".join(f" -H '{header}: …'" for header in each.asks.headers.values())
    return f"curl {method}'http://127.0.0.1:8001{address(each)}'{headers}{body}"


def address(each: Endpoint[Any, Any, Any]) -> str:
    """Write the path and the query of its example."""
    path = each.path.format(**{name: quote(str(each.example[name])) for name in each.in_path})
    query = {name: value for name, value in each.example.items() if name not in each.in_path}
    return f"{path}?{urlencode(query)}" if query else path
