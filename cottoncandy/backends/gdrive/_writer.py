"""What changes files: storing, copying, renaming, removing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from cottoncandy._body import Body
from cottoncandy.backends.gdrive._errors import DriveApiError, DriveConnectionError
from cottoncandy.backends.gdrive._files import HEAD_FIELDS, DriveFile, fetch
from cottoncandy.backends.gdrive._folders import Folders
from cottoncandy.backends.gdrive._objects import Place
from cottoncandy.backends.gdrive._properties import pack, private
from cottoncandy.backends.gdrive._session import Session
from cottoncandy.backends.gdrive._upload import upload

__all__ = ["Writer"]

_log = logging.getLogger(__name__)

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
