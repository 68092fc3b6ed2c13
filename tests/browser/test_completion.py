"""The TAB key: IPython's completer, IPython in a terminal, and plain Python's."""

from __future__ import annotations

import atexit
import os
import re
import rlcompleter
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

IPython = pytest.importorskip("IPython")
pexpect = pytest.importorskip("pexpect")

GROUPS = ["sub01_awesome_analysis_DOT_grp", "sub02_awesome_analysis_DOT_grp"]


pytestmark = pytest.mark.server  # shells


@pytest.fixture(params=[pytest.param("jedi", marks=pytest.mark.slow), "evaluation"])
def complete(
    request: pytest.FixtureRequest, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """IPython's completer, as it is set up and with jedi, over a namespace."""
    from IPython.core.completer import IPCompleter, provisionalcompleter
    from IPython.core.interactiveshell import InteractiveShell

    # A shell replaces __main__ by a module with which nothing can be spawned.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    shell = InteractiveShell()

    def completions(text: str, **namespace: Any) -> list[str]:
        shell.user_ns.update(namespace)
        completer = IPCompleter(shell=shell, namespace=shell.user_ns, global_namespace={})
        completer.use_jedi = request.param == "jedi"
        with provisionalcompleter():
            return [found.text for found in completer.completions(text, len(text))]

    yield completions
    atexit.unregister(shell.atexit_operations)
    shell.atexit_operations()


def names(found: list[str]) -> list[str]:
    """Return the last part of each completion."""
    return sorted(text.rpartition(".")[2] for text in found)


def test_attributes_in_ipython(complete: Any, cci: Any) -> None:
    counting = cci.backend_interface
    browser = cci.get_browser()
    with counting.expect(scan=2):
        for typed in ("", "s", "su", "sub"):
            found = names(complete(f"browser.sweet_project.{typed}", browser=browser))
            assert set(GROUPS) <= set(found)
        assert names(complete("browser.sweet_project.sub", browser=browser)) == GROUPS
        assert "sweet_project" in names(complete("browser.sw", browser=browser))
    with counting.expect(scan=1):
        typed = "browser.sweet_project.sub01_awesome_analysis_DOT_grp."
        assert "result_model01" in names(complete(typed, browser=browser))
        assert "load" in names(complete(typed, browser=browser))


def test_what_an_array_offers_costs_nothing(complete: Any, cci: Any) -> None:
    browser = cci.get_browser()
    with cci.backend_interface.expect(scan=2):
        found = names(complete("browser.sweet_project.mean.", browser=browser))
    assert {"shape", "dtype", "load", "preview"} <= set(found)


def test_keys_in_ipython(complete: Any, cci: Any) -> None:
    cci.upload_object("sweet_project/two words", b"")
    browser = cci.get_browser()
    found = complete("browser['sweet_project']['", browser=browser)
    assert set(found) >= {"two words", "mean", "sub01_awesome_analysis.grp"}
    assert complete("browser['sweet_project']['two", browser=browser) == ["two words"]


def test_displaying_costs_one_listing(cci: Any) -> None:
    from IPython.core.formatters import DisplayFormatter

    browser = cci.get_browser()
    formatter = DisplayFormatter()
    formatter.active_types = ["text/plain"]  # as in a terminal
    counting = cci.backend_interface
    with counting.expect():
        data, _ = formatter.format(browser)
    assert data == {"text/plain": f"cottoncandy-path <bucket:{cci.bucket_name}>"}


def test_attributes_in_plain_python(cci: Any) -> None:
    browser = cci.get_browser()
    completer = rlcompleter.Completer({"browser": browser})
    counting = cci.backend_interface
    with counting.expect(scan=2):
        found = completer.attr_matches("browser.sweet_project.sub")
    assert [text.partition("(")[0] for text in found] == [
        f"browser.sweet_project.{group}" for group in GROUPS
    ]


# -- a real terminal -----------------------------------------------------------------------------

_SETUP = """
import numpy as np
import cottoncandy as cc
cci = cc.get_interface("my_bucket_name", backend="memory", verbose=False)
for subject in ("sub01", "sub02"):
    name = f"sweet_project/{subject}_awesome_analysis.grp/result_model01"
    response = cci.upload_raw_array(name, np.zeros(131072), compression=False)
browser = cci.get_browser()
"""


PROMPT = r"In \[\S*\d\S*\]: "  # with the terminal's colours in it


def terminal(command: list[str], setup: Path) -> Any:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "TERM": "xterm",
        "PROMPT_TOOLKIT_NO_CPR": "1",
        "PYTHONSTARTUP": str(setup),
        "INPUTRC": os.devnull,
    }
    return pexpect.spawn(
        command[0],
        command[1:],
        env=environment,
        encoding="utf-8",
        timeout=120,
        dimensions=(40, 120),
        use_poll=True,  # select() fails where a long run has more than 1,024 files open
    )


@pytest.fixture
def setup_file(tmp_path: Path) -> Path:
    path = tmp_path / "setup.py"
    path.write_text(_SETUP)
    return path


@pytest.fixture
def ipython(setup_file: Path) -> Iterator[Any]:
    arguments = ["--no-banner", "--no-confirm-exit", "-i", str(setup_file)]
    child = terminal([sys.executable, "-m", "IPython", *arguments], setup_file)
    child.expect(PROMPT)
    yield child
    child.close(force=True)


def without_escapes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


@pytest.mark.slow
def test_tab_in_ipython(ipython: Any) -> None:
    ipython.send("browser.sweet_project.sub\t")
    for group in GROUPS:
        ipython.expect(re.escape(group))
    ipython.send("\x03\x15")
    # One possibility: the rest is filled in.
    ipython.send("browser.sweet_project.sub01\t")
    ipython.expect("_awesome_analysis_DOT_grp")
    ipython.send("\r")
    ipython.expect("1 keys.*>")
    assert "<cottoncandy-group <bucket:my_bucket_name> (sub01_awesome_analysis.grp: 1 keys" in (
        without_escapes(ipython.before + ipython.after)
    )


@pytest.mark.slow
def test_tab_behind_a_bracket(ipython: Any) -> None:
    """``browser.sweet_project["<TAB>`` offers names, and fills the only one in."""
    ipython.send('browser.sweet_project["\t')
    for name in ("sub01_awesome_analysis.grp", "sub02_awesome_analysis.grp"):
        ipython.expect(re.escape(name))
    ipython.send("\x03\x15")
    ipython.send('browser["sweet_project"]["sub01\t')
    ipython.expect(re.escape("_awesome_analysis.grp"))
    ipython.send("\x03\x15")
    ipython.send('browser["sweet_project"]["sub02\t')
    ipython.expect(re.escape("_awesome_analysis.grp"))
    ipython.send('"]\r')
    ipython.expect("1 keys.*>")
    assert "(sub02_awesome_analysis.grp: 1 keys" in without_escapes(ipython.before + ipython.after)


def test_tab_in_python(setup_file: Path) -> None:
    child = terminal([sys.executable, "-q"], setup_file)
    try:
        child.expect(">>> ")
        child.send("import readline, rlcompleter; readline.parse_and_bind('tab: complete')\r")
        child.expect(">>> ")
        child.send("browser.sweet_project.sub\t\t\t")
        for group in GROUPS:
            child.expect(group)
    finally:
        child.close(force=True)
