"""What changes files: storing, copying, renaming, removing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from cottoncandy._body import Body
from cottoncandy.backends.gdrive._errors import DriveApiError, DriveConnectionError
from cottoncandy.backends.gdrive._files import HEAD_FIELDS, DriveFile
from cottoncandy.backends.gdrive._folders import Folders
from cottoncandy.backends.gdrive._objects import Place
from cottoncandy.backends.gdrive._properties import pack, private
from cottoncandy.backends.gdrive._session import Api, Session
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
            answer, md5 = upload(
                self._session,
                lambda api, media: api.files.insert(
                    body=resource, media_body=media, supportsAllDrives=True, fields=HEAD_FIELDS
                ),
                body,
                content_type=content_type or _DEFAULT_TYPE,
                chunk_bytes=self._chunk_bytes,
                what=str(place),
            )
        except DriveApiError as fault:
            if fault.status == 404:
                self._folders.forget(place.root, place.folder)  # the folder was deleted
            if fault.status != 409:
                raise
            # An earlier try got through; only its answer did not.
            answer, md5 = self._fetch(str(resource["id"]), place), ""
        file = DriveFile.of(answer)
        return file, md5 or file.md5 or ""

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
        answer, md5 = upload(
            self._session,
            lambda api, media: api.files.update(
                fileId=present.id,
                body=resource,
                media_body=media,
                supportsAllDrives=True,
                fields=HEAD_FIELDS,
            ),
            body,
            content_type=content_type or _DEFAULT_TYPE,
            chunk_bytes=self._chunk_bytes,
            what=str(place),
        )
        file = DriveFile.of(answer)
        self._clear(place, file)
        return file, md5

    def _clear(self, place: Place, file: DriveFile) -> None:
        """Remove the private properties of a version that cottoncandy 0.4.0 wrote."""
        for key in private(file.property_names):
            try:
                self._session.call(partial(_delete_property, file_id=file.id, key=key), str(place))
            except (DriveApiError, DriveConnectionError) as fault:
                # The new ones are stored, and win.
                _log.info("%s keeps an old property: %s", place, fault)

    def _fetch(self, file_id: str, place: Place) -> dict[str, Any]:
        answer: dict[str, Any] = self._session.call(
            lambda api: api.files.get(fileId=file_id, supportsAllDrives=True, fields=HEAD_FIELDS),
            str(place),
        )
        return answer

    def remove(self, file_id: str, place: Place, permanently: bool) -> None:
        """Delete or trash a file; one that is gone is gone."""

        def make(api: Any) -> Any:
            if permanently:
                return api.files.delete(fileId=file_id, supportsAllDrives=True)
            return api.files.trash(fileId=file_id, supportsAllDrives=True, fields="id")

        try:
            self._session.call(make, str(place))
        except DriveApiError as fault:
            if fault.status != 404:
                raise

    def rename(self, file: DriveFile, target: Place) -> DriveFile:
        """Move a file to another place, with its id, sharing and history."""
        folder = self._folders.make(target.root, target.folder)
        # The alias of My Drive's top is not the id that the file has for it.
        folder = self._real_id(folder, target)
        moves: dict[str, Any] = {}
        if folder not in file.parents:
            moves = {"addParents": folder, "removeParents": ",".join(file.parents)}
        answer = self._session.call(
            lambda api: api.files.patch(
                fileId=file.id,
                body={"title": target.path[-1]},
                modifiedDateBehavior="now",  # of two files of one name, this is the one that counts
                supportsAllDrives=True,
                fields=HEAD_FIELDS,
                **moves,
            ),
            str(target),
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
            answer = self._session.call(
                lambda api: api.files.copy(
                    fileId=file.id, body=body, supportsAllDrives=True, fields=HEAD_FIELDS
                ),
                str(target),
            )
        except DriveApiError as fault:
            if fault.status != 409:
                raise
            answer = self._fetch(str(body["id"]), target)
        copied = DriveFile.of(answer)
        self._clear(target, copied)
        return copied

    def _real_id(self, folder: str, place: Place) -> str:
        if folder != "root":
            return folder
        answer = self._session.call(
            lambda api: api.files.get(fileId="root", fields="id"), str(place)
        )
        return str(answer["id"])


def _delete_property(api: Api, file_id: str, key: str) -> Any:
    return api.properties.delete(fileId=file_id, propertyKey=key, visibility="PRIVATE")
