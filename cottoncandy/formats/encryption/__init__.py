"""Encrypted bodies: AES-256-GCM in segments; for reading, also the layout of cottoncandy 0.2.

No I/O and no key files here: :mod:`cottoncandy.stores.keys` has those. Importing this package needs
no pycryptodome; using it does.
"""
