"""Objects by key: finding, storing, copying, renaming and removing their files."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cottoncandy.backends.gdrive.errors import DriveApiError, DriveConnectionError
from cottoncandy.backends.gdrive.files import (
    HEAD_FIELDS,
    DriveFile,
    Root,
    fetch,
    in_folders,
    search,
    titled,
)
from cottoncandy.backends.gdrive.folders import Folders, Path
from cottoncandy.backends.gdrive.properties import pack, private
from cottoncandy.backends.gdrive.session import Session
from cottoncandy.backends.gdrive.upload import upload
from cottoncandy.core.buffers import Body
from cottoncandy.core.threads import ForkSafeLock
from cottoncandy.exceptions import StoreError

__all__ = ["Objects", "Place", "Writer"]

_log = logging.getLogger(__name__)

#: How long Drive's search may lag behind what we have written, in seconds, and how many we note.
_LAG_S = 60.0
_NOTED = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key is: a path below the root of a bucket."""

    bucket: str
    root: Root
    path: Path

    @property
    def key(self) -> str:
        """The key."""
        return "/".join(self.path)

    @property
    def folder(self) -> Path:
        """The path of the folder."""
        return self.path[:-1]

    def __str__(self) -> str:
        return f"object '{self.key}' in '{self.bucket}' on Google Drive"


