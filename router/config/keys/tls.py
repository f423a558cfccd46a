"""`server.tls`: the router's own certificate."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from router.config.keys.section import Section
from router.config.keys.values import Text


class ServerTlsConfig(Section):
    """HTTPS in the place of HTTP, at both ports. New files are taken over as they change, and no connection is cut."""

    example: ClassVar[str] = """\
server:
  tls: {cert: tls/router.crt, key: tls/router.key}   # relative paths count from router.yaml's folder
"""

    cert: Text = Field(
        description="File with the certificate, and behind it those between it and its CA, in PEM form. Required."
    )
    key: Text = Field(description="File with its private key, in PEM form, without a passphrase. Required.")
