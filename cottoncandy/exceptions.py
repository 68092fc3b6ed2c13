"""cottoncandy's exceptions: one base class, each combined with the matching builtin.

::

    CottonCandyError
    ├── ObjectNotFoundError         (FileNotFoundError, KeyError)
    ├── BucketNotFoundError         (FileNotFoundError)
    ├── ObjectExistsError           (FileExistsError)
    ├── BucketExistsError           (FileExistsError)
    ├── BucketNotEmptyError         (OSError)
    ├── AccessDeniedError           (PermissionError)
    │   └── CredentialsError
    ├── StoreError                  (OSError)
    │   ├── StoreBusyError
    │   ├── StoreUnreachableError   (ConnectionError)
    │   ├── StoreTimeoutError       (TimeoutError)
    │   ├── StorageFullError
    │   └── PartialFailureError
    ├── IntegrityError              (ValueError)
    │   └── ObjectChangedError
    ├── MetadataError               (ValueError)
    ├── InvalidNameError            (ValueError)
    ├── InvalidArgumentError        (ValueError)
    │   ├── SelectionError          (IndexError)
    │   └── UnknownOptionError      (TypeError)
    ├── InsufficientMemoryError     (MemoryError)
    ├── UnsupportedDtypeError       (TypeError)
    ├── UnsupportedOperationError   (io.UnsupportedOperation)
    ├── ConfigurationError          (ValueError)
    ├── MissingDependencyError      (ImportError)
    └── EncryptionError             (ValueError)
        ├── DecryptionError         (IntegrityError)
        └── EncryptionKeyError

A program that catches the builtin keeps working; one that catches :class:`CottonCandyError`
catches everything this library raises on purpose. Every class takes one message, so all of them
pickle.
"""

from __future__ import annotations

import io

__all__ = [
    "AccessDeniedError",
    "BucketExistsError",
    "BucketNotEmptyError",
    "BucketNotFoundError",
    "ConfigurationError",
    "CottonCandyError",
    "CredentialsError",
    "DecryptionError",
    "EncryptionError",
    "EncryptionKeyError",
    "InsufficientMemoryError",
    "IntegrityError",
    "InvalidArgumentError",
    "InvalidNameError",
    "MetadataError",
    "MissingDependencyError",
    "ObjectChangedError",
    "ObjectExistsError",
    "ObjectNotFoundError",
    "PartialFailureError",
    "SelectionError",
    "StorageFullError",
    "StoreBusyError",
    "StoreError",
    "StoreTimeoutError",
    "StoreUnreachableError",
    "UnknownOptionError",
    "UnsupportedDtypeError",
    "UnsupportedOperationError",
]


class CottonCandyError(Exception):
    """Base class of every error that cottoncandy raises on purpose."""


class ObjectNotFoundError(CottonCandyError, FileNotFoundError, KeyError):
    """No object has that name; check the spelling with ``cci.ls`` or ``cci.glob``."""


class BucketNotFoundError(CottonCandyError, FileNotFoundError):
    """The bucket does not exist, or none was chosen; ``cci.show_buckets()`` lists yours."""


class ObjectExistsError(CottonCandyError, FileExistsError):
    """The destination exists (or is a prefix of others) and ``overwrite`` is not set."""


class BucketExistsError(CottonCandyError, FileExistsError):
    """The bucket exists, in this account or another."""


class BucketNotEmptyError(CottonCandyError, OSError):
    """Only an empty bucket can be removed; ``cci.rm('', recursive=True)`` empties it."""


class AccessDeniedError(CottonCandyError, PermissionError):
    """The store denied access to these credentials; ask the bucket's owner for permission."""


class CredentialsError(AccessDeniedError):
    """Credentials are missing, unknown to the store, expired or do not match."""


class StoreError(CottonCandyError, OSError):
    """The store answered with an error that is neither the caller's nor the object's fault."""


class StoreBusyError(StoreError):
    """The store asks for fewer requests (429, 503, SlowDown); use fewer threads, or wait."""


class StoreUnreachableError(StoreError, ConnectionError):
    """The endpoint cannot be reached; check its address, the port and the network."""


class StoreTimeoutError(StoreError, TimeoutError):
    """The store took longer to answer than the configured timeout."""


class StorageFullError(StoreError):
    """The disk or the quota is exhausted; existing objects are unchanged."""


class PartialFailureError(StoreError):
    """Some of many objects could not be processed; the message names them."""

    #: The number of the other ones.
    done = 0


class IntegrityError(CottonCandyError, ValueError):
    """The bytes are not those that were stored: truncated, altered or mislabelled."""


class ObjectChangedError(IntegrityError):
    """The object was replaced while it was being read; read it again."""


class MetadataError(CottonCandyError, ValueError):
    """Object metadata is missing, is invalid, or cannot be stored by the backend."""


class InvalidNameError(CottonCandyError, ValueError):
    """The backend cannot store exactly this name."""


class InvalidArgumentError(CottonCandyError, ValueError):
    """An argument has an invalid value."""


class SelectionError(InvalidArgumentError, IndexError):
    """The selection lies outside the array, or is of a kind that byte ranges cannot serve."""


class UnknownOptionError(InvalidArgumentError, TypeError):
    """The method has no parameter of that name; the message names the nearest one."""


# MemoryError first: it creates its objects differently, and unpickling that calls __new__
# (tblib, which dask.distributed uses) finds the wrong one otherwise.
class InsufficientMemoryError(MemoryError, CottonCandyError):
    """The array does not fit into memory; read a part of it with ``selection=``."""


class UnsupportedDtypeError(CottonCandyError, TypeError):
    """The value has no fixed-size elements, such as object arrays and masked arrays."""


class UnsupportedOperationError(CottonCandyError, io.UnsupportedOperation):
    """The backend does not support this operation; the message names an alternative."""


class ConfigurationError(CottonCandyError, ValueError):
    """An option, in the options file, the environment or an argument, is invalid."""


class MissingDependencyError(CottonCandyError, ImportError):
    """An optional library is not installed; the message has the ``pip install`` to type."""


class EncryptionError(CottonCandyError, ValueError):
    """Base class of what can go wrong with encrypted objects."""


class DecryptionError(EncryptionError, IntegrityError):
    """The object is not authentic: wrong key, altered, truncated, or not encrypted at all."""


class EncryptionKeyError(EncryptionError):
    """The key is missing, of the wrong length or of the wrong kind."""
