"""The examples in docstrings run, and docstrings say what parameters there are."""

from __future__ import annotations

import doctest
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT
from tests.docs.test_code_blocks import OPTIONS
from tests.docs.test_reference import MODULES

PACKAGE = ROOT / "cottoncandy"

#: numpydoc's checks that hold: parameters that are documented exist, in their order, and all of
#: them are; sections are known and in order; a summary is one sentence on one line.
CHECKS = {
    "GL03",  # no double blank lines
    "GL06",  # no unknown section
    "GL07",  # sections in the standard order
    "GL08",  # there is a docstring
    "PR01",  # all parameters are documented
    "PR02",  # no others are
    "PR03",  # in the order of the signature
    "PR04",  # with a type
    "SS02",  # the summary begins with a capital
    "SS03",  # and ends with a period
    "SS04",  # without blanks before it
    "SS06",  # and fits on one line
    "YD01",
}


#: Where a check does not hold, and why: by the beginning of a dotted name.
EXEMPT = {
    # The verbs of the interface share their arguments, which the class and the module explain once.
    "cottoncandy.backends.base.": {"PR01", "GL08"},
    "cottoncandy.backends.reader.": {"PR01", "PR02", "YD01"},
    # Calls with several forms share their arguments: put and puts, transfer_to and transfer_from.
    "cottoncandy.cloudfiles.": {"PR01", "PR02", "RT01", "RT03", "YD01"},
    # BasicInterface documents the parameters; the others refer to it.
    "cottoncandy.interfaces.ArrayInterface": {"PR01"},
    "cottoncandy.interfaces.DefaultInterface": {"PR01"},
    "cottoncandy.interfaces.EncryptedInterface": {"PR03", "PR04"},
    "cottoncandy.interfaces.FileSystemInterface": {"PR01"},
    # cci.array() creates it.
    "cottoncandy.interfaces.CloudArray": {"PR01"},
    # A text that three factories share ends in **kwargs.
    "cottoncandy.get_encrypted_interface": {"PR03"},
    # Made by other methods, never by users.
    "cottoncandy.browser.Preview": {"PR01"},
    "cottoncandy.browser.S3Group": {"PR01"},
    "cottoncandy.browser.S3HDF5": {"PR01"},
    # Each option is explained in defaults.cfg.
    "cottoncandy.options.Settings": {"PR01"},
}


def module_names() -> Iterator[str]:
    """Yield the modules with examples."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] != "__main__" and ">>> " in path.read_text("utf-8"):
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("name", list(module_names()))
def test_examples(name: str, empty_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cottoncandy.backends import memory

    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    report: list[str] = []
    for test in finder.find(module, name):
        if not test.examples:
            continue
        monkeypatch.setattr(memory, "_BUCKETS", {})  # each starts with empty stores
        runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
        runner.run(test, out=report.append)
    assert not report, "".join(report)


def public_objects() -> dict[str, Any]:
    """Return classes, functions and methods that users may call, by their dotted names."""
    found: dict[str, Any] = {}
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                found[f"{module_name}.{name}"] = value
            if inspect.isclass(value):
                for member in dir(value):
                    method = inspect.getattr_static(value, member)
                    if not member.startswith("_") and inspect.isfunction(method):
                        home = method.__qualname__.rpartition(".")[0]
                        found[f"{method.__module__}.{home}.{member}"] = method
    return {name: value for name, value in found.items() if name.startswith("cottoncandy.")}


def test_docstrings_are_whole() -> None:
    numpydoc_validate = pytest.importorskip("numpydoc.validate", reason="numpydoc is missing")
    wrong = []
    objects = public_objects()
    assert len(objects) > 100
    for name in objects:
        exempt = set().union(*(codes for start, codes in EXEMPT.items() if name.startswith(start)))
        for code, text in numpydoc_validate.validate(name)["errors"]:
            if code in CHECKS - exempt:
                wrong.append(f"{name}: {code} {text}")
    assert wrong == []
