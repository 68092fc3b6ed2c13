"""A separate place for each page and docstring."""

from __future__ import annotations

from pathlib import Path

import pytest
from Crypto.PublicKey import RSA

from tests.docs.blocks import ROOT

FAKE_KEY = ROOT / "tests" / "vectors" / "fake_rsa.pem"


@pytest.fixture
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty directory, with no buckets in memory."""
    from cottoncandy import backends
    from cottoncandy.backends import memory

    monkeypatch.setattr(memory, "_BUCKETS", {})
    # The documents show the output of a terminal without progress bars, as when it is redirected.
    monkeypatch.setenv("COTTONCANDY_BASIC_PROGRESS", "False")
    # Pages may use the examples, and add a backend to the registry.
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.setattr(backends, "BACKENDS", dict(backends.BACKENDS))
    # Keys are made in tests/formats; here a minute would go by until primes are found.
    monkeypatch.setattr(RSA, "generate", lambda bits: RSA.import_key(FAKE_KEY.read_bytes()))
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    return place
