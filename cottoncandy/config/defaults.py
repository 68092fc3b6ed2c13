"""Documented defaults that the options may change; the options' own are in ``options.py``.

A signature shows what the documentation says (``acl='authenticated-read'``, ``threads=4``), yet an
omitted argument must follow the user's options. These values are the documented text or
number, and know that they are a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cottoncandy.config.options import Settings

__all__ = [
    "DEFAULT_ACL",
    "DEFAULT_DASK_CHUNK",
    "DEFAULT_EXTRA_ARGS",
    "DEFAULT_THREADS",
    "DefaultInt",
    "DefaultStr",
]


class DefaultStr(str):
    """Text of a default: the options override it."""

    __slots__ = ()


class DefaultInt(int):
    """A number of a default: the options override it."""

    __slots__ = ()


_SHIPPED = Settings()

DEFAULT_ACL = DefaultStr(_SHIPPED.default_acl)
DEFAULT_THREADS = DefaultInt(_SHIPPED.threads)
DEFAULT_DASK_CHUNK = DefaultInt(_SHIPPED.dask_chunksize_bytes)
DEFAULT_EXTRA_ARGS: Mapping[str, str] = MappingProxyType({"ACL": DEFAULT_ACL})
