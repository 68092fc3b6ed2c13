"""Where a pair of keys can come from before boto3's own chain is asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from cottoncandy.exceptions import ConfigurationError

__all__ = ["NO_CREDENTIALS", "KeyPair", "find_key_pair"]

#: What to do where no credentials can be found.
NO_CREDENTIALS = (
    "there are no credentials for the S3 store: pass ACCESS_KEY and SECRET_KEY, or write them into "
    "[login] of the options file, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or an AWS "
    "profile); to read public data without any, pass anon=True"
)


class KeyPair(NamedTuple):
    """An access key and its secret."""

    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return "KeyPair(...)"


def find_key_pair(*candidates: tuple[str, str | None, str | None]) -> KeyPair | None:
    """Return the first complete pair: candidates, ``~/.passwd-s3fs``, then the environment.

    Parameters
    ----------
    *candidates : tuple of (str, str or None, str or None)
        Where the pair was found (for messages), access key, secret key.

    Returns
    -------
    pair : KeyPair or None
        None leaves it to boto3's chain: its variables, profiles and roles.
    """
    environment = (
        "the environment (AWS_ACCESS_KEY, AWS_SECRET_KEY)",
        os.environ.get("AWS_ACCESS_KEY"),
        os.environ.get("AWS_SECRET_KEY"),
    )
    for pair in (_complete(*found) for found in candidates):
        if pair is not None:
            return pair
    return _read_passwd_s3fs(Path("~/.passwd-s3fs")) or _complete(*environment)


def _complete(origin: str, access_key: str | None, secret_key: str | None) -> KeyPair | None:
    if access_key and secret_key:
        return KeyPair(access_key, secret_key)
    if access_key or secret_key:
        missing = "secret" if access_key else "access"
        raise ConfigurationError(f"{origin}: half of the credentials, the {missing} key is missing")
    return None


def _read_passwd_s3fs(path: Path) -> KeyPair | None:
    """Read the default line of s3fs's password file: ``ACCESS:SECRET``."""
    try:
        lines = path.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, RuntimeError, UnicodeDecodeError):  # RuntimeError: nobody's home
        return None
    for line in lines:
        fields = line.strip().split(":")
        # Lines of three fields begin with a bucket, and are for it alone.
        if not line.lstrip().startswith("#") and len(fields) == 2 and all(fields):
            return KeyPair(*fields)
    return None
