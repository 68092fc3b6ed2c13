"""Listings of web servers: index pages, and the XML of object stores."""

from __future__ import annotations

import datetime
import html
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import quote, unquote, urljoin, urlsplit

from cottoncandy.backends.base import CommonPrefix, ObjectInfo
from cottoncandy.backends.http.client import WebClient, status_error
from cottoncandy.backends.pages import check_order, parse_page
from cottoncandy.core.files import is_temporary
from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import (
    AccessDeniedError,
    BucketNotFoundError,
    IntegrityError,
    InvalidNameError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)

_THREADS = 16  # HEAD requests at once: latency counts, not bandwidth
_MAX_DEPTH = 500  # a symbolic link may lead back to a parent directory

_INDEX = re.compile(r"<(?:title|h1)[^>]*>\s*(?:Index of|Directory listing for)", re.IGNORECASE)
# Possessive, so that no page takes longer than its length. Apache leaves apostrophes in names.
_LINK = re.compile(
    r"<a\s[^<>]*?href\s*=\s*(?:\"([^\"<>]*+)\"|'([^'<>]*+)'|([^\"'<>\s]++))[^<>]*+>"
    r"(?:[^<]*+</a>([^<\n]*+))?",
    re.IGNORECASE,
)
# nginx: "02-Jan-2026 03:04      12345"; others round, as in "12K".
_NGINX = re.compile(r"\s*(\d\d-[A-Z][a-z]{2}-\d{4}) (\d\d:\d\d)\s+(\d{1,18})\s*")


