import re

from router.config.docs import page
from router.config.schema import schema


def test_the_page_has_every_key():
    """A section each, a row each with what it takes and means, links that lead somewhere."""
    text = page(schema())
    headings = re.findall(r"^## `(.*)`$", text, re.MULTILINE)
    assert headings == [
        *[
            "server",
            "server.tls",
            "backends[]",
            "backends[].launch",
            "backends[].launch.on",
            "backends[].tls",
            "backends[].price",
            "backends[].prices.*",
            "routes.*",
            "balance",
            "health",
            "limits",
            "memory",
            "memory.limit",
            "auth",
            "auth.keys[]",
            "auth.teams.*",
            "auth.admin_keys[]",
        ],
        "logging",
        "telemetry",
        "telemetry.capture",
        "telemetry.traces",
        "state",
        "ray",
    ]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) == text.count("\n| `")
    assert all(takes and meaning.endswith(".") for _, takes, _, meaning in rows)
    anchors = {re.sub(r"[^a-z_]", "", heading) for heading in headings}
    assert set(re.findall(r"\]\(#(.*?)\)", text)) == anchors
