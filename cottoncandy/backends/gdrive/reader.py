"""Reading one version of a file, in ranges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cottoncandy.backends.base import ObjectReader
from cottoncandy.backends.gdrive.files import FILE_FIELDS, DriveFile, fetch
from cottoncandy.backends.gdrive.objects import DriveLocation
from cottoncandy.backends.gdrive.session import DriveError, Session, translating
from cottoncandy.core.buffers import Buffer
from cottoncandy.exceptions import IntegrityError, ObjectChangedError


class DriveReader(ObjectReader):
    """One revision of a file.

    Drive keeps old revisions for a while, so all ranges are read from the revision in the header,
    even if the file is replaced. If the user may not read revisions, the state of the file is
    compared after each range instead.
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
        self.window_bytes = session.options.download_chunk_bytes
        self._pinned = file.can_read_revisions and file.revision is not None

    def stream(self, start: int, stop: int) -> Iterator[Buffer]:
        for position in range(start, stop, self.window_bytes):
            end = min(position + self.window_bytes, stop)
            with translating(self._what):
                try:
                    piece = self._request(position, end)
                except DriveError as fault:
                    if fault.status in (404, 416):
                        raise self._changed() from fault
                    if not self._pinned or fault.status != 403 or fault.transient:
                        raise
                    self._pinned = False  # the user may not read revisions
                    piece = self._request(position, end)
                if end == stop and not self._pinned:
                    now = fetch(self._session, self._file.id, FILE_FIELDS)
                    if (now.revision, now.md5) != (self._file.revision, self._file.md5):
                        raise self._changed()
            yield piece

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
        expected = f"bytes {start}-{stop - 1}/{self.size}"
        whole = responses[0].status == 200 and (start, stop) == (0, self.size)
        if not whole and responses[0].get("content-range") != expected:
            raise self._changed()  # or the server, or a proxy, ignores ranges
        if len(content) != stop - start:
            raise IntegrityError(f"{self._what}: expected {stop - start} bytes, got {len(content)}")
        return content

    def _changed(self) -> ObjectChangedError:
        return ObjectChangedError(
            f"{self._what} was replaced or deleted while it was read; read it again"
        )
