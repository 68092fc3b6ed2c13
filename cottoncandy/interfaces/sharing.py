"""URLs that let others read an object."""

from __future__ import annotations

import datetime
import math

from cottoncandy.arrays.manifests import MANIFEST
from cottoncandy.core.names import pathjoin
from cottoncandy.exceptions import (
    InvalidArgumentError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)
from cottoncandy.interfaces.base import ObjectAccess
from cottoncandy.stores.checks import check_duration

__all__ = ["SharingMethods"]

_MAX_SHARED = datetime.timedelta(days=7)  # signatures of version 4 are valid no longer


class SharingMethods(ObjectAccess):
    """Access for people without credentials."""

    def share(self, name: str, expires: float | str = "1h") -> str:
        """Return a URL that lets anyone read an object, until it expires.

        Parameters
        ----------
        name : str
            Name of an object, or of an array that is one object (``upload_raw_array``,
            ``upload_npy_array``).
        expires : float or str, default '1h'
            Seconds, or a number with ``s``, ``m``, ``h`` or ``d``; up to seven days. A URL signed
            with temporary credentials expires no later than they do.

        Returns
        -------
        url : str
            :func:`cottoncandy.array` opens an array by its URL and reads parts of it. The
            URL of an encrypted object returns the encrypted bytes: readers need the key as well.

        Raises
        ------
        ObjectNotFoundError
            If the object does not exist.
        UnsupportedOperationError
            If the store has no such URLs, or the name is an array of several objects.
        InvalidArgumentError
            If ``expires`` is not a duration, or longer than seven days.

        Notes
        -----
        One request is sent, to look up the object. The URL cannot be withdrawn, except by removing
        the object or the credentials. It returns the object that has the name when it is read.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket')  # doctest: +SKIP
        >>> url = cci.share('sub01/run1', expires='2d')  # doctest: +SKIP
        >>> cc.array(url)[:3]  # doctest: +SKIP
        array([0, 1, 2])
        """
        duration = check_duration(expires, "expires")
        if not datetime.timedelta(seconds=1) <= duration <= _MAX_SHARED:
            raise InvalidArgumentError(
                f"expires must be from one second to seven days, got {expires!r}"
            )
        key, backend = self._store.key(name), self._store.backend
        url = backend.presign(key, math.ceil(duration.total_seconds()))
        if not self._store.has_object(key):
            if self._store.has_object(pathjoin(key, MANIFEST)):
                raise UnsupportedOperationError(
                    f"'{key}' in bucket '{self.bucket_name}' consists of several objects, and a "
                    f"URL shares one; upload it with upload_raw_array to share it"
                )
            raise ObjectNotFoundError(f"there is no object '{key}' in bucket '{self.bucket_name}'")
        return url
