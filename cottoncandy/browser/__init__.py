"""Browsing a bucket with tab completion.

:func:`cottoncandy.get_browser`, ``cci.get_browser()`` and ``cci.cloud2dataset()`` return these
objects. They list a directory once, on first access, and cache it until ``refresh()``.
"""

from __future__ import annotations

from cottoncandy.browser.base import BrowserObject, S3FSLike
from cottoncandy.browser.datasets import S3ChunkedDataset, S3Dataset
from cottoncandy.browser.directories import S3Directory, S3Group, browse
from cottoncandy.browser.preview import Preview

#: Name of groups in 0.4.0.
S3HDF5 = S3Group

__all__ = [
    "S3HDF5",
    "BrowserObject",
    "Preview",
    "S3ChunkedDataset",
    "S3Dataset",
    "S3Directory",
    "S3FSLike",
    "S3Group",
    "browse",
]
