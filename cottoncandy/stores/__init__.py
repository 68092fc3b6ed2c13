"""Backends made the user's: connected, perhaps encrypted, with defaults and progress bars.

``connect`` returns a ``store``. Its backend may be wrapped (``wrapping``): ``encrypted`` with the
help of ``keys``, ``cached``, or read-only. ``finding``, ``streams``, ``files`` and ``doctor`` work
on a store.
"""
