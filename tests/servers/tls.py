"""Certificates for servers on loopback, by an authority that only the tests know."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import trustme

__all__ = ["Authority"]


class Authority:
    """Signs certificates.

    Parameters
    ----------
    directory : Path
        Takes the authority's own certificate.

    Attributes
    ----------
    path : Path
        What clients need to trust the servers: ``verify=str(authority.path)``.
    """

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA(organization_name="an authority of the tests")
        self.path = directory / "authority.pem"
        self._authority.cert_pem.write_to_path(self.path)

    @property
    def pem(self) -> bytes:
        """The authority's own certificate."""
        return self._authority.cert_pem.bytes()

    def context(self, *names: str, not_after: datetime.datetime | None = None) -> ssl.SSLContext:
        """Return what a server needs to speak TLS; by default as 127.0.0.1 and localhost."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = self._authority.issue_cert(
            *(names or ("127.0.0.1", "localhost")), not_after=not_after
        )
        certificate.configure_cert(context)
        return context
