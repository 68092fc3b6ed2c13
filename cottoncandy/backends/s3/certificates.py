"""TLS: whose certificates are trusted, and what to say where a server's is not."""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path

from cottoncandy.exceptions import ConfigurationError

__all__ = ["certificates_in", "checked_verify", "why_tls_failed"]

_BEGIN = b"-----BEGIN CERTIFICATE-----"

# What OpenSSL and urllib3 say -> what to say; the first counts.
_REASONS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"(?i)doesn't match|name mismatch|address mismatch"),
        "the certificate of {endpoint} is for another host ({reason}); write the host into "
        "endpoint_url as the certificate has it",
    ),
    (
        re.compile(r"has expired|not yet valid"),
        "the certificate of {endpoint} has expired or is not valid yet ({reason}); ask who runs "
        "the server for a new one, or set the clock of this machine",
    ),
    (
        re.compile(r"CERTIFICATE_VERIFY_FAILED"),
        "the certificate of {endpoint} is not trusted here ({reason}); pass "
        "verify='/path/to/ca.pem', the certificates of the authority that signed it, or set "
        "AWS_CA_BUNDLE to that path",
    ),
    (
        re.compile(r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE"),
        "{endpoint} does not speak TLS; write http:// instead of https:// into endpoint_url, or "
        "the port that https has",
    ),
)
_WORDS = re.compile(
    r"certificate verify failed: (?P<openssl>.+?)(?= \(_ssl|\)|$)"
    r"|(?P<urllib3>hostname '.*' doesn't match .*)"
)


def why_tls_failed(text: str, endpoint: str) -> str | None:
    """Return what to tell the user where a library's words are about TLS; None where not."""
    for pattern, template in _REASONS:
        if pattern.search(text):
            found = _WORDS.search(text)
            reason = found[found.lastgroup or 0] if found else ""
            return template.format(endpoint=endpoint, reason=reason or "no reason was given")
    return None


def checked_verify(given: object) -> bool | str | None:
    """Return what the user passed as ``verify``: whether to check, or a path.

    Raises
    ------
    ConfigurationError
        If it is anything else.
    """
    if given is None or isinstance(given, (bool, str)):
        return given
    if isinstance(given, os.PathLike):
        return os.fsdecode(given)
    raise ConfigurationError(
        f"verify= takes True, False or the path of a file of certificates, and a "
        f"{type(given).__name__} was given"
    )


def certificates_in(path: str) -> bytes:
    """Read a file of certificates.

    Raises
    ------
    ConfigurationError
        If that can't be done, or there are none in it, or broken ones.
    """
    try:
        found = Path(path).read_bytes()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as exc:
        raise _no_certificates(path) from exc
    except OSError as exc:
        raise ConfigurationError(
            f"the certificates in {path!r} (verify=, AWS_CA_BUNDLE) can't be read: {exc}"
        ) from exc
    if _BEGIN not in found:  # of the kinds that OpenSSL reads, rustls reads this one
        raise _no_certificates(path)
    return found


def _no_certificates(path: str) -> ConfigurationError:
    return ConfigurationError(
        f"there are no certificates in {path!r} (verify=, AWS_CA_BUNDLE), or broken ones; it takes "
        f"a file of them in PEM, where each begins with -----BEGIN CERTIFICATE-----"
    )
