"""The reference has everything that is public, and nothing else."""

from __future__ import annotations

import importlib
import re

import pytest

from tests.docs.blocks import ROOT

API = ROOT / "docs" / "api"
MODULES = [
    "cottoncandy",
    "cottoncandy.backends",
    "cottoncandy.backends.base",
    "cottoncandy.browser",
    "cottoncandy.cloudfiles",
    "cottoncandy.encryption",
    "cottoncandy.exceptions",
    "cottoncandy.interfaces",
    "cottoncandy.options",
    "cottoncandy.utils",
]
#: In no `__all__`: what methods return, or take in a backend.
BESIDE = {
    "cottoncandy.stores.files.CloudWriter",
    "cottoncandy.stores.streams.CloudStream",
    "cottoncandy.core.buffers.Body",
    "cottoncandy.stores.doctor.Check",
    "cottoncandy.stores.doctor.OptionSource",
    "cottoncandy.stores.doctor.Report",
    "cottoncandy.transfer.verify.Fault",
    "cottoncandy.transfer.verify.VerifyReport",
}
#: Separate pages, or one word.
NOT_OBJECTS = {
    "__version__",
    "browser",
    "cloudfiles",
    "compression",
    "encryption",
    "exceptions",
    "interfaces",
    "monitoring",
    "options",
    "paths",
    "secrets",
    "utils",
}

_DIRECTIVE = re.compile(
    r"^\.\. (?P<kind>currentmodule|automodule|autoclass|autofunction|py:data):: (?P<name>[\w.]+)$"
)


def documented() -> tuple[set[str], set[str]]:
    """Return what the pages have: single names, and modules whose members are all shown."""
    names, modules = set(), set()
    for page in API.glob("*.md"):
        current = ""
        lines = page.read_text("utf-8").splitlines()
        for number, line in enumerate(lines):
            found = _DIRECTIVE.match(line)
            if found is None:
                continue
            kind, name = found.groups()
            if kind in ("currentmodule", "automodule"):
                current = name
                if kind == "automodule" and "   :members:" in lines[number + 1 : number + 3]:
                    modules.add(name)
            else:
                names.add(name if name.startswith("cottoncandy.") else f"{current}.{name}")
    return names, modules


@pytest.mark.parametrize("module_name", MODULES)
def test_public_names_are_there(module_name: str) -> None:
    names, modules = documented()
    module = importlib.import_module(module_name)
    if module_name in modules:
        return  # all of them, automatically
    own = {name for name in module.__all__ if name not in NOT_OBJECTS}
    if module_name == "cottoncandy":  # shown where they are defined
        own -= {"CloudFile", "CloudFiles", "ResumableTransfer", "dl"}
    expected = {f"{module_name}.{name}" for name in own}
    if module_name == "cottoncandy.backends":
        expected -= {f"{module_name}.base"}
    assert expected - names == set()


def test_nothing_else_is_there() -> None:
    names, _ = documented()
    wrong = []
    for name in names - BESIDE:
        module_name, _, attribute = name.rpartition(".")
        if attribute not in importlib.import_module(module_name).__all__:
            wrong.append(name)
    assert wrong == []


def test_every_method_is_documented_once() -> None:
    """The first page lists the methods, the page on interfaces documents them, both by task."""
    from cottoncandy.interfaces import DefaultInterface

    methods = sorted(
        name
        for name in dir(DefaultInterface)
        if not name.startswith("_") and callable(getattr(DefaultInterface, name))
    )
    pages = {name: (API / name).read_text("utf-8") for name in ("index.md", "interfaces.md")}
    listed = re.findall(r"^   DefaultInterface\.(\w+)$", pages["index.md"], re.MULTILINE)
    documented = re.findall(
        r"^\.\. automethod:: DefaultInterface\.(\w+)$", pages["interfaces.md"], re.MULTILINE
    )
    assert sorted(documented) == methods
    assert sorted(listed) == [
        name for name in methods if name != "get_bucket_objects"
    ]  # deprecated


def test_all_is_sorted() -> None:
    for module_name in MODULES:
        names = importlib.import_module(module_name).__all__
        assert len(set(names)) == len(names), module_name
