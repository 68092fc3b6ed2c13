"""What a put can specify, and what stores declare that they can do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Literal

from cottoncandy.exceptions import (
    InvalidArgumentError,
    MetadataError,
    ObjectChangedError,
    ObjectExistsError,
)

__all__ = [
    "DEFAULT_OPTIONS",
    "Capabilities",
    "IfAbsent",
    "IfMatch",
    "MetadataLimits",
    "PutOptions",
]

_HEADER_VALUE = re.compile(r"[ -~]*")


@dataclass(frozen=True, slots=True)
class IfAbsent:
    """Condition of a put: there is no object of that name yet."""

    def check(self, etag: str | None, label: str) -> None:
        """Reject an upload over an existing object.

        Parameters
        ----------
        etag : str or None
            ETag of the present object; None if there is none.
        label : str
            The object, for the message.

        Raises
        ------
        ObjectExistsError
        """
        if etag is not None:
            raise ObjectExistsError(f"{label} exists; pass overwrite=True to replace it")


@dataclass(frozen=True, slots=True)
class IfMatch:
    """Condition of a put: the object that is replaced still has this ETag."""

    etag: str

    def check(self, etag: str | None, label: str) -> None:
        """Reject an upload over a missing object or another version.

        Parameters
        ----------
        etag : str or None
            ETag of the present object; None if there is none.
        label : str
            The object, for the message.

        Raises
        ------
        ObjectChangedError
        """
        if etag is None or etag.strip('"') != self.etag.strip('"'):
            found = "was deleted" if etag is None else "was replaced"
            raise ObjectChangedError(f"{label} {found} since it was read; nothing was stored")


@dataclass(frozen=True, slots=True)
class PutOptions:
    """Everything that a put can specify next to the key and the body.

    Parameters
    ----------
    metadata : mapping of str to str, optional
        User metadata. None means the same as an empty mapping, except to a store that keeps
        metadata in a file of its own and creates none for None.
    acl : str, optional
        Canned ACL. Ignored if the store has no ACLs.
    content_type : str, optional
        MIME type. Ignored if the store keeps none.
    content_encoding, cache_control, storage_class : str, optional
        Headers of the object. Rejected unless listed in ``Capabilities.headers``.
    condition : IfAbsent or IfMatch, optional
        What must be true of the object that is there, or nothing is stored.
    """

    metadata: Mapping[str, str] | None = None
    acl: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    cache_control: str | None = None
    storage_class: str | None = None
    condition: IfAbsent | IfMatch | None = None

    def __post_init__(self) -> None:
        for name in ("acl", "content_type", "content_encoding", "cache_control", "storage_class"):
            value = getattr(self, name)
            # A line end in a header would end it; obstore panics.
            if value and not (isinstance(value, str) and _HEADER_VALUE.fullmatch(value)):
                raise InvalidArgumentError(
                    f"{name} must be printable ASCII text in one line, got {value!r:.80}"
                )

    @property
    def headers(self) -> dict[str, str]:
        """The headers that not every store keeps, by the names of this class; only those set."""
        names = ("content_encoding", "cache_control", "storage_class")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


#: No metadata, no ACL, no condition.
DEFAULT_OPTIONS = PutOptions()


@dataclass(frozen=True, slots=True)
class MetadataLimits:
    """What a store accepts as the user metadata of one object.

    Parameters
    ----------
    max_bytes : int, optional
        Room for names and values together, in bytes of UTF-8. None: unlimited.
    names, values : str
        Regular expressions that each name and value must match in full.
    help : str
        How names and values must be, for the error message.
    """

    #: Names under which backends keep notes of their own.
    RESERVED: ClassVar[frozenset[str]] = frozenset({"cc-names", "cc-pending"})

    max_bytes: int | None = None
    names: str = "(?s:.*)"
    values: str = "(?s:.*)"
    help: str = "valid Unicode text"

    def check(self, metadata: Mapping[str, Any], key: str) -> dict[str, str]:
        """Return the metadata as it is stored: names in lower case, numbers as text.

        Parameters
        ----------
        metadata : mapping of str to str or number
        key : str
            The object, for messages.

        Raises
        ------
        MetadataError
            If the store cannot keep it exactly.
        """
        checked: dict[str, str] = {}
        for name, value in metadata.items():
            text = str(value) if isinstance(value, Real) else value
            if not (isinstance(name, str) and isinstance(text, str)):
                raise MetadataError(
                    f"metadata of object '{key}' must be text, got {name!r}: {value!r:.60}; pass a "
                    f"str (json.dumps helps)"
                )
            lower = name.lower()
            if lower in checked:
                raise MetadataError(
                    f"metadata of object '{key}': two names differ only in case: {lower!r}"
                )
            if lower in self.RESERVED:
                raise MetadataError(
                    f"metadata of object '{key}': the name {lower!r} is reserved; choose another"
                )
            self._match(self.names, name, f"the name {name!r}", key)
            self._match(self.values, text, f"the value of {name!r} ({text[:60]!r})", key)
            checked[lower] = text
        self.check_size(checked, key)
        return checked

    def check_size(self, metadata: Mapping[str, str], key: str) -> None:
        """Raise MetadataError if names and values need more room than the store has.

        Parameters
        ----------
        metadata : mapping of str to str
        key : str
            The object, for messages.
        """
        sizes = {name: len(f"{name}{value}".encode()) for name, value in metadata.items()}
        if self.max_bytes is None or sum(sizes.values()) <= self.max_bytes:
            return
        largest = max(sizes, key=sizes.__getitem__)
        remedy = "shorten it, or store it in an object of its own"
        if largest == "cc-dtype":
            remedy = "shorten the names of its fields, or use upload_npy_array"
        raise MetadataError(
            f"metadata of object '{key}' takes {sum(sizes.values())} bytes ({largest!r}: "
            f"{sizes[largest]}), and this store has room for {self.max_bytes}; {remedy}"
        )

    def _match(self, pattern: str, text: str, label: str, key: str) -> None:
        try:
            text.encode()
        except UnicodeEncodeError:
            pass
        else:
            if re.fullmatch(pattern, text):
                return
        raise MetadataError(f"metadata of object '{key}': {label} must be {self.help}")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do; nothing above the backends compares their names.

    Parameters
    ----------
    acls : bool
        Whether objects and buckets have canned ACLs.
    owners : bool
        Whether ``owner()`` works.
    trash : bool
        Whether ``delete(permanently=False)`` can be undone by the user.
    presign : bool
        Whether the store can give out URLs with a signature.
    writable : bool
        Whether anything can be stored or deleted.
    any_key : bool
        Whether keys with ``//``, ``.`` and ``..`` segments, leading or trailing slashes and control
        characters can be stored. Otherwise they are rejected with ``InvalidNameError``.
    object_and_prefix : bool
        Whether ``a`` and ``a/b`` can both be objects.
    conditional_put : bool
        Whether the condition of a put is checked and the object stored in one step. If False, the
        backend checks first, and another client may store an object in between.
    stored_checksum : {'md5'}, optional
        What an ETag of 32 hexadecimal digits is: the MD5 of the body, or (None) nothing.
    headers : frozenset of str
        Which of ``content_encoding``, ``cache_control`` and ``storage_class`` are kept.
    metadata : MetadataLimits
    """

    acls: bool = False
    owners: bool = False
    trash: bool = False
    presign: bool = False
    writable: bool = True
    any_key: bool = True
    object_and_prefix: bool = True
    conditional_put: bool = False
    stored_checksum: Literal["md5"] | None = None
    headers: frozenset[str] = frozenset()
    metadata: MetadataLimits = MetadataLimits()
