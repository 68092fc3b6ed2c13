"""Texts of the search queries that Drive's ``files.list`` takes.

References
----------
"Search query terms and operators", Google Drive API guide.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["FOLDER_TYPE", "any_of", "in_folders", "quoted", "titled"]

FOLDER_TYPE = "application/vnd.google-apps.folder"


def quoted(text: str) -> str:
    r"""Return a string literal of the query language: ``\`` and ``'`` are escaped.

    Examples
    --------
    >>> print(quoted("it's"))
    'it\'s'
    """
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def any_of(terms: Iterable[str]) -> str:
    """Return terms joined by ``or``, as one term."""
    joined = list(terms)
    return joined[0] if len(joined) == 1 else f"({' or '.join(joined)})"


def in_folders(folder_ids: Iterable[str]) -> str:
    """Return the query for what lies in any of some folders and is not in the trash."""
    return f"{any_of(f'{quoted(folder)} in parents' for folder in folder_ids)} and trashed = false"


def titled(titles: Iterable[str]) -> str:
    """Return the query for some names; Drive compares without regard to case, so look again."""
    return any_of(f"title = {quoted(title)}" for title in titles)
