"""`tls`: the router's own certificate, and whom it trusts at a backend. Files are in PEM form."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, ValidationInfo, field_validator

from router.config.keys.section import Section, setting
from router.config.keys.values import Switch, Text


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


class BackendTlsConfig(Section):
    """Whom to trust at an https:// url, and who the router is there. Without it: the CAs that this system trusts."""

    example: ClassVar[str] = """\
backends:
  - url: https://gpu-box:8443
    tls: {ca: tls/home-ca.crt, cert: tls/router.crt, key: tls/router.key}
"""

    verify: Switch = setting(
        default=True,
        meaning="Whether its certificate is checked. Without, whoever sits between can read and change all of it.",
    )
    ca: Text | None = setting(
        None,
        "File with the certificates to trust, in PEM form, instead of this system's: of its CA, or its own. "
        "Relative paths count from router.yaml's folder.",
    )
    cert: Text | None = setting(None, "File with the certificate to show there, if it wants one of its clients.")
    key: Text | None = setting(None, "File with the private key of `cert`, without a passphrase.")
    name: Text | None = setting(
        None, "The name that its certificate has, where that isn't the url's host; it is asked for by that (SNI)."
    )

    @field_validator("ca")
    @classmethod
    def _is_used(cls, ca: str | None, info: ValidationInfo) -> str | None:
        if ca is not None and info.data.get("verify") is False:
            raise ValueError("nothing is checked with it: `verify: false` stands beside it")
        return ca

    @field_validator("key")
    @classmethod
    def _is_with_cert(cls, key: str | None, info: ValidationInfo) -> str | None:
        if "cert" in info.data and (key is None) != (info.data["cert"] is None):
            raise ValueError("`cert` and `key` go together: one is missing")
        return key
