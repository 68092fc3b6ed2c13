"""Files, folders, shared drives and revisions, with Drive's rules and limits."""

from __future__ import annotations

import datetime
import hashlib
import itertools
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.servers.drive.errors import ApiError, invalid, not_found

FOLDER = "application/vnd.google-apps.folder"
NATIVE = "application/vnd.google-apps."
OWNER = "someone@example.org"
PROPERTY_BYTES = 124
MAX_PROPERTIES = 30


@dataclass
class File:
    """One item: a file, a folder or a document of Google's own kinds."""

    id: str
    title: str
    mime_type: str
    parents: list[str]
    created: str
    modified: str
    drive_id: str | None = None
    starred: bool = False
    explicitly_trashed: bool = False
    trashed: bool = False  # worked out before each query
    version: int = 1
    can_read_revisions: bool = True
    properties: dict[tuple[str, str], str] = field(default_factory=dict)
    revisions: dict[str, bytes] = field(default_factory=dict)
    owners: list[str] = field(default_factory=lambda: [OWNER])
    hidden: bool = False  # not in listings yet: Drive's index lags behind

    @property
    def is_folder(self) -> bool:
        return self.mime_type == FOLDER

    @property
    def head(self) -> str:
        return list(self.revisions)[-1]

    @property
    def content(self) -> bytes:
        return self.revisions[self.head]


class Store:
    """The state of the server; all of it under one lock."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.url = ""
        self.root_id = "0AFakeMyDriveRootPVA"
        self.replace_properties = False  # the API does not say whether update merges; see tests
        self.lag = False
        self.quota: int | None = None
        self._count = itertools.count(1)
        self._last = ""
        self.generated: set[str] = set()
        self.deleted: set[str] = set()
        self.drives: dict[str, str] = {}
        self.files: dict[str, File] = {}
        self._inside: dict[str, dict[str, None]] = {}
        now = self.now()
        self.files[self.root_id] = File(self.root_id, "My Drive", FOLDER, [], now, now)

    # -- marks ------------------------------------------------------------------------------------

    def new_id(self) -> str:
        return f"1fakeDriveFileId{next(self._count):017d}"

    def now(self) -> str:
        """Return a time in Drive's form, later than any before it."""
        moment = datetime.datetime.now(datetime.UTC)
        while True:
            text = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
            if text > self._last:
                self._last = text
                return text
            last = datetime.datetime.strptime(self._last, "%Y-%m-%dT%H:%M:%S.%f%z")
            moment = last + datetime.timedelta(milliseconds=1)

    def add_drive(self, name: str) -> str:
        with self.lock:
            drive_id = f"0AFakeShared{next(self._count):07d}"
            self.drives[drive_id] = name
            now = self.now()
            self.files[drive_id] = File(drive_id, name, FOLDER, [], now, now, drive_id=drive_id)
            return drive_id

    # -- looking ----------------------------------------------------------------------------------

    def resolve(self, file_id: str) -> str:
        return self.root_id if file_id == "root" else file_id

    def find(self, file_id: str, *, all_drives: bool = True) -> File:
        file = self.files.get(self.resolve(file_id))
        if file is None or (file.drive_id and not all_drives):
            raise not_found(file_id)
        file.trashed = self.is_trashed(file)
        return file

    def is_trashed(self, file: File | None) -> bool:
        while file is not None:
            if file.explicitly_trashed:
                return True
            file = self.files.get(file.parents[0]) if file.parents else None
        return False

    def children(self, folder_id: str) -> list[File]:
        return self.in_folders([self.resolve(folder_id)])

    def in_folders(self, folders: Iterable[str] | None) -> list[File]:
        """Return the files in some folders, or all."""
        if folders is None:
            return list(self.files.values())
        return [self.files[name] for folder in folders for name in self._inside.get(folder, ())]

    def _place(self, file: File, parents: list[str]) -> None:
        for parent in file.parents:
            self._inside.get(parent, {}).pop(file.id, None)
        file.parents = parents
        for parent in parents:
            self._inside.setdefault(parent, {})[file.id] = None

    # -- changing ---------------------------------------------------------------------------------

    def insert(self, body: dict[str, Any], content: bytes | None, mime_type: str | None) -> File:
        parents = [self.resolve(parent["id"]) for parent in body.get("parents", [])]
        if len(parents) > 1:
            raise invalid("a file has one parent")
        parent = self.find(parents[0] if parents else "root")
        if not parent.is_folder:
            raise ApiError(403, "parentNotAFolder", "the parent is not a folder")
        file_id = self._take_id(body)
        kind = body.get("mimeType") or mime_type or "application/octet-stream"
        if kind.startswith(NATIVE) and content:
            raise invalid(f"{kind} has no content")
        self._check_quota(len(content or b""))
        now = self.now()
        file = File(file_id, body.get("title", "Untitled"), kind, [], now, now)
        file.drive_id = parent.drive_id
        file.owners = [] if parent.drive_id else [OWNER]
        if not kind.startswith(NATIVE):
            file.revisions[self.new_id()] = content or b""
        self._set_properties(file, body.get("properties", []))
        file.hidden = self.lag
        self.files[file_id] = file
        self._place(file, [parent.id])
        return self.find(file_id)

    def _take_id(self, body: dict[str, Any]) -> str:
        wanted = body.get("id")
        if wanted is None:
            return self.new_id()
        if wanted in self.files or wanted in self.deleted:
            raise ApiError(409, "fileIdInUse", "A file already exists with the provided ID.")
        if wanted not in self.generated:
            raise invalid("The provided file ID is not usable.")
        return str(wanted)

    def update(
        self,
        file: File,
        body: dict[str, Any],
        content: bytes | None = None,
        *,
        add: str = "",
        remove: str = "",
        modified: str = "nowIfNeeded",
        mime_type: str | None = None,
    ) -> File:
        properties = dict(file.properties)
        parents = [self.resolve(parent["id"]) for parent in body.get("parents", [])]
        parents = parents or list(file.parents)
        for parent in filter(None, remove.split(",")):
            if self.resolve(parent) not in parents:
                raise invalid(f"{parent} is not a parent")
            parents.remove(self.resolve(parent))
        parents += [self.find(parent).id for parent in filter(None, add.split(","))]
        if len(parents) != (0 if file.id in (self.root_id, file.drive_id) else 1):
            raise ApiError(403, "cannotAddParent", "a file has one parent")
        self._check_quota(len(content or b""))
        try:
            if "properties" in body and self.replace_properties:
                file.properties = {}
            self._set_properties(file, body.get("properties", []))
        except ApiError:
            file.properties = properties
            raise
        if content is not None:
            if not file.revisions:
                raise ApiError(403, "fileNotUpdatable", "this kind of file has no content")
            file.revisions[self.new_id()] = content
        file.title = body.get("title", file.title)
        file.mime_type = body.get("mimeType") or mime_type or file.mime_type
        if "labels" in body:
            file.explicitly_trashed = body["labels"].get("trashed", file.explicitly_trashed)
        if parents:
            self._place(file, parents)
            file.drive_id = self.find(parents[0]).drive_id
            file.owners = [] if file.drive_id else [OWNER]
        if modified != "noChange":
            file.modified = self.now()
        file.version += 1
        return self.find(file.id)

    def copy(self, file: File, body: dict[str, Any]) -> File:
        if file.is_folder:
            raise ApiError(403, "cannotCopyFile", "This file cannot be copied by the user.")
        properties = {
            (p["key"], p.get("visibility", "PRIVATE")) for p in body.get("properties", [])
        }
        kept = [
            {"key": key, "value": value, "visibility": visibility}
            for (key, visibility), value in file.properties.items()
            if (key, visibility) not in properties and visibility == "PUBLIC"
        ]
        fresh = {
            "title": f"Copy of {file.title}",
            "mimeType": file.mime_type,
            "parents": [{"id": parent} for parent in file.parents],
            **body,
            "properties": kept + body.get("properties", []),
        }
        return self.insert(fresh, file.content, file.mime_type)

    def delete(self, file: File) -> None:
        if file.id in (self.root_id, file.drive_id):
            raise ApiError(403, "insufficientFilePermissions", "a root cannot be deleted")
        for child in self.children(file.id):
            self.delete(child)
        self.deleted.add(file.id)
        self._place(file, [])
        del self.files[file.id]

    def set_property(self, file: File, key: str, value: str, visibility: str) -> None:
        self._set_properties(file, [{"key": key, "value": value, "visibility": visibility}])

    def _set_properties(self, file: File, entries: list[dict[str, Any]]) -> None:
        merged = dict(file.properties)
        for entry in entries:
            key, value = entry.get("key"), entry.get("value")
            visibility = entry.get("visibility", "PRIVATE")
            if not key or value is None or visibility not in ("PUBLIC", "PRIVATE"):
                raise invalid("a property has a key, a value and a visibility")
            if len(key.encode()) + len(value.encode()) > PROPERTY_BYTES:
                raise ApiError(400, "propertyTooLong", f"property {key} is above 124 bytes")
            merged[key, visibility] = value
        for wanted in ("PUBLIC", "PRIVATE"):
            if sum(visibility == wanted for _, visibility in merged) > MAX_PROPERTIES:
                raise ApiError(403, "limitExceeded", f"more than 30 {wanted} properties")
        file.properties = merged

    def _check_quota(self, more: int) -> None:
        if self.quota is None:
            return
        used = sum(len(data) for file in self.files.values() for data in file.revisions.values())
        if used + more > self.quota:
            raise ApiError(
                403, "storageQuotaExceeded", "The user's Drive storage quota has been exceeded."
            )


