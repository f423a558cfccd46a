"""Write docs/metrics.md from the metrics' definitions, or check that it is current."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from router.telemetry.families import HISTOGRAM, LABELS, OUTCOMES, SECTIONS, Family
from scripts.generated import DOCS, keep

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILE: Final = DOCS / "metrics.md"

INTRODUCTION: Final = """\
# Metrics

`GET /metrics` has the router's figures in Prometheus's text form; as OpenMetrics where the header `Accept` names that,
and with no lower weight (`q`) than plain text, as Prometheus does. All requests are counted that have ended until then.
This page is made from the code (`python -m scripts.make_metrics_docs`).

## Have Prometheus scrape it

Without `auth.admin_keys`, programs on this machine may ask. With them, a key with the scope `read` may:

```yaml
# router.yaml
auth:
  admin_keys:
    - {name: prometheus, key: "${PROMETHEUS_KEY}", scopes: [read]}
```

```yml
# prometheus.yml
scrape_configs:
  - job_name: router
    authorization: {credentials_file: /etc/prometheus/router.key}
    static_configs: [{targets: ["gpu-box:8001"]}]
rule_files: [alerts.yml]
```

On a network where everybody may know the names of models, keys and backends, no key is needed:

```yaml
telemetry:
  metrics: open
```

[dashboards/](../dashboards) has boards for Grafana (`overview.json`, `models.json`, `machine.json`: import them, and
choose the data source) and rules for alerts (`alerts.yml`).

## Engines' own metrics

With `?engines=1`, `/metrics` also has those of each launched engine that has such a page, with the label `backend`;
a label of this name that an engine wrote is called `exported_backend`. All engines have two seconds together. One that
doesn't answer is left out, and so is a line that Prometheus would refuse, as it would refuse the whole page. All of it
is in Prometheus's text form then. Metrics that the router has, too, such as `process_open_fds`, are left out of the
engines' pages. In prometheus.yml it is `params: {engines: ["1"]}`.

## How many series there are

Nothing that clients write becomes a series. Names that no model has are one model, `unknown`; paths of no known API are
`other`. There are at most 200 pairs of model and backend, 2000 rows of `router_requests_total` and 1000 keys; more are
counted as `other`. A pair without a request for six hours is left out until it has one. Histograms are there for pairs
that have answered.

Counters begin at 0 when the router starts.

## The same in OpenTelemetry's words

| OpenTelemetry, generative AI | here |
|---|---|
| `gen_ai.server.request.duration` | `router_request_duration_seconds` |
| `gen_ai.server.time_to_first_token` | `router_time_to_first_token_seconds` |
| `gen_ai.server.time_per_output_token` | `router_time_per_output_token_seconds` |
| `gen_ai.client.token.usage`: input | `router_request_prompt_tokens` |
| `gen_ai.client.token.usage`: output | `router_request_generated_tokens` |
| `gen_ai.request.model`, `gen_ai.response.model` | the labels `route`, where there is one, and `model` |

## Labels

"""


def page() -> str:
    """Write the page."""
    return "\n".join([INTRODUCTION.rstrip(), "", *_table(LABELS, "label"), *_sections(), ""]).rstrip() + "\n"


def _sections() -> Iterator[str]:
    for title, families in SECTIONS.items():
        yield f"\n## {title}\n"
        yield "| metric | type | labels | meaning |\n|---|---|---|---|"
        yield from map(_row, families)
        if title == "Requests that have ended":
            yield "\nHow requests end:\n"
            yield from _table(OUTCOMES, "outcome")
            yield "\nThe upper bounds of the histograms' buckets:\n"
            yield "| metric | bounds |\n|---|---|"
            yield from (_bounds(each) for each in families if each.kind == HISTOGRAM)


def _table(rows: Mapping[str, str], name: str) -> Iterator[str]:
    yield f"| {name} | meaning |\n|---|---|"
    yield from (f"| `{key}` | {meaning} |" for key, meaning in rows.items())


def _row(family: Family) -> str:
    labels = ", ".join(f"`{each}`" for each in family.labels)
    return f"| `{family.name}` | {family.kind} | {labels} | {family.meaning} |"


def _bounds(family: Family) -> str:
    return (
        f"| `{family.name}` | {', '.join(f'{bound:g}' if bound < 1000 else str(bound) for bound in family.buckets)} |"
    )


def main() -> int:
    """Write the file, or check it; the exit code is 1 if it is not current."""
    return keep("make_metrics_docs", __doc__, {FILE: page()})


if __name__ == "__main__":
    sys.exit(main())
