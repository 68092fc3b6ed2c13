"""The HTTP backend: a bucket is a directory of a web server."""

from __future__ import annotations

import datetime
import email.utils
import json
import logging
from collections.abc import Iterator, Mapping
from typing import ClassVar, Self
from urllib.parse import quote, unquote, urlsplit

import urllib3

from cottoncandy.backends.base import (
    Capabilities,
    CommonPrefix,
    ConnectionArguments,
    ObjectInfo,
    ObjectReader,
    ReadOnlyVerbs,
    group_by_delimiter,
)
from cottoncandy.backends.http.client import HTTPOptions, WebClient, body_errors, status_error
from cottoncandy.backends.http.listing import Listing
from cottoncandy.backends.options import split_entries
from cottoncandy.backends.ranges import AT_ONCE_BYTES, GetResponse, RangeReader
from cottoncandy.backends.remote import RemoteBackend
from cottoncandy.backends.responses import content_range, header_text
from cottoncandy.backends.s3.keys import decode_metadata_names
from cottoncandy.core.buffers import PIECE_BYTES, Buffer, MiB
from cottoncandy.core.names import SAFE_CHARACTERS, SIDECAR_SUFFIX, encode_key, shorten
from cottoncandy.exceptions import (
    ConfigurationError,
    IntegrityError,
    InvalidNameError,
    MetadataError,
    ObjectChangedError,
    ObjectNotFoundError,
)

logger = logging.getLogger(__name__)

_FIRST_BYTES = 8 * MiB  # of the body that arrive with the header
_MAX_SIDECAR_BYTES = 4 * MiB
_ATTEMPTS = 10  # to find body and metadata of one version
# A sidecar that is older was not written while body and metadata were requested.
_RECENT = datetime.timedelta(seconds=60)

_METADATA_PREFIXES = ("x-amz-meta-", "x-goog-meta-")


