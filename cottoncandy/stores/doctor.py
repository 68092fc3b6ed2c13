"""A test of the abilities of a store, and the source of each option."""

from __future__ import annotations

import datetime
import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from cottoncandy.backends.base import Backend, IfAbsent, IfMatch, ObjectInfo, PutOptions
from cottoncandy.config.options import option_sources
from cottoncandy.core.buffers import Body, MiB
from cottoncandy.exceptions import (
    BucketNotFoundError,
    CottonCandyError,
    InvalidNameError,
    ObjectChangedError,
    ObjectExistsError,
)
from cottoncandy.stores.finding import scan_objects
from cottoncandy.stores.store import Store

Verdict = Literal["ok", "warning", "failed"]
_Attempt = Callable[[], tuple[Verdict, str]]

_SKEW_S = 300  # S3 rejects requests whose clock differs by 15 minutes
_PARTS_BYTES = 33 * MiB  # above the default size from which an upload has several parts
_ODD_NAMES = ("a//b", "./c", "d/", " e ", "f%2Fg+&h?", "ümlaut\u0301", "tab\t")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried.

    Parameters
    ----------
    name : str
        What was tried, such as ``'reading'`` or ``'clock'``.
    verdict : {'ok', 'warning', 'failed'}
        ``'failed'`` only if listing, reading, writing or deleting does not work.
    text : str
        What happened, and what cottoncandy does about it.
    """

    name: str
    verdict: Verdict
    text: str


@dataclass(frozen=True, slots=True)
class OptionSource:
    """Where the value of an option comes from; the value is not included, it may be a secret."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class Report:
    """The result of :func:`cottoncandy.doctor`.

    Parameters
    ----------
    location : str
        The store, without secrets.
    checks : list of Check
    options : list of OptionSource
    """

    location: str
    checks: list[Check] = field(default_factory=list)
    options: list[OptionSource] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether listing, reading, writing and deleting work."""
        return all(check.verdict != "failed" for check in self.checks)

    def __str__(self) -> str:
        width = max((len(check.name) for check in self.checks), default=0)
        lines = [f"{check.verdict:7} {check.name:{width}}  {check.text}" for check in self.checks]
        return "\n".join([self.location, *lines])


def examine(store: Store, prefix: str = "") -> Report:
    """Try what a store can do, below one scratch prefix; see :func:`cottoncandy.doctor`."""
    scratch = f"{prefix}cottoncandy-doctor-{uuid.uuid4().hex}/"
    trial = _Trial(store.backend, scratch)
    checks: list[Check] = []
    try:
        checks.extend(trial.checks())
    finally:
        left = trial.clean()
        if left:
            checks.append(Check("cleaning up", "warning", left))
    # The address of the store may be known only after a request.
    return Report(store.describe(), checks, [OptionSource(*each) for each in option_sources()])


class _Trial:
    """The checks on one store; objects are created below one prefix only."""

    def __init__(self, backend: Backend, scratch: str) -> None:
        self._backend = backend
        self._scratch = scratch
        self._put: set[str] = set()

    def checks(self) -> Iterator[Check]:
        """Yield the checks; those that depend on a failed one are left out."""
        yield self._try("listing", self._list)
        if not self._backend.capabilities.writable:
            yield Check("writing", "warning", "the store is read-only; uploads raise an error")
            return
        writing = self._try("writing", self._write)
        yield writing
        if writing.verdict == "failed":
            return
        yield self._try("reading", self._read)
        for name, check in (
            ("ranges", self._ranges),
            ("clock", self._clock),
            ("checksums", self._checksums),
            ("ACLs", self._acls),
            ("conditional uploads", self._conditions),
            ("multipart uploads", self._parts),
            ("listing order", self._order),
            ("odd names", self._odd_names),
        ):
            yield self._try(name, check, "warning")
        yield self._try("deleting", self._delete)

    def clean(self) -> str:
        """Delete the remaining scratch objects; return what could not be deleted."""
        try:
            outcomes = list(self._backend.delete(sorted(self._put)))
            # With a read-only login, nothing was stored.
            left = [key for key, error in outcomes if error and self._backend.exists(key)]
        except BucketNotFoundError:
            return ""
        except CottonCandyError:
            return f"objects below {self._scratch} may be left" if self._put else ""
        return f"these objects could not be deleted: {', '.join(left)}" if left else ""

    def _try(self, name: str, check: _Attempt, on_error: Verdict = "failed") -> Check:
        try:
            return Check(name, *check())
        except CottonCandyError as error:
            return Check(name, on_error, f"{type(error).__name__}: {error}")

    def _store(self, name: str, data: bytes, options: PutOptions | None = None) -> ObjectInfo:
        key = self._scratch + name
        self._put.add(key)  # before the request, whose answer may get lost
        try:
            self._backend.put(key, Body.of(data), options or PutOptions())
        except InvalidNameError:
            self._put.discard(key)
            raise
        return self._backend.head(key)

    # -- listing, writing, reading, deleting -----------------------------------------------------

    def _list(self) -> tuple[Verdict, str]:
        for _ in self._backend.scan(page_size=1):
            break
        return "ok", f"{self._backend.describe()} can be listed"

    def _write(self) -> tuple[Verdict, str]:
        self._store("object", b"it works", PutOptions({"name": "value"}))
        return "ok", "an object was stored with metadata"

    def _read(self) -> tuple[Verdict, str]:
        with self._backend.get(self._scratch + "object") as reader:
            found = reader.read(), dict(reader.metadata)
        if found != (b"it works", {"name": "value"}):
            raise CottonCandyError("the downloaded object differs from the stored one")
        return "ok", "bytes and metadata are those that were stored"

    def _delete(self) -> tuple[Verdict, str]:
        for key, error in self._backend.delete(sorted(self._put)):
            if error is not None:
                raise error
            self._put.discard(key)
        return "ok", "the scratch objects were deleted"

    # -- capabilities ----------------------------------------------------------------------------

    def _ranges(self) -> tuple[Verdict, str]:
        with self._backend.get(self._scratch + "object", prefetch=False) as reader:
            if reader.read(3, 5) == b"wo":
                return "ok", "slices download their bytes only"
        return "warning", "a range of an object has other bytes; do not trust slices"

    def _clock(self) -> tuple[Verdict, str]:
        now = datetime.datetime.now(datetime.UTC)
        modified = self._store("clock", b"").modified
        if modified is None:
            return "ok", "the store keeps no times"
        skew = (modified - now).total_seconds()
        if abs(skew) <= _SKEW_S:
            return "ok", f"this computer and the store differ by {abs(skew):.0f} s"
        return "warning", (
            f"this computer and the store differ by {abs(skew):.0f} s; set the clock: S3 rejects "
            f"requests from 900 s on"
        )

    def _checksums(self) -> tuple[Verdict, str]:
        if self._backend.capabilities.stored_checksum is None:
            return "ok", "the store has none; arrays carry their own checksums"
        etag = (self._store("checksum", b"abc").etag or "").strip('"')
        if etag == hashlib.md5(b"abc", usedforsecurity=False).hexdigest():
            return "ok", "the ETag of an object is the MD5 of its bytes"
        return "warning", "ETags are not MD5s; files are compared by reading them"

    def _acls(self) -> tuple[Verdict, str]:
        if not self._backend.capabilities.acls:
            return "ok", "the store has none; acl= is ignored"
        self._store("acl", b"", PutOptions(acl="private"))
        return (
            "ok",
            "uploads may carry a canned ACL; where a bucket has disabled them, it is left out",
        )

    def _conditions(self) -> tuple[Verdict, str]:
        if not self._rejected(IfAbsent()):
            return "warning", "overwrite=False is ignored by this server; it replaces objects"
        if not self._rejected(IfMatch("0" * 32)):
            return "warning", "if_match= is ignored by this server; writers may overwrite others"
        if self._backend.puts_atomically(self._scratch + "taken"):
            return "ok", "overwrite=False and if_match= are atomic"
        return "warning", "checked by a request first, so two writers at once may both succeed"

    def _rejected(self, condition: IfAbsent | IfMatch) -> bool:
        """Return whether the store rejects an upload onto an object that contradicts it."""
        self._store("taken", b"")
        try:
            self._store("taken", b"", PutOptions(condition=condition))
        except (ObjectChangedError, ObjectExistsError):
            return True
        return False

    def _parts(self) -> tuple[Verdict, str]:
        info = self._store("parts", bytes(_PARTS_BYTES))
        if info.size == _PARTS_BYTES:
            return "ok", "large objects are uploaded in parallel where the store allows it"
        return "warning", f"an object of {_PARTS_BYTES} bytes has {info.size} after its upload"

    def _order(self) -> tuple[Verdict, str]:
        names = ["order/a", "order/B", "order/a-b", "order/a/b", "order/é", "order/𝄞"]
        if not self._backend.capabilities.object_and_prefix:
            names.remove("order/a")
        for name in names:
            self._store(name, b"")
        prefix = self._scratch + "order/"
        found = [info.key for info in scan_objects(self._backend, prefix)]
        if found == sorted((self._scratch + name for name in names), key=str.encode):
            return "ok", "names are listed in the order of their bytes"
        return "warning", "names are listed in another order; directories are sorted after listing"

    def _odd_names(self) -> tuple[Verdict, str]:
        for name in _ODD_NAMES:
            with suppress(CottonCandyError):
                self._store("odd/" + name, b"")
        prefix = self._scratch + "odd/"
        kept = {info.key for info in scan_objects(self._backend, prefix)}
        refused = [name for name in _ODD_NAMES if prefix + name not in kept]
        if not refused:
            return "ok", "names with //, spaces, control characters and accents are kept"
        shown = ", ".join(map(repr, refused))
        return "warning", f"these kinds of names cannot be stored, and raise an error: {shown}"
