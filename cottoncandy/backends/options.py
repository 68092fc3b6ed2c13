"""Options of a connection and of a put, and capabilities of a store."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, ClassVar, Literal

from cottoncandy.backends.reader import ObjectInfo
from cottoncandy.config.options import Settings
from cottoncandy.config.sources import nearest
from cottoncandy.exceptions import (
    ConfigurationError,
    InvalidArgumentError,
    MetadataError,
    ObjectChangedError,
    ObjectExistsError,
)

#: Headers that a store may keep with an object, and return with it.
STORED_HEADERS = ("content_encoding", "cache_control", "storage_class")

#: Options that an interface sets for all its uploads, and an upload for itself.
UPLOAD_OPTIONS = ("storage_class", "server_side_encryption", "sse_kms_key_id", "request_payer")

_HEADERS = tuple(dict.fromkeys(STORED_HEADERS + UPLOAD_OPTIONS))
_HEADER_VALUE = re.compile(r"[ -~]+")
_UNICODE = "[^\ud800-\udfff]*"  # unpaired surrogates have no encoding
_compiled = functools.cache(re.compile)  # re.fullmatch looks each pattern up, which takes longer
#: Names under which stores that have no headers keep them among the metadata.
_HEADER_NAMES = {
    "cc-content-type": "content_type",
    "cc-content-encoding": "content_encoding",
    "cc-cache-control": "cache_control",
    "cc-storage-class": "storage_class",
}

_ENCRYPTION_PARAMETERS = ("encryption", "encryptionKey", "passphrase")
_FACTORY_PARAMETERS = (
    *("bucket_name", "ACCESS_KEY", "SECRET_KEY", "endpoint_url", "force_bucket_creation"),
    *("verbose", "backend", "read_only", "cache", "cache_size"),
    *_ENCRYPTION_PARAMETERS,
    *UPLOAD_OPTIONS,
)


@dataclass(frozen=True, slots=True)
class ConnectionArguments:
    """Arguments of a factory, to be interpreted by the backend.

    ``access_key``, ``secret_key`` and ``endpoint_url`` are None if the user passed none;
    ``settings`` contains the values of the options file and of the environment.
    """

    bucket_name: str | None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    endpoint_url: str | None = field(default=None, repr=False)  # it may contain a password
    settings: Settings = field(default_factory=Settings.load, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def check_extra(self, backend: str, accepted: Iterable[str] = ()) -> None:
        """Raise if an option is not one that the backend accepts, or ``request_payer`` is wrong.

        Parameters
        ----------
        backend : str
            Its name, for the message.
        accepted : iterable of str
            Its options.

        Raises
        ------
        ConfigurationError
            The message suggests the option with the nearest spelling.
        """
        if self.extra.get("request_payer") not in (None, "requester"):
            raise ConfigurationError(
                f"request_payer must be 'requester', got {self.extra['request_payer']!r}"
            )
        for name in self.extra:
            if name not in accepted:
                hint = nearest(name, (*accepted, *_FACTORY_PARAMETERS), "{!r}", cutoff=0.7)
                if name in _ENCRYPTION_PARAMETERS:
                    hint = "; pass it to get_encrypted_interface()"
                options = f". Valid options: {', '.join(sorted(accepted))}" if accepted else ""
                options = options.removeprefix("." if hint.endswith("?") else "")
                raise ConfigurationError(
                    f"unknown option {name!r} for the {backend} backend{hint}{options}"
                )


@dataclass(frozen=True, slots=True)
class IfAbsent:
    """Condition of a put: no object has that name.

    ``help`` says how to replace one that has it, for the message.
    """

    help: str = "pass overwrite=True to replace it"

    def unmet(self, label: str) -> ObjectExistsError:
        """Return the error for an object that exists.

        Parameters
        ----------
        label : str
            The object, for the message.
        """
        return ObjectExistsError(f"{label} exists; {self.help}")

    def check(self, etag: str | None, label: str) -> None:
        """Reject an upload over an existing object.

        Parameters
        ----------
        etag : str or None
            ETag of the existing object; None if there is none.
        label : str
            The object, for the message.

        Raises
        ------
        ObjectExistsError
        """
        if etag is not None:
            raise self.unmet(label)


@dataclass(frozen=True, slots=True)
class IfMatch:
    """Condition of a put: the existing object still has this ETag."""

    etag: str

    def unmet(self, label: str, found: str = "was replaced") -> ObjectChangedError:
        """Return the error for an object that has another ETag.

        Parameters
        ----------
        label : str
            The object, for the message.
        found : str, default "was replaced"
            What happened to it.
        """
        return ObjectChangedError(f"{label} {found} since it was read; nothing was stored")

    def check(self, etag: str | None, label: str) -> None:
        """Reject an upload over a missing object or another version.

        Parameters
        ----------
        etag : str or None
            ETag of the existing object; None if there is none.
        label : str
            The object, for the message.

        Raises
        ------
        ObjectChangedError
        """
        if etag is None:
            raise self.unmet(label, "was deleted")
        if etag.strip('"') != self.etag.strip('"'):
            raise self.unmet(label)


@dataclass(frozen=True, slots=True)
class PutOptions:
    """Everything that a put can specify in addition to the key and the body.

    Parameters
    ----------
    metadata : mapping of str to str, optional
        User metadata. None means the same as an empty mapping, except to a store that keeps
        metadata in a separate file and creates none for None.
    acl : str, optional
        Canned ACL. Ignored if the store has no ACLs.
    content_type : str, optional
        MIME type. Ignored if the store keeps none.
    content_encoding, cache_control, storage_class : str, optional
        Headers of the object. These and the following are rejected unless listed in
        ``Capabilities.headers``.
    server_side_encryption, sse_kms_key_id : str, optional
        How the server encrypts the object (``'aws:kms'``), and with which of its keys.
    request_payer : str, optional
        ``'requester'`` accepts the charge for the request.
    condition : IfAbsent or IfMatch, optional
        What must be true of the existing object; otherwise nothing is stored.
    acl_of : tuple of str, optional
        Bucket (None: this one) and key of an object whose ACL the new one gets, instead of ``acl``.
    keep_encoded : bool, default False
        Whether ``a.gz`` on disk stays next to a new ``a``: it may be another object, not an old
        ``a`` in gzip. For copies; ignored by stores without such suffixes.
    """

    metadata: Mapping[str, str] | None = None
    acl: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    cache_control: str | None = None
    storage_class: str | None = None
    server_side_encryption: str | None = None
    sse_kms_key_id: str | None = None
    request_payer: str | None = None
    condition: IfAbsent | IfMatch | None = None
    acl_of: tuple[str | None, str] | None = None
    keep_encoded: bool = False

    def __post_init__(self) -> None:
        for name in ("acl", "content_type", *_HEADERS):
            value = getattr(self, name)
            # A line break would end the header; obstore panics.
            if value is None or (not value and name not in UPLOAD_OPTIONS):
                continue
            if not (isinstance(value, str) and _HEADER_VALUE.fullmatch(value)):
                raise InvalidArgumentError(
                    f"{name} must be printable ASCII text in one line, got {value!r:.80}"
                )
        if self.request_payer not in (None, "requester"):
            raise InvalidArgumentError(
                f"request_payer must be 'requester', got {self.request_payer!r:.80}"
            )

    def changed(self, **values: Any) -> PutOptions:
        """Return options with other values; the same ones if nothing differs.

        Parameters
        ----------
        **values
            Attributes by name.
        """
        same = all(getattr(self, name) == value for name, value in values.items())
        return self if same else replace(self, **values)

    @property
    def headers(self) -> dict[str, Any]:
        """The headers that not every store supports, by attribute name, if they are set."""
        return {name: getattr(self, name) for name in _HEADERS if getattr(self, name) is not None}

    @property
    def entries(self) -> dict[str, str]:
        """Metadata and headers in one mapping, for stores that have no headers."""
        found = {entry: getattr(self, name) for entry, name in _HEADER_NAMES.items()}
        return {**(self.metadata or {}), **{name: text for name, text in found.items() if text}}


#: No metadata, no ACL, no condition.
DEFAULT_OPTIONS = PutOptions()


def split_entries(entries: Mapping[str, str]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the metadata and the headers, by attribute, of what ``PutOptions.entries`` joined."""
    metadata, headers = dict(entries), {}
    for entry in entries.keys() & _HEADER_NAMES.keys():
        headers[_HEADER_NAMES[entry]] = metadata.pop(entry)
    return metadata, headers


