"""What the quick run leaves to the slow one (``pytest -m slow``).

Tests of interfaces run over every store, plain and encrypted in two ways, many with values of their
own (dtypes, layouts, codecs, ...) besides. In memory all of that is quick. Elsewhere less is asked:

- Encryption: plain and AES. RSA differs from AES by one entry of metadata.
- Encryption, on a server: on one of them, which every platform has. It happens before a store.
- Values, on a server: the first of them. What an array's dtype does to its bytes does not depend on
  the server.
- Tests marked ``everywhere`` are excepted: they are about what servers might do differently.

Nothing is left out for good: the rest is marked ``slow``.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

__all__ = ["mark_slow"]

_DIRECTORIES = {"interfaces", "browser"}
_SERVERS = {"moto", "ceph", "gdrive"}
_WITH_ENCRYPTION = {"memory", "local", "moto"}


def mark_slow(items: Iterable[pytest.Item]) -> None:
    """Mark the tests that the quick run leaves out."""
    first: dict[tuple[object, ...], list[object]] = {}
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is None or item.path.parent.name not in _DIRECTORIES:
            continue
        values = dict(callspec.params)
        store, encryption = values.pop("store", None), values.pop("encryption", None)
        if item.get_closest_marker("everywhere"):
            continue
        if (encryption == "RSA" and store != "memory") or (
            encryption not in (None, "plain") and store not in (None, *_WITH_ENCRYPTION)
        ):
            item.add_marker(pytest.mark.slow)
            continue
        if store not in _SERVERS:
            continue
        test = (item.path, getattr(item, "originalname", None), store, encryption)
        chosen = first.setdefault(test, [callspec.indices[name] for name in values])
        if chosen != [callspec.indices[name] for name in values]:
            item.add_marker(pytest.mark.slow)
