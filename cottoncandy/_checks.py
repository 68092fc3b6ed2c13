"""``cottoncandy.verify`` and ``cottoncandy.doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cottoncandy.stores.doctor import Report
    from cottoncandy.transfer.verify import VerifyReport


def verify(
    url: str,
    *,
    subset: float = 1.0,
    max_duration: float | None = None,
    after: str = "",
    threads: int | None = None,
    **options: Any,
) -> VerifyReport:
    """Read everything below a URL, and report what is damaged, missing or left over.

    Of arrays, the checksum, the manifest, each part and the encryption are checked; of other
    objects, the MD5, if the store has one.

    Parameters
    ----------
    url : str
        A bucket, a directory in it, or one object: ``'s3://bucket/sub01'``; or a path on disk.
    subset : float, default 1.0
        Share of the objects to read, the same ones each time; between 0 and 1.
    max_duration : float, optional
        Seconds after which to stop. The report says where; pass that as ``after`` to continue.
    after : str, default ''
        Name after which to begin, in the order of names.
    threads : int, optional
        How many objects are read at once; default ``[basic] threads`` of the options. They are
        streamed: memory does not grow with their size.
    **options
        As for :func:`cottoncandy.get_interface`; and ``encryption``, ``encryptionKey`` and
        ``passphrase`` as for :func:`cottoncandy.get_encrypted_interface`.

    Returns
    -------
    report : VerifyReport
        ``report.faults`` are the faults, ``report.ok`` is True if everything was checked and there
        are none, and ``print(report)`` shows them.

    Raises
    ------
    InvalidArgumentError
        If ``subset`` is not between 0 and 1, or another parameter is wrong.
    BucketNotFoundError, ObjectNotFoundError
        If there is nothing at the URL. An empty bucket is whole.

    Examples
    --------
    >>> import cottoncandy as cc
    >>> import numpy as np
    >>> cci = cc.get_interface("verified", backend="memory", verbose=False)
    >>> response = cci.upload_dask_array("series", np.ones((4, 3)), axis=0, buffersize=48)
    >>> cci.rm("series/pt0001")
    1
    >>> [(fault.kind, fault.name) for fault in cc.verify("memory://verified").faults]
    [('missing part', 'series')]
    """
    from cottoncandy.stores.connect import connect_location
    from cottoncandy.transfer.verify import verify_store

    store, name = connect_location(url, None, **options)
    return verify_store(
        store, name, subset=subset, max_duration=max_duration, after=after, threads=threads
    )


def doctor(url: str, **options: Any) -> Report:
    """Try what a store can do, and report where each option comes from.

    Objects are created below one scratch prefix only, and removed.

    Parameters
    ----------
    url : str
        A bucket, or a directory in it: ``'s3://bucket'``; or a path on disk.
    **options
        As for :func:`verify`.

    Returns
    -------
    report : Report
        ``report.checks`` say what works and what cottoncandy does about the rest;
        ``report.usable`` is True if listing, reading, writing and deleting work.

    Examples
    --------
    >>> import cottoncandy as cc
    >>> cci = cc.get_interface("examined", backend="memory", verbose=False)
    >>> report = cc.doctor("memory://examined")
    >>> report.usable, report.checks[0].name
    (True, 'listing')
    """
    from cottoncandy.core.names import prefix_of
    from cottoncandy.stores.connect import connect_location
    from cottoncandy.stores.doctor import examine

    store, name = connect_location(url, **options)
    return examine(store, prefix_of(name))