@dataclass(frozen=True, slots=True)
class MetadataLimits:
    """Limits on the user metadata of one object.

    Parameters
    ----------
    max_bytes : int, optional
        Total size of names and values, in bytes of UTF-8. None: unlimited.
    names, values : str
        Regular expressions that each name and value must match in full.
    help : str
        The requirement on names and values, for the error message.
    """

    #: Names that backends use internally.
    RESERVED: ClassVar[frozenset[str]] = frozenset({"cc-names", "cc-pending", *_HEADER_NAMES})

    max_bytes: int | None = None
    names: str = _UNICODE
    values: str = _UNICODE
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
            If the store cannot return it unchanged.
        """
        label = f"metadata of object '{key}'"
        checked: dict[str, str] = {}
        name_fits, value_fits = _compiled(self.names).fullmatch, _compiled(self.values).fullmatch
        for name, value in metadata.items():
            text = value if isinstance(value, str) or not isinstance(value, Real) else str(value)
            if not (isinstance(name, str) and isinstance(text, str)):
                raise MetadataError(
                    f"metadata of object '{key}' must be text, got {name!r}: {value!r:.60}; pass a "
                    f"str (json.dumps helps)"
                )
            lower = name.lower()
            if lower in checked:
                raise MetadataError(f"{label}: two names differ only in case: {lower!r}")
            if lower in self.RESERVED:
                raise MetadataError(f"{label}: the name {lower!r} is reserved; choose another")
            if not name_fits(name):
                raise MetadataError(f"{label}: the name {name!r} must be {self.help}")
            if not value_fits(text):
                raise MetadataError(
                    f"{label}: the value of {name!r} ({text[:60]!r}) must be {self.help}"
                )
            checked[lower] = text
        self.check_size(checked, key)
        return checked

    def check_size(self, metadata: Mapping[str, str], key: str) -> None:
        """Raise MetadataError if names and values exceed the limit of the store.

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
        remedy = "shorten it, or store it in a separate object"
        if largest == "cc-dtype":
            remedy = "shorten the names of its fields, or use upload_npy_array"
        raise MetadataError(
            f"metadata of object '{key}' takes {sum(sizes.values())} bytes ({largest!r}: "
            f"{sizes[largest]}), but the limit of this store is {self.max_bytes}; {remedy}"
        )


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Capabilities of a store. The layers above depend on these, never on its name.

    Parameters
    ----------
    acls : bool
        Whether objects and buckets have canned ACLs.
    default_acl : bool
        Whether the default ACL of the options applies. Otherwise, only one that is passed.
    charges : bool
        Whether requests and downloads usually cost money.
    owners : bool
        Whether ``owner()`` works.
    trash : bool
        Whether ``delete(permanently=False)`` can be undone by the user.
    presign : bool
        Whether the store can create signed URLs.
    writable : bool
        Whether anything can be stored or deleted.
    any_key : bool
        Whether keys with ``//``, ``.`` and ``..`` segments, leading or trailing slashes and control
        characters can be stored. Otherwise they are rejected with ``InvalidNameError``.
    object_and_prefix : bool
        Whether ``a`` and ``a/b`` can both be objects.
    conditional_put : bool
        Whether checking the condition and storing the object is one atomic step. If False, the
        backend checks first, and another client may store an object in between.
    stored_checksum : {'md5'}, optional
        What an ETag of 32 hexadecimal digits is: the MD5 of the body, or None if it is opaque.
    headers : frozenset of str
        Which headers of ``PutOptions`` are supported, from ``content_encoding`` to
        ``request_payer``.
    metadata : MetadataLimits
    """

    acls: bool = False
    default_acl: bool = False
    charges: bool = False
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

    def options_like(self, info: ObjectInfo, metadata: Mapping[str, str] | None) -> PutOptions:
        """Return the options of a put that replaces this version and keeps headers and ACL.

        Parameters
        ----------
        info : ObjectInfo
            The version.
        metadata : mapping of str to str, optional
            Its new metadata.
        """
        return PutOptions(
            metadata,
            content_type=info.content_type,
            condition=None if info.etag is None else IfMatch(info.etag),
            acl_of=(None, info.key),
            **{name: getattr(info, name) for name in STORED_HEADERS if name in self.headers},
        )
