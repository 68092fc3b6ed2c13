"""Keys for :func:`cottoncandy.get_encrypted_interface`: creating, storing and finding them."""

from __future__ import annotations

from cottoncandy.stores.keys import KeyLike, generate_key, generate_key_pair, resolve_keys

__all__ = ["KeyLike", "generate_key", "generate_key_pair", "resolve_keys"]
