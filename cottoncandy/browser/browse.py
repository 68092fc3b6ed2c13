"""Lookup of a name in a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cottoncandy.browser.datasets import S3Dataset
from cottoncandy.browser.directories import S3Group
from cottoncandy.exceptions import ObjectNotFoundError

if TYPE_CHECKING:
    from cottoncandy.interfaces import DefaultInterface

__all__ = ["browse"]


def browse(path: str, interface: DefaultInterface) -> S3Group | S3Dataset:
    """Return the object of a name: an array, whole or in chunks, or a group of arrays.

    Parameters
    ----------
    path : str
        Name of an object or a directory; ``''`` is the whole bucket.
    interface : cottoncandy.interfaces.DefaultInterface

    Returns
    -------
    node : S3Group, S3Dataset or S3ChunkedDataset

    Raises
    ------
    ObjectNotFoundError
        If neither an object of that name nor anything below it exists.

    Notes
    -----
    One listing is sent; a second request if there is nothing below that name, or an array in
    chunks.
    """
    group = S3Group(path, interface)
    if group._is_branch() or not group._key:
        return group._array() or group
    if interface.exists_object(group._key):
        return S3Dataset(path, interface)
    marker = interface._store.backend.scan(group._branch, page_size=1)
    if next(marker, None) is not None:
        return group  # an empty directory, created by a console
    raise ObjectNotFoundError(
        f"nothing found under '{group._key}' in bucket '{interface.bucket_name}'; "
        f"cci.lsdir() lists the bucket"
    )
