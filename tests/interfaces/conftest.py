"""The interface under test: every store, plain and encrypted.

Tests that take ``cci`` run unchanged over all of them: what an interface promises does not depend
on where the bytes live, or how they are kept.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

import cottoncandy
from tests.rigs import Rig

_AES_KEY = base64.b64encode(b"an obviously fake key, 32 bytes!").decode()


@pytest.fixture(scope="session")
def rsa_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private key in PEM, made once."""
    from cottoncandy.encryption import generate_key_pair

    path = tmp_path_factory.mktemp("keys") / "private.pem"
    generate_key_pair(path, bits=2048)
    return path


@pytest.fixture(params=["plain", "AES", "RSA"])
def encryption(request: pytest.FixtureRequest) -> str:
    """How the interface keeps bodies."""
    return request.param


@pytest.fixture
def factory(encryption: str, request: pytest.FixtureRequest) -> Any:
    """What builds interfaces of that kind."""
    if encryption == "plain":
        return cottoncandy.get_interface
    key = _AES_KEY if encryption == "AES" else request.getfixturevalue("rsa_key")

    def encrypted(*args: Any, **kwargs: Any) -> Any:
        return cottoncandy.get_encrypted_interface(
            *args, encryption=encryption, encryptionKey=key, **kwargs
        )

    return encrypted


@pytest.fixture
def cci(store: Rig, factory: Any) -> Any:
    """An interface on a fresh bucket of each store, plain and encrypted."""
    return factory(store.bucket, verbose=False, backend=store.backend_name, **store.connection())
