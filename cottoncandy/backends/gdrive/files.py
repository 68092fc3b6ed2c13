"""Drive's description of a file, and searches for files."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cottoncandy.backends.base import ObjectInfo
from cottoncandy.backends.gdrive.properties import PropertyName, unpack
from cottoncandy.backends.gdrive.session import Session
from cottoncandy.backends.options import split_entries

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


def folder_query(folder_ids: Iterable[str]) -> str:
    """Return the query for the contents of some folders, without trashed files."""
    return f"{any_of(f'{quoted(folder)} in parents' for folder in folder_ids)} and trashed = false"


def title_query(titles: Iterable[str]) -> str:
    """Return the query for some names; Drive compares them without regard to case."""
    return any_of(f"title = {quoted(title)}" for title in titles)


#: Fields that a listing requests.
FILE_FIELDS = (
    "id,title,mimeType,fileSize,md5Checksum,modifiedDate,createdDate,headRevisionId,parents(id),"
    "labels(trashed),explicitlyTrashed,capabilities(canReadRevisions)"
)
#: The same, with the metadata.
HEAD_FIELDS = f"{FILE_FIELDS},properties(key,value,visibility)"


def parse_date(text: str) -> datetime.datetime | None:
    """Return a time of Drive; None if it is not known."""
    return datetime.datetime.fromisoformat(text) if text else None


_NATIVE = "application/vnd.google-apps."
_PAGE = 1000  # Drive's maximum


@dataclass(frozen=True, slots=True)
class Root:
    """The folder of a bucket, and the shared drive that contains it, if any."""

    id: str
    drive_id: str | None = None


@dataclass(frozen=True, slots=True)
class DriveFile:
    """One file or folder."""

    id: str
    title: str
    mime_type: str
    parents: tuple[str, ...]
    created: str
    modified: str
    size: int
    md5: str | None
    revision: str | None
    can_read_revisions: bool
    trashed: bool
    explicitly_trashed: bool
    properties: tuple[Mapping[str, Any], ...] | None

    @classmethod
    def of(cls, resource: Mapping[str, Any]) -> DriveFile:
        """Parse a resource with ``FILE_FIELDS`` or ``HEAD_FIELDS``."""
        return cls(
            id=resource["id"],
            title=resource.get("title", ""),
            mime_type=resource.get("mimeType", ""),
            parents=tuple(parent["id"] for parent in resource.get("parents", ())),
            created=resource.get("createdDate", ""),
            modified=resource.get("modifiedDate", ""),
            size=int(resource.get("fileSize", 0)),
            md5=resource.get("md5Checksum"),
            revision=resource.get("headRevisionId"),
            can_read_revisions=resource.get("capabilities", {}).get("canReadRevisions", False),
            trashed=resource.get("labels", {}).get("trashed", False),
            explicitly_trashed=resource.get("explicitlyTrashed", False),
            properties=tuple(resource.get("properties", ())),
        )

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.mime_type == FOLDER_TYPE

    @property
    def is_object(self) -> bool:
        """Whether it has bytes: Google's own documents and shortcuts have none."""
        return not self.mime_type.startswith(_NATIVE)

    @property
    def recency_key(self) -> tuple[str, str]:
        """Sort key: among files with one name, the greatest is the object."""
        return self.modified, self.id

    @property
    def property_names(self) -> list[PropertyName]:
        """Keys and visibilities of the properties."""
        return [
            (entry["key"], entry.get("visibility", "PRIVATE")) for entry in self.properties or ()
        ]

    def info(self, key: str, *, with_metadata: bool = True) -> ObjectInfo:
        """Return the header of the object."""
        metadata, headers = split_entries(self.entries(key)) if with_metadata else (None, {})
        return ObjectInfo(
            key,
            self.size,
            parse_date(self.modified),
            self.md5,
            metadata,
            self.mime_type or None,
            **headers,
        )

    def entries(self, key: str) -> dict[str, str]:
        """Return the metadata, and the headers that Drive does not have."""
        return unpack(self.properties or (), key=key)


def search(
    session: Session,
    root: Root,
    query: str,
    *,
    fields: str = FILE_FIELDS,
    page_size: int | None = None,
) -> Iterator[DriveFile]:
    """Yield the files that a query finds, page by page."""
    drive = {} if root.drive_id is None else {"corpora": "drive", "driveId": root.drive_id}
    items = session.pages(
        session.api,
        supportsAllDrives=True,
        includeItemsFromAllDrives=True,
        q=query,
        fields=f"nextPageToken,items({fields})",
        maxResults=min(page_size or _PAGE, _PAGE),
        **drive,
    )
    yield from map(DriveFile.of, items)


def fetch(session: Session, file_id: str, fields: str = HEAD_FIELDS) -> DriveFile:
    """Return a file by its id."""
    return DriveFile.of(session.files("get", fileId=file_id, fields=fields))
