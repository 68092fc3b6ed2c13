"""What a name in a bucket stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cottoncandy.browser.datasets import S3Dataset
from cottoncandy.browser.directories import S3Group
from cottoncandy.exceptions import ObjectNotFoundError

if TYPE_CHECKING:
    from cottoncandy.interfaces import DefaultInterface

__all__ = ["browse"]


def browse(path: str, interface: DefaultInterface) -> S3Group | S3Dataset:
    """Return what has a name: an array, whole or in chunks, or a group of arrays.

    Parameters
    ----------
    path : str
        Name of an object or of a branch; ``''`` is the whole bucket.
    interface : cottoncandy.interfaces.DefaultInterface

    Returns
    -------
    node : S3Group, S3Dataset or S3ChunkedDataset

    Raises
    ------
    ObjectNotFoundError
        If there is neither an object of that name nor anything below it.

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
    marker = interface.backend_interface.scan(group._branch, page_size=1)
    if next(marker, None) is not None:
        return group  # a directory that a console made, with nothing in it
    raise ObjectNotFoundError(
        f"nothing found under '{group._key}' in bucket '{interface.bucket_name}'; "
        f"cci.lsdir() shows what there is"
    )