class HTTPBackend(ReadOnlyVerbs, RemoteBackend):
    """Files of a web server, read-only.

    Parameters
    ----------
    options : HTTPOptions
    bucket_name : str, optional
        URL of a directory.

    Notes
    -----
    *Metadata.* Servers of object stores send it as headers. Other servers get a
    second request, for ``NAME.meta.json`` as the local backend writes it; listings hide these
    files.

    *Listings* are read from index pages (Apache, nginx, Python's ``http.server``), one request per
    directory, and a HEAD request per file unless the page shows exact sizes, or from the XML of
    Amazon's and Google's stores. A server may allow reading and have no index.

    *Versions.* A body that is replaced while it is read is detected by its ETag, or by its date and
    size if the server sends none.
    """

    name: ClassVar[str] = "http"
    connection_class = WebClient
    _connection: WebClient
    checks_buckets: ClassVar[bool] = False
    uses_default_bucket: ClassVar[bool] = False
    capabilities: ClassVar[Capabilities] = Capabilities(writable=False, any_key=False)

    @classmethod
    def connect(cls, arguments: ConnectionArguments) -> Self:
        bucket, endpoint = arguments.bucket_name, arguments.endpoint_url
        if bucket is not None and endpoint is not None and "://" not in bucket:
            bucket = f"{endpoint.rstrip('/')}/{quote(bucket.strip('/'), safe=SAFE_CHARACTERS)}"
        url = _checked_url(bucket or endpoint or "")
        return cls(HTTPOptions.of(arguments, url), url)

    def status_message(self) -> str:
        return f"HTTP backend instantiated at {self.bucket_name}."

    def describe(self) -> str:
        return f"web server {self.bucket_name}"

    # -- objects ---------------------------------------------------------------------------------

    def get(
        self, key: str, *, threads: int = 4, prefetch: bool | tuple[int, int] = True, tail: int = 0
    ) -> ObjectReader:
        url = self._url(key)
        for _ in range(_ATTEMPTS):
            opened = self._open(url, key, prefetch, tail)
            info = self._with_metadata(url, opened)
            if info is not None:
                opened = info if isinstance(opened, ObjectInfo) else opened._replace(info=info)
                reader = RangeReader(
                    lambda start, stop, _: self._get_range(url, key, start, stop),
                    f"object '{key}' at {url}",
                    opened,
                    threads=threads,
                )
                reader.counter = self.counter
                reader.pinned = info.etag is not None and not reader.sequential
                return reader
            if isinstance(opened, GetResponse):
                opened.close()
        raise ObjectChangedError(f"{url} is replaced faster than it can be opened; try again")

    def exists(self, key: str) -> bool:
        try:
            self._head(key)
        except (ObjectNotFoundError, InvalidNameError):
            return False
        return True

    def scan(
        self,
        prefix: str = "",
        *,
        delimiter: str = "",
        start_after: str = "",
        page_size: int | None = None,
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        client, by_directory = self._connection, delimiter == "/"
        listing = Listing(client, self.bucket, self._head, prefix, start_after, by_directory)
        visible = (each for each in listing.entries() if not each.key.endswith(SIDECAR_SUFFIX))
        return group_by_delimiter(visible, prefix, delimiter)

    # -- buckets ---------------------------------------------------------------------------------

    def has_bucket(self, bucket: str) -> bool:
        """Return whether a directory has an index page, or exists without one being shown."""
        return Listing(self._connection, _checked_url(bucket), self._head).exists()

    # -- requests --------------------------------------------------------------------------------

    @property
    def bucket(self) -> str:
        return _checked_url(super().bucket)

    def _url(self, key: str) -> str:
        encoded = quote(encode_key(key), safe=SAFE_CHARACTERS)
        if "\0" in key or not {"", ".", ".."}.isdisjoint(key.split("/")):
            raise InvalidNameError(
                f"{shorten(key)!r} cannot be requested from a web server: a name has no NUL, and "
                f"its parts between slashes are not empty, '.' or '..'"
            )
        return f"{self.bucket}/{encoded}"

    def _open(
        self, url: str, key: str, prefetch: bool | tuple[int, int], tail: int
    ) -> GetResponse | ObjectInfo:
        """Request the header and, if wanted, a part of the body."""
        if not prefetch and not tail:
            return self._head(key)
        span = prefetch if isinstance(prefetch, tuple) else (0, _FIRST_BYTES)
        return self._get_range(url, key, *((-tail, 0) if tail else span), first=True)

    def _head(self, key: str) -> ObjectInfo:
        url = self._url(key)
        response = self._connection.request("HEAD", url)
        response.drain_conn()
        if response.status in (403, 405, 501) or "Content-Length" not in response.headers:
            if response.status == 404:
                raise status_error(404, f"object '{key}' at {url}")
            # Presigned URLs are for GET only, and some servers do not support HEAD.
            opened = self._get_range(url, key, 0, 1, first=True)
            opened.close()
            return opened.info
        _check(response, url, key)
        return _info(key, response, int(response.headers["Content-Length"]))

    def _get_range(
        self, url: str, key: str, start: int, stop: int, *, first: bool = False
    ) -> GetResponse:
        """Request a range, or with a negative start the end of the body."""
        label = f"object '{key}' at {url}"
        span = f"bytes={start}" if start < 0 else f"bytes={start}-{stop - 1}"
        response = self._connection.request("GET", url, {"Range": span})
        if first and response.status == 416:  # it is empty
            response.drain_conn()
            response = self._connection.request("GET", url)
        stored = response.headers.get("x-goog-stored-content-encoding")
        if stored == "gzip" and response.headers.get("Content-Encoding") != stored:
            response.close()  # Google's store decompressed the body in transit
            response = self._connection.request(
                "GET", url, {"Range": span, "Accept-Encoding": "gzip"}
            )
        _check(response, url, key)
        pieces = self.counter.received(_pieces(response, label))
        if response.status == 206:
            found = content_range(response.headers)
            if found is None:
                response.close()
                raise IntegrityError(f"{label}: the server sent an unreadable Content-Range")
            begin, end, size = found
            info = _info(key, response, size)
            return GetResponse(info, begin, end, pieces, response.close)
        length = response.headers.get("Content-Length")
        if length is None or not length.isdecimal():
            body = b"".join(pieces)  # its length is known at its end
            pieces, length = iter([body]), str(len(body))
        size = int(length)
        info, start = _info(key, response, size), max(start, 0) if not first else 0
        if start:
            pieces = _skipped(pieces, start)
        return GetResponse(info, start, size, pieces, response.close, size > AT_ONCE_BYTES)

    # -- metadata --------------------------------------------------------------------------------

    def _with_metadata(self, url: str, opened: GetResponse | ObjectInfo) -> ObjectInfo | None:
        """Return the header with the metadata; None if another version took its place."""
        info = opened if isinstance(opened, ObjectInfo) else opened.info
        if info.metadata is not None:
            return info
        response = self._connection.request("GET", url + SIDECAR_SUFFIX)
        try:
            if response.status == 403:
                logger.warning("%s%s: access is denied, metadata is missing", url, SIDECAR_SUFFIX)
            if response.status in (403, 404, 410):
                return info._replace(metadata={})
            if response.status != 200:
                raise status_error(response.status, url + SIDECAR_SUFFIX)
            with body_errors(url + SIDECAR_SUFFIX):
                content = response.read(_MAX_SIDECAR_BYTES + 1)
            self.counter.add(received=len(content))
        finally:
            response.drain_conn()
        metadata, headers = split_entries(_parse_sidecar(content, info, url))
        written, now = (_date(response.headers.get(name)) for name in ("Last-Modified", "Date"))
        if written is None or now is None or now - written < _RECENT:
            current = self._head(info.key)
            if (current.etag, current.size) != (info.etag, info.size):
                return None
        return info._replace(metadata=metadata, **headers)


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"the http backend needs the URL of a directory, such as https://host/directory, got "
            f"{shorten(url.rpartition('@')[2])!r}"
        )
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{quote(unquote(parts.path.rstrip('/')), safe=SAFE_CHARACTERS)}"


