"""Every code block of the documentation runs, or says why it does not."""

from __future__ import annotations

import doctest
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import PAGES, ROOT, Block, blocks_of

#: Every reason for which a block may not run. A new one is a decision: it is made here.
REASONS = {
    "cottoncandy 0.4.0",
    "needs a Google account",
    "needs an S3 account",
    "needs the network",
    "shell",
}
#: Languages that are not programs. Blocks without a language and ``text`` are output or data.
PROSE = {"", "text", "console"}
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

BLOCKS = {path: blocks_of(path) for path in PAGES}


def page_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    if ">>> " not in block.code:
        # The same line numbers as in the page, for tracebacks.
        code = "\n" * (block.line - 1) + block.code
        exec(compile(code, str(block.path), "exec"), namespace)
        return
    test = doctest.DocTestParser().get_doctest(
        block.code, namespace, block.where, str(block.path), block.line - 1
    )
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    runner.run(test, out=report.append, clear_globs=False)
    assert not report, "".join(report)
    namespace.update(test.globs)


def run_options(block: Block, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a piece of an options file as a user's own: no unknown option, no odd value."""
    from cottoncandy.options import Settings

    path = place / "options.cfg"
    path.write_text(block.code)
    with monkeypatch.context() as patch:
        patch.setenv("COTTONCANDY_OPTIONS", str(path))
        Settings.load()


@pytest.mark.parametrize(
    "path",
    [path for path in PAGES if any(b.language == "python" for b in BLOCKS[path])],
    ids=page_id,
)
def test_python(path: Path, empty_place: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "__page__"}
    for block in BLOCKS[path]:
        if block.language == "python" and block.not_run is None:
            run_python(block, namespace)
        elif block.instead is not None:
            exec(block.instead, namespace)


@pytest.mark.parametrize(
    "block",
    [b for path in PAGES for b in BLOCKS[path] if b.language in ("ini", "json", "toml")],
    ids=lambda block: block.where,
)
def test_data(
    block: Block,
    empty_place: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if block.language == "ini":
        run_options(block, empty_place, monkeypatch)
        assert caplog.messages == []
    elif block.language == "json":
        json.loads(block.code)
    else:
        tomllib.loads(block.code)


def test_skipped_blocks_give_a_reason() -> None:
    given = set()
    wrong = []
    for path in PAGES:
        for block in BLOCKS[path]:
            if block.language.startswith("{") or block.language in PROSE:
                continue
            if block.not_run is not None:
                given.add(block.not_run)
                if block.not_run not in REASONS:
                    wrong.append(f"{block.where}: unknown reason {block.not_run!r}")
                elif block.language == "python":
                    compile_only(block)
            elif block.language not in ("python", "ini", "json", "toml"):
                wrong.append(f"{block.where}: {block.language} neither runs nor says why")
    assert wrong == []
    assert given == REASONS
    python = [b for path in PAGES for b in BLOCKS[path] if b.language == "python"]
    skipped = [b for b in python if b.not_run is not None]
    assert len(skipped) <= len(python) / 3


def compile_only(block: Block) -> None:
    """At least be Python."""
    code = block.code
    if ">>> " in code:
        code = "".join(example.source for example in doctest.DocTestParser().get_examples(code))
    compile(code, block.where, "exec")


def test_a_wrong_block_fails(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\n>>> 1 + 1\n3\n```\n\n```python\nassert False\n```\n")
    for block in blocks_of(page):
        wrong = Block(ROOT / "page.md", block.language, block.code, block.line)
        with pytest.raises(AssertionError):
            run_python(wrong, {})
