"""Where the browser is tested: in memory in the quick run; elsewhere in the slow one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rigs import RIGS

__all__ = ["PLACES", "unencrypted"]


def _place(store: str, encryption: str = "plain") -> Any:
    quick = (store, encryption) == ("memory", "plain")
    marks = () if quick else (pytest.mark.slow,)
    return pytest.param((store, encryption), id=f"{store}-{encryption}", marks=marks)


_PLAIN = [_place(store) for store in RIGS]
_ENCRYPTED = [("memory", "AES"), ("memory", "RSA"), ("gdrive", "AES"), ("ceph", "AES")]

#: Stores, and how the interface keeps bodies there.
PLACES = [*_PLAIN, *(_place(*pair) for pair in _ENCRYPTED)]

#: For tests that count bytes: encrypted bodies travel in whole segments.
unencrypted = pytest.mark.parametrize("place", _PLAIN, indirect=True)
