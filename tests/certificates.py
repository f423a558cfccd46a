"""Certificates for the tests of TLS: of a CA of their own, for this machine, or with a flaw."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import trustme

HERE = ("localhost", "127.0.0.1", "::1")


class Files(NamedTuple):
    """A certificate and its key, in files."""

    cert: Path
    key: Path

    @property
    def config(self) -> dict[str, str]:
        """What router.yaml says of them."""
        return {"cert": str(self.cert), "key": str(self.key)}


class Authority:
    """A CA, whose certificate is in the file `pem` of a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.pem = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(str(self.pem))

    def issue(self, name: str = "own", *hosts: str, days: float = 30.0, folder: Path | None = None) -> Files:
        """Write a certificate for these hosts, or for this machine; of negative days, one that has ended so long ago.

        Files of this name are replaced, each at once.
        """
        ends = datetime.now(UTC) + timedelta(days=days)
        begins = min(datetime.now(UTC) - timedelta(days=1), ends - timedelta(days=1))
        made = self._ca.issue_cert(*(hosts or HERE), not_before=begins, not_after=ends)
        folder = folder or self._folder
        files = Files(folder / f"{name}.crt", folder / f"{name}.key")
        # The key first, as `certbot` does: in between, the two don't fit.
        for path, data in (
            (files.key, made.private_key_pem.bytes()),
            (files.cert, b"".join(each.bytes() for each in made.cert_chain_pems)),
        ):
            other = path.with_suffix(".new")
            other.write_bytes(data)
            other.replace(path)
        return files
