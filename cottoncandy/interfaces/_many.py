"""The same work on many objects: several at a time, with a bar, and all failures told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from cottoncandy._parallel import map_threads
from cottoncandy._progress import Progress
from cottoncandy.exceptions import (
    BucketNotFoundError,
    CottonCandyError,
    CredentialsError,
    EncryptionKeyError,
    StorageFullError,
    StoreUnreachableError,
)

__all__ = ["Failure", "failure_summary", "for_all"]

T = TypeVar("T")

#: The name of what failed, and why.
Failure = tuple[str, Exception]

#: Errors that the next object would meet too: the work ends at once.
_FATAL = (
    BucketNotFoundError,
    CredentialsError,
    EncryptionKeyError,
    StorageFullError,
    StoreUnreachableError,
)
_SHOWN = 10


def for_all(
    function: Callable[[T], object],
    items: Iterable[T],
    name: Callable[[T], str],
    *,
    bar: Progress,
    threads: int,
) -> list[Failure]:
    """Call a function on many things; return which failed, and go on with the others meanwhile.

    What would fail for all of them (credentials, a full disk, nobody there) is raised.
    """

    def attempt(item: T) -> Failure | None:
        try:
            function(item)
        except _FATAL:
            raise
        except (CottonCandyError, OSError) as exc:
            return name(item), exc
        return None

    failed: list[Failure] = []
    with bar:
        for failure in map_threads(attempt, items, threads):
            bar.update(1)
            if failure is not None:
                failed.append(failure)
    return failed


def failure_summary(failed: Sequence[Failure]) -> str:
    """Return names and reasons, the first of them where there are many."""
    lines = [f"'{name}' ({error})" for name, error in failed[:_SHOWN]]
    if len(failed) > _SHOWN:
        lines.append(f"and {len(failed) - _SHOWN} more")
    return "; ".join(lines)
