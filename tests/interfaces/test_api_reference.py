"""Every documented class, method, parameter and default is there."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import cottoncandy
from cottoncandy import interfaces
from tests.cases import each
from tests.interfaces import api_reference as reference

#: Other names of methods that have examples.
ALIASES = ("get_bucket_objects", "get_bucket_size", "glob_google_drive", "glob_s3")

METHODS = [
    (class_name, method) for class_name, methods in reference.API.items() for method in methods
]


def documented_parameters(signature: inspect.Signature) -> dict[str, Any]:
    """Return what a caller may pass without naming what is new."""
    found: dict[str, Any] = {}
    for parameter in list(signature.parameters.values()):
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            found[reference.KEYWORDS] = parameter.name
        elif parameter.kind is parameter.VAR_POSITIONAL:
            found[reference.VARARGS] = parameter.name
        elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            empty = parameter.default is parameter.empty
            found[parameter.name] = reference.REQUIRED if empty else parameter.default
    return found


@each("class_name, method", METHODS)
def test_signatures(class_name: str, method: str) -> None:
    expected = dict(reference.API[class_name][method])
    function = getattr(getattr(interfaces, class_name), method)
    signature = inspect.signature(function)
    found = documented_parameters(signature)
    keywords = expected.pop(reference.KEYWORDS, None)
    if keywords is not None and reference.KEYWORDS not in found:
        # Named keywords instead of **kwargs: what is documented must be among them.
        named = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
        assert named, f"{method} takes keywords"
    found.pop(reference.KEYWORDS, None)
    assert list(found) == list(expected)
    for name, default in expected.items():
        if default is not reference.REQUIRED:  # one that has a default now takes the same calls
            assert found[name] == default, name
            assert str(found[name]) == str(default) or found[name] == default


@each("class_name", list(reference.BASES))
def test_bases(class_name: str) -> None:
    cls = getattr(interfaces, class_name)
    for base in reference.BASES[class_name]:
        assert issubclass(cls, getattr(interfaces, base))


@each("class_name", list(reference.BASES))
def test_constructors(class_name: str) -> None:
    found = documented_parameters(inspect.signature(getattr(interfaces, class_name).__init__))
    assert list(found) == list(reference.CONSTRUCTOR)
    for name, default in reference.CONSTRUCTOR.items():
        if default is not reference.REQUIRED:
            assert found[name] == default


def test_the_default_interface_has_everything() -> None:
    for methods in reference.API.values():
        for method in methods:
            assert callable(getattr(interfaces.DefaultInterface, method))


@each("class_name, method", METHODS)
def test_docstrings(class_name: str, method: str) -> None:
    doc = inspect.getdoc(getattr(getattr(interfaces, class_name), method))
    assert doc is not None
    expected = reference.API[class_name][method]
    names = [name for name in expected if name not in (reference.KEYWORDS, reference.VARARGS)]
    if names:
        assert "Parameters\n----------" in doc
    for name in names:
        assert name in doc, name
    if method not in ALIASES:
        assert "Examples\n--------" in doc


def test_attributes_of_instances() -> None:
    cci = cottoncandy.get_interface("my_bucket", backend="memory", verbose=False)
    assert cci.backend == "memory"
    assert cci.bucket_name == "my_bucket"
    assert cci.backend_interface.bucket_name == "my_bucket"
    for name in reference.ATTRIBUTES:
        assert hasattr(cci, name)
    for class_name, names in reference.PROPERTIES.items():
        cls = getattr(cottoncandy.interfaces, class_name)
        assert all(isinstance(getattr(cls, name), property) for name in names)


def test_modules_that_programs_import() -> None:
    for name in ("browser", "interfaces", "utils"):
        assert importlib.import_module(f"cottoncandy.{name}") is getattr(cottoncandy, name)
    assert cottoncandy.utils.pathjoin("a", "b") == "a/b"
    assert isinstance(cottoncandy.interfaces.DefaultInterface, type)
    assert callable(cottoncandy.get_interface)
    assert callable(cottoncandy.get_browser)
    assert callable(cottoncandy.get_encrypted_interface)


def test_constructors_take_the_endpoint_under_both_names() -> None:
    for name in ("url", "endpoint_url"):
        options = {name: "https://s3.example.org", "ACCESS_KEY": "FAKE", "SECRET_KEY": "FAKE"}
        cci = interfaces.DefaultInterface(None, verbose=False, **options)
        assert "s3.example.org" in repr(cci)
