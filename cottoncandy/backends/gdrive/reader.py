"""Reading one version of a file, in ranges."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from cottoncandy.backends.base import ObjectReader
from cottoncandy.backends.gdrive.files import FILE_FIELDS, DriveFile, fetch
from cottoncandy.backends.gdrive.objects import DriveLocation
from cottoncandy.backends.gdrive.session import DriveError, Session, translating
from cottoncandy.core.buffers import Buffer
from cottoncandy.exceptions import IntegrityError, ObjectChangedError

__all__ = ["DriveReader"]


class DriveReader(ObjectReader):
    """One revision of a file.

    Drive keeps old revisions for a while, so all ranges are read from the revision in the header,
    even if the file is replaced. If the user may not read revisions, the state of the file is
    compared afterwards instead. The MD5 of a body that is read completely is checked.
    """

    max_resumes = 0  # the session retries

    def __init__(
        self, session: Session, file: DriveFile, location: DriveLocation, threads: int
    ) -> None:
        self.info = file.info(location.key)
        self._session = session
        self._file = file
        self._what = str(location)
        self.threads = threads
        self.window_bytes = session.config.download_chunk_bytes
        self._pinned = file.can_read_revisions and file.revision is not None

    def stream(self, start: int, stop: int) -> Iterator[Buffer]:
        for position in range(start, stop, self.window_bytes):
            yield self._fetch(position, min(position + self.window_bytes, stop))

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[Buffer]:
        end = self.size if stop is None else stop
        whole = start == 0 and end == self.size and self._file.md5 is not None
        digest = hashlib.md5(usedforsecurity=False)
        position = start
        for data in super().chunks(start, end):
            position += len(data)
            if whole:
                digest.update(data)
            if position == end:  # before the last piece is yielded
                self._verify(digest.hexdigest() if whole else None)
            yield data

    def read_into(self, out: memoryview, start: int = 0, **options: Any) -> int:
        checksum = super().read_into(out, start, **options)
        if len(out):
            whole = len(out) == self.size and self._file.md5 is not None
            self._verify(hashlib.md5(out, usedforsecurity=False).hexdigest() if whole else None)
        return checksum

    def _fetch(self, start: int, stop: int) -> bytes:
        with translating(self._what):
            try:
                return self._request(start, stop)
            except DriveError as fault:
                if self._pinned and fault.status == 403 and not fault.transient:
                    self._pinned = False  # the user may not read revisions
                    return self._request(start, stop)
                if fault.status in (404, 416):
                    raise self._changed() from fault
                raise

    def _request(self, start: int, stop: int) -> bytes:
        options: dict[str, Any] = {"revisionId": self._file.revision} if self._pinned else {}
        request = self._session.api.get_media(
            fileId=self._file.id, supportsAllDrives=True, **options
        )
        request.headers["range"] = f"bytes={start}-{stop - 1}"
        request.headers["accept-encoding"] = "identity"
        responses: list[Any] = []
        request.add_response_callback(responses.append)
        content: bytes = self._session.call(request)
        if responses[0].status == 206:
            expected = f"bytes {start}-{stop - 1}/{self.size}"
            if responses[0].get("content-range") != expected:
                raise self._changed()
        elif (start, stop) != (0, self.size):
            raise IntegrityError(
                f"Google Drive sent all of {self._what}, expected bytes {start} to {stop}"
            )
        if len(content) != stop - start:
            raise IntegrityError(f"{self._what}: expected {stop - start} bytes, got {len(content)}")
        return content

    def _verify(self, md5: str | None) -> None:
        """Check the MD5 of a whole body, or else that the file is unchanged."""
        if md5 is not None:
            if md5 == self._file.md5:
                return
            if self._now_is_other():
                raise self._changed()
            raise IntegrityError(
                f"{self._what} arrived damaged: expected the MD5 {self._file.md5}, got "
                f"{md5}; try again"
            )
        if not self._pinned and self._now_is_other():
            raise self._changed()

    def _now_is_other(self) -> bool:
        with translating(self._what):
            now = fetch(self._session, self._file.id, FILE_FIELDS)
        return (now.revision, now.md5) != (self._file.revision, self._file.md5)

    def _changed(self) -> ObjectChangedError:
        return ObjectChangedError(
            f"{self._what} was replaced or deleted while it was read; read it again"
        )