class Objects:
    """Looks for the files that have a key."""

    def __init__(
        self, session: Session, folders: Folders, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._session = session
        self._folders = folders
        self._clock = clock
        self._written: OrderedDict[tuple[Root, Path], tuple[str, float]] = OrderedDict()
        self._warned: set[tuple[str, ...]] = set()
        self._lock = ForkSafeLock()

    def find(self, place: Place) -> list[DriveFile]:
        """Return the files that have the key, the one that counts first.

        One request, if the folder is known already.
        """
        return self.find_together([place])[place.path]

    def find_together(self, places: Sequence[Place]) -> dict[Path, list[DriveFile]]:
        """Do the same for some keys in one folder, with one request."""
        found: dict[Path, list[DriveFile]] = {place.path: [] for place in places}
        for file in self._search(places[0], [place.path[-1] for place in places]):
            files = found.get((*places[0].folder, file.title))
            # Drive does not tell names apart that differ in case only.
            if files is not None and file.is_object:
                files.append(file)
        for place in places:
            files = self._with_written(place, found[place.path])
            files.sort(key=lambda file: file.age, reverse=True)
            found[place.path] = files
            if len(files) > 1:
                self._warn(place, files)
        return found

    def wrote(self, place: Place, file_id: str) -> None:
        """Note that a file is at a place, which Drive's search may not know yet."""
        with self._lock:
            self._written.pop((place.root, place.path), None)
            self._written[place.root, place.path] = file_id, self._clock() + _LAG_S
            while len(self._written) > _NOTED:
                self._written.popitem(last=False)

    def removed(self, place: Place) -> None:
        """Note that nothing is at a place any more."""
        with self._lock:
            self._written.pop((place.root, place.path), None)

    def settle(self, place: Place, file: DriveFile) -> DriveFile:
        """Move a file that was put into a folder which was trashed meanwhile to a good one."""
        for _ in range(5):
            if not file.trashed:
                self.wrote(place, file.id)
                return file
            self._folders.forget(place.root, place.folder)
            folder = self._folders.make(place.root, place.folder)
            parents = ",".join(parent for parent in file.parents if parent != folder)
            if not parents:
                break
            moved = self._session.files(
                "patch",
                fileId=file.id,
                body={},
                addParents=folder,
                removeParents=parents,
                fields=HEAD_FIELDS,
            )
            file = DriveFile.of(moved)
        raise StoreError(
            f"{place} was stored in a folder that somebody else keeps moving to the trash; it is "
            f"the file with the id {file.id}"
        )

    # -- inside ----------------------------------------------------------------------------------

    def _search(self, place: Place, titles: Sequence[str]) -> list[DriveFile]:
        for _ in range(2):
            folders = self._folders.find(place.root, place.folder)
            if not folders:
                return []
            query = f"{in_folders(folders)} and {titled(titles)}"
            try:
                return list(search(self._session, place.root, query, fields=HEAD_FIELDS))
            except DriveApiError as fault:
                if fault.status != 404 or not place.folder:
                    raise
                self._folders.forget(place.root, place.folder)  # deleted by somebody else
        return []

    def _with_written(self, place: Place, found: list[DriveFile]) -> list[DriveFile]:
        """Add a file that we wrote lately, if the search does not know it yet."""
        with self._lock:
            file_id, until = self._written.get((place.root, place.path), ("", 0.0))
        if until < self._clock() or any(file.id == file_id for file in found):
            return found
        try:
            file = fetch(self._session, file_id)
        except DriveApiError as fault:
            if fault.status != 404:
                raise
            self.removed(place)
            return found
        folders = self._folders.find(place.root, place.folder)
        # The alias of My Drive's top is no parent's id.
        inside = not place.folder or not set(folders).isdisjoint(file.parents)
        if file.trashed or file.title != place.path[-1] or not inside:
            self.removed(place)
            return found
        return [*found, file]

    def _warn(self, place: Place, files: list[DriveFile]) -> None:
        ids = tuple(file.id for file in files)
        with self._lock:
            if ids in self._warned:
                return
            self._warned.add(ids)
        _log.warning(
            "%s: %d files have this name. The one modified last counts (id %s); remove or rename "
            "the others in the browser (ids %s)",
            place,
            len(ids),
            ids[0],
            ", ".join(ids[1:]),
        )


_DEFAULT_TYPE = "application/octet-stream"


class Writer:
    """Changes files; what each request does can be repeated without harm.

    Errors are Drive's own (:class:`DriveApiError`, :class:`DriveConnectionError`).
    """

    def __init__(self, session: Session, folders: Folders, chunk_bytes: int) -> None:
        self._session = session
        self._folders = folders
        self._chunk_bytes = chunk_bytes

    def create(
        self, place: Place, body: Body, metadata: Mapping[str, str], content_type: str | None
    ) -> tuple[DriveFile, str]:
        """Store a new file; return it, and the MD5 of what was sent."""
        folder = self._folders.make(place.root, place.folder)
        resource = {
            "id": self._session.new_id(),
            "title": place.path[-1],
            "mimeType": content_type or _DEFAULT_TYPE,
            "parents": [{"id": folder}],
            "properties": pack(metadata, key=place.key),
        }
        try:
            return self._upload("insert", place, resource, body)
        except DriveApiError as fault:
            if fault.status == 404:
                self._folders.forget(place.root, place.folder)  # the folder was deleted
            if fault.status != 409:
                raise
            # An earlier try succeeded, but its response was lost.
            file = fetch(self._session, str(resource["id"]))
            return file, file.md5 or ""

    def replace(
        self,
        place: Place,
        present: DriveFile,
        body: Body,
        metadata: Mapping[str, str],
        content_type: str | None,
    ) -> tuple[DriveFile, str]:
        """Give a file new content and metadata in one request; return it, and the MD5 sent."""
        properties = pack(metadata, present.property_names, key=place.key)
        resource = {"mimeType": content_type or _DEFAULT_TYPE, "properties": properties}
        file, md5 = self._upload("update", place, resource, body, fileId=present.id)
        self._clear(place, file)
        return file, md5

    def _upload(
        self, verb: str, place: Place, resource: dict[str, Any], body: Body, **options: str
    ) -> tuple[DriveFile, str]:
        def make_request(media: Any) -> Any:
            return getattr(self._session.api, verb)(
                body=resource,
                media_body=media,
                supportsAllDrives=True,
                fields=HEAD_FIELDS,
                **options,
            )

        answer, md5 = upload(
            self._session,
            make_request,
            body,
            content_type=resource["mimeType"],
            chunk_bytes=self._chunk_bytes,
            what=str(place),
        )
        return DriveFile.of(answer), md5

    def _clear(self, place: Place, file: DriveFile) -> None:
        """Remove the private properties of a version that cottoncandy 0.4.0 wrote."""
        for key in private(file.property_names):
            try:
                self._session.call(
                    self._session.service.properties().delete(
                        fileId=file.id, propertyKey=key, visibility="PRIVATE"
                    )
                )
            except (DriveApiError, DriveConnectionError) as fault:
                # The new ones are stored, and win.
                _log.info("%s keeps an old property: %s", place, fault)

    def remove(self, file_id: str, permanently: bool) -> None:
        """Delete or trash a file that may no longer exist."""
        try:
            self._session.files("delete" if permanently else "trash", fileId=file_id)
        except DriveApiError as fault:
            if fault.status != 404:
                raise

    def rename(self, file: DriveFile, target: Place) -> DriveFile:
        """Move a file to another place, with its id, sharing and history."""
        folder = self._folders.make(target.root, target.folder)
        if folder == "root":  # an alias, which is not the id that the file has for it
            folder = fetch(self._session, folder, "id").id
        moves: dict[str, Any] = {}
        if folder not in file.parents:
            moves = {"addParents": folder, "removeParents": ",".join(file.parents)}
        answer = self._session.files(
            "patch",
            fileId=file.id,
            body={"title": target.path[-1]},
            modifiedDateBehavior="now",  # if two files have the name, this one is the object
            fields=HEAD_FIELDS,
            **moves,
        )
        return DriveFile.of(answer)

    def duplicate(self, file: DriveFile, target: Place) -> DriveFile:
        """Copy a file on the server, with metadata."""
        folder = self._folders.make(target.root, target.folder)
        info = file.info(target.key)
        body = {
            "id": self._session.new_id(),
            "title": target.path[-1],
            "parents": [{"id": folder}],
            "mimeType": file.mime_type,
            "properties": pack(info.metadata or {}, file.property_names, key=target.key),
        }
        try:
            answer = self._session.files("copy", fileId=file.id, body=body, fields=HEAD_FIELDS)
            copied = DriveFile.of(answer)
        except DriveApiError as fault:
            if fault.status != 409:
                raise
            copied = fetch(self._session, str(body["id"]))
        self._clear(target, copied)
        return copied