def resource(store: Store, file: File) -> dict[str, Any]:
    """Write a file as the API does."""
    file.trashed = store.is_trashed(file)
    answer: dict[str, Any] = {
        "kind": "drive#file",
        "id": file.id,
        "etag": f'"fake{file.version}"',
        "title": file.title,
        "mimeType": file.mime_type,
        "labels": {"trashed": file.trashed, "starred": file.starred, "viewed": True},
        "explicitlyTrashed": file.explicitly_trashed,
        "createdDate": file.created,
        "modifiedDate": file.modified,
        "version": str(file.version),
        "editable": True,
        "parents": [
            {"kind": "drive#parentReference", "id": parent, "isRoot": parent == store.root_id}
            for parent in file.parents
        ],
        "capabilities": {"canReadRevisions": file.can_read_revisions, "canDownload": True},
    }
    if file.owners:
        answer["owners"] = [
            {"kind": "drive#user", "emailAddress": who, "displayName": "Some One",
             "permissionId": "0123456789"}
            for who in file.owners
        ]  # fmt: skip
    if file.drive_id:
        answer["driveId"] = answer["teamDriveId"] = file.drive_id
    if file.properties:
        answer["properties"] = [
            {"kind": "drive#property", "key": key, "value": value, "visibility": visibility}
            for (key, visibility), value in file.properties.items()
        ]
    if file.revisions:
        content = file.content
        answer |= {
            "fileSize": str(len(content)),
            "quotaBytesUsed": str(len(content)),
            "md5Checksum": hashlib.md5(content).hexdigest(),
            "headRevisionId": file.head,
            "originalFilename": file.title,
            "downloadUrl": f"{store.url}/drive/v2/files/{file.id}?alt=media",
        }
    return answer
