"""Interfaces in notebooks."""

from __future__ import annotations

from typing import Any

import cottoncandy as cc
from cottoncandy.core import output
from tests.backends.wrappers import CountingBackend
from tests.harness import MemoryHarness


def test_html_names_store_bucket_and_first_steps() -> None:
    cci = MemoryHarness().interface()
    page = cci._repr_html_()
    assert "cottoncandy.DefaultInterface" in page
    assert str(cci.bucket_name) in page
    assert "on memory" in page
    assert "upload_raw_array" in page


def test_html_without_a_bucket_names_the_remedy() -> None:
    cci: Any = cc.get_interface(backend="memory", verbose=False)
    cci._store = cci._store.in_bucket(None)
    assert "set_bucket" in cci._repr_html_()


def test_html_sends_no_request() -> None:
    cci = MemoryHarness().interface()
    cci.backend_interface = counting = CountingBackend(cci.backend_interface)
    with counting.expect():
        cci._repr_html_()


def test_escapes_of_two_characters_differ() -> None:
    assert output.printable(" 2e\u202e") == r" 2e\u202e"  # not \x202e, which may be a space and 2e
    assert output.printable("\x1b\x85") == r"\x1b\x85"


def test_html_is_escaped() -> None:
    cci: Any = cc.get_interface("<script>alert('x')</script>", backend="memory", verbose=False)
    page = cci._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_html_has_no_secrets() -> None:
    endpoint = "http://user:SECRET-PASSWORD@127.0.0.1:9"  # nothing listens there
    cci = cc.get_encrypted_interface(
        None, "SECRET-ID", "SECRET-KEY", endpoint, encryptionKey="S" * 32, verbose=False
    )
    page = cci._repr_html_()
    assert "EncryptedInterface" in page
    assert "127.0.0.1:9, encrypted with AES" in page
    assert not any(secret in page for secret in ("SECRET", "S" * 32))
    assert f">{cci.settings.default_acl}</td>" in page
