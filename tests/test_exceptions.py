"""The tree of errors: its classes, their builtin bases, and the picture of it in the docstring."""

from __future__ import annotations

import builtins
import inspect
import io
import pickle
import re

import pytest

from cottoncandy import exceptions
from cottoncandy.exceptions import CottonCandyError
from tests.cases import each

CLASSES = [
    value
    for value in vars(exceptions).values()
    if isinstance(value, type) and issubclass(value, BaseException)
]

#: Where an error inherits a builtin that users already catch.
BUILTINS = {
    "AccessDeniedError": PermissionError,
    "BucketExistsError": FileExistsError,
    "BucketNotEmptyError": OSError,
    "BucketNotFoundError": FileNotFoundError,
    "ConfigurationError": ValueError,
    "CottonCandyError": Exception,
    "CredentialsError": PermissionError,
    "DecryptionError": ValueError,
    "EncryptionError": ValueError,
    "EncryptionKeyError": ValueError,
    "InsufficientMemoryError": MemoryError,
    "IntegrityError": ValueError,
    "InvalidArgumentError": ValueError,
    "InvalidNameError": ValueError,
    "MetadataError": ValueError,
    "MissingDependencyError": ImportError,
    "ObjectChangedError": ValueError,
    "ObjectExistsError": FileExistsError,
    "ObjectNotFoundError": FileNotFoundError,
    "PartialFailureError": OSError,
    "SelectionError": IndexError,
    "StorageFullError": OSError,
    "StoreBusyError": OSError,
    "StoreError": OSError,
    "StoreTimeoutError": TimeoutError,
    "StoreUnreachableError": ConnectionError,
    "UnknownOptionError": TypeError,
    "UnsupportedDtypeError": TypeError,
    "UnsupportedOperationError": io.UnsupportedOperation,
}


def drawn_tree() -> dict[str, set[str]]:
    """Return name -> names of all bases, as the module's docstring draws them."""
    tree: dict[str, set[str]] = {}
    path: list[str] = []
    for line in (exceptions.__doc__ or "").splitlines():
        match = re.fullmatch(
            r"    (?P<lines>[│├└─ ]*)(?P<name>\w+Error)\s*(\((?P<extra>.*)\))?", line
        )
        if match is None:
            continue
        depth = len(match["lines"]) // 4
        path[depth:] = [match["name"]]
        bases = {path[depth - 1]} if depth else set()
        tree[match["name"]] = bases | set(filter(None, (match["extra"] or "").split(", ")))
    return tree


def qualified(cls: type) -> str:
    return (
        cls.__name__
        if cls.__module__ in ("builtins", exceptions.__name__)
        else f"io.{cls.__name__}"
    )


def test_all_is_complete_and_sorted() -> None:
    assert exceptions.__all__ == sorted(cls.__name__ for cls in CLASSES)


def test_the_docstring_draws_the_tree() -> None:
    drawn = drawn_tree()
    assert drawn.pop("CottonCandyError") == set()
    assert drawn == {
        cls.__name__: {qualified(base) for base in cls.__bases__}
        for cls in CLASSES
        if cls is not CottonCandyError
    }


def test_every_error_has_the_fitting_builtin() -> None:
    assert BUILTINS.keys() == {cls.__name__ for cls in CLASSES}


@each("cls", CLASSES)
def test_who_catches_what(cls: type[CottonCandyError]) -> None:
    assert issubclass(cls, CottonCandyError)
    builtin = BUILTINS[cls.__name__]
    assert issubclass(cls, builtin)
    with pytest.raises(builtin, match="object 'a' in bucket 'b'"):
        raise cls("object 'a' in bucket 'b'")


@each("cls", CLASSES)
def test_errors_cross_processes(cls: type[CottonCandyError]) -> None:
    error = cls("object 'a' in bucket 'b' is missing")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert str(again) == str(error) == "object 'a' in bucket 'b' is missing"
    assert again.args == error.args


@each("cls", CLASSES)
def test_every_error_says_when_it_is_raised(cls: type[CottonCandyError]) -> None:
    text = inspect.getdoc(cls)
    assert text is not None
    assert cls.__doc__ == text
    assert text.endswith(".")
    assert "\n" not in text


def test_no_name_hides_a_builtin() -> None:
    assert not set(exceptions.__all__) & set(dir(builtins))