@dataclass(slots=True)
class Listing:
    """The listing of one directory of a web server.

    Parameters
    ----------
    client : WebClient
    base : str
        URL of the directory, without a slash at the end.
    head : callable
        Returns the header of a key; for pages without exact sizes.
    prefix, start_after : str
        What is listed begins with the one and comes after the other.
    by_directory : bool
        Whether directories are listed instead of what is in them.
    """

    client: WebClient
    base: str
    head: Callable[[str], ObjectInfo]
    prefix: str = ""
    start_after: str = ""
    by_directory: bool = False
    _status: int = field(default=200, init=False)  # of the last response that is no index page

    def exists(self) -> bool:
        """Return whether the directory exists, even if it may not be listed."""
        response = self.client.request("GET", self.base + "/")
        response.close()
        return response.status not in (404, 410) or self._find_store() is not None

    def entries(self) -> Iterator[ObjectInfo | CommonPrefix]:
        """Yield what is listed, sorted."""
        parents = self.prefix.split("/")[:-1]
        if not {"", ".", ".."}.isdisjoint(parents) or "\0" in self.prefix:
            return
        root = "".join(f"{parent}/" for parent in parents)
        page = self._page(root)
        if page is None and (not root or self._page("") is None):
            store = self._find_store()
            if store is None:
                raise self._no_index
            yield from self._xml_entries(*store)
        elif page is not None:
            entries = map_threads(self._resolve, self._walk(root, page), _THREADS)
            yield from (entry for entry in entries if entry is not None)

    # -- index pages -----------------------------------------------------------------------------

    def _walk(self, directory: str, page: str | None) -> Iterator[ObjectInfo | CommonPrefix | str]:
        """Yield keys in order: as a str, if the page does not show their sizes."""
        prefix, start_after = self.prefix, self.start_after.encode(errors="replace")
        links = _links(page, f"{self.base}/{quote(directory)}") if page else {}
        for name in sorted(links, key=str.encode):
            key = directory + name
            encoded = key.encode()
            if not name.endswith("/"):
                if key.startswith(prefix) and encoded > start_after:
                    info = links[name]
                    yield key if info is None else ObjectInfo(key, info[1], info[0])
            elif not (key.startswith(prefix) or prefix.startswith(key)):
                continue
            elif self.by_directory and key.startswith(prefix) and key != prefix:
                if encoded > start_after:
                    yield CommonPrefix(key)
            elif key.count("/") <= _MAX_DEPTH and (
                encoded > start_after or start_after.startswith(encoded)
            ):
                yield from self._walk(key, self._page(key))

    def _resolve(self, found: ObjectInfo | CommonPrefix | str) -> ObjectInfo | CommonPrefix | None:
        if not isinstance(found, str):
            return found
        try:
            info = self.head(found)
        except (ObjectNotFoundError, InvalidNameError):
            return None  # deleted since it was listed, a dangling link, or not a file
        except AccessDeniedError:
            return ObjectInfo(found, 0)  # it is there: reading it raises the error
        return ObjectInfo(found, info.size, info.modified, info.etag)

    def _page(self, directory: str) -> str | None:
        """Return the index page of a directory; None if the server has none.

        Raises
        ------
        BucketNotFoundError, AccessDeniedError, StoreError
        """
        url = f"{self.base}/{quote(directory)}"
        response = self.client.request("GET", url)
        text = self.client.read(response, url).decode(errors="replace")
        if response.status == 200 and _INDEX.search(text):
            return text
        self._status = response.status
        if response.status in (404, 410):
            return None
        if response.status in (200, 400, 401, 403) and not directory:
            return None  # perhaps it is an object store
        raise self._no_index

    @property
    def _no_index(self) -> Exception:
        if self._status in (404, 410):
            return BucketNotFoundError(f"there is no directory {self.base}, or it has no index")
        if self._status != 200:
            return status_error(self._status, f"the listing of {self.base}")
        return UnsupportedOperationError(
            f"{self.base} has no index page that can be read, so its files cannot be listed; read "
            f"them by their names"
        )

    # -- object stores ---------------------------------------------------------------------------

    def _find_store(self) -> tuple[str, str] | None:
        """Return the URL of the bucket, and the prefix in it, if an object store lists its XML."""
        parts = urlsplit(self.base)
        host, path = f"{parts.scheme}://{parts.netloc}", unquote(parts.path).strip("/")
        bucket, _, rest = path.partition("/")
        candidates = [(f"{host}/", path)]
        if bucket:
            candidates.insert(0, (f"{host}/{quote(bucket)}", rest))
        for url, inside in candidates:
            query = f"prefix={quote(inside, safe='')}&max-keys=1"
            response = self.client.request("GET", url, query=query)
            text = self.client.read(response, url).decode(errors="replace")
            if response.status == 200 and "ListBucketResult" in text:
                return url, f"{inside}/" if inside else ""
        return None

    def _xml_entries(self, url: str, root: str) -> Iterator[ObjectInfo | CommonPrefix]:
        prefix, marker = root + self.prefix, root + self.start_after if self.start_after else ""
        while True:
            options = {"prefix": prefix, "marker": marker}
            if self.by_directory:
                options["delimiter"] = "/"
            query = "&".join(f"{name}={quote(text, safe='')}" for name, text in options.items())
            response = self.client.request("GET", url, query=query)
            body = self.client.read(response, url)
            if response.status != 200:
                raise status_error(response.status, url)
            try:
                page = parse_page(body)
                entries = list(page.entries)
                last = check_order([entry.key for entry in entries], marker, prefix)
            except ValueError as error:
                raise IntegrityError(f"{url}: the listing is damaged: {error}") from error
            for entry in entries:
                key = entry.key[len(root) :]
                if isinstance(entry, CommonPrefix):
                    yield CommonPrefix(key)
                else:
                    yield entry._replace(key=key)
            before, marker = marker, page.token or last
            if not page.truncated:
                return
            if marker <= before:
                raise IntegrityError(f"{url}: the listing is incomplete and does not continue")


def _links(page: str, url: str) -> dict[str, tuple[datetime.datetime, int] | None]:
    """Return the names that an index page links to; those of directories end with a slash."""
    base = urlsplit(url).path
    found: dict[str, tuple[datetime.datetime, int] | None] = {}
    for *links, after in _LINK.findall(page):
        try:
            target = urlsplit(urljoin(url, html.unescape("".join(links))))
        except ValueError:
            continue  # it is no address
        if target.query or target.netloc != urlsplit(url).netloc:
            continue  # a link that sorts the page
        path = unquote(target.path)
        name = path.removeprefix(unquote(base))
        part = name.removesuffix("/")
        if name == path or part in ("", ".", "..") or "/" in part or is_temporary(part):
            continue
        shown = _NGINX.fullmatch(after)
        exact = None
        if shown is not None:
            with suppress(ValueError):  # there is no such date
                # strptime would expect the names of months in the user's language.
                moment = parsedate_to_datetime(f"{shown[1].replace('-', ' ')} {shown[2]}")
                exact = moment.replace(tzinfo=datetime.UTC), int(shown[3])
        found[name] = exact
    return found