def _check(response: urllib3.BaseHTTPResponse, url: str, key: str) -> None:
    """Raise if a response is not the object."""
    # A server redirects the name of a directory to its index page.
    final = urlsplit(response.url or "").path
    if response.status in (200, 206) and final != urlsplit(url).path + "/":
        return
    response.close()
    status = 404 if response.status in (200, 206) else response.status
    raise status_error(status, f"object '{key}' at {url}")


def _info(key: str, response: urllib3.BaseHTTPResponse, size: int) -> ObjectInfo:
    headers = {name.lower(): value for name, value in response.headers.items()}
    metadata: dict[str, str] | None = None
    if any(name.startswith(("x-amz-", "x-goog-")) for name in headers):
        metadata = {
            name.removeprefix(prefix): header_text(value)
            for prefix in _METADATA_PREFIXES
            for name, value in headers.items()
            if name.startswith(prefix)
        }
        if "cc-names" in metadata:  # Ceph stores "_" as "-"
            metadata = decode_metadata_names(metadata)
    date = headers.get("last-modified")
    return ObjectInfo(
        key,
        size,
        _date(date),
        headers.get("etag") or (f"{date} {size}" if date else None),
        metadata,
        headers.get("content-type"),
        headers.get("content-encoding"),
        headers.get("cache-control"),
        headers.get("x-amz-storage-class") or headers.get("x-goog-storage-class"),
    )


def _date(text: str | None) -> datetime.datetime | None:
    try:
        return email.utils.parsedate_to_datetime(text or "")
    except ValueError:
        return None


def _pieces(response: urllib3.BaseHTTPResponse, label: str) -> Iterator[Buffer]:
    with body_errors(label):
        yield from response.stream(PIECE_BYTES, decode_content=False)
    response.release_conn()


def _skipped(pieces: Iterator[Buffer], count: int) -> Iterator[Buffer]:
    for piece in pieces:
        if count < len(piece):
            yield memoryview(piece)[count:]
        count = max(count - len(piece), 0)


def _parse_sidecar(content: bytes, info: ObjectInfo, url: str) -> Mapping[str, str]:
    """Return the metadata in a file that the local backend wrote."""
    try:
        if len(content) > _MAX_SIDECAR_BYTES:
            raise ValueError("it is too long")
        found = json.loads(content)
        pending = found.pop("cc-pending", None)
        if pending is not None and info.modified is not None:
            _, size, mtime_ns = pending["body"]
            if (size, mtime_ns // 10**9) == (info.size, int(info.modified.timestamp())):
                found = pending["metadata"]
        return {name.lower(): str(value) for name, value in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise MetadataError(
            f"the metadata of {url} cannot be read: {url}{SIDECAR_SUFFIX} is not a JSON object of "
            f"text ({error})"
        ) from error
