"""The code blocks of a page of Markdown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "blocks_of"]

ROOT = Path(__file__).resolve().parent.parent.parent

#: Every page that may contain code, except for built pages.
PAGES = sorted(
    path
    for path in [ROOT / "README.md", *ROOT.glob("examples/*.md"), *ROOT.glob("docs/**/*.md")]
    if "_build" not in path.parts
)

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>[^`]*)$")
_NOT_RUN = re.compile(r"^\s*<!-- not run: (?P<text>[^>]+) -->\s*$")
_INSTEAD = re.compile(r"^\s*<!-- run instead: (?P<text>[^>]+) -->\s*$")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, the line where that starts (from 1)."""

    path: Path
    language: str
    code: str
    line: int
    #: Why it is not run, if a line above it is ``<!-- not run: reason -->``.
    not_run: str | None = None
    #: One line that replaces it, if a line above it is ``<!-- run instead: code -->``.
    instead: str | None = None

    @property
    def where(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks_of(path: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    lines = path.read_text("utf-8").splitlines()
    blocks = []
    number = 0
    while number < len(lines):
        opening = _FENCE.match(lines[number])
        number += 1
        if opening is None:
            continue
        start = number
        while number < len(lines) and lines[number].strip() != opening["fence"]:
            number += 1
        if number == len(lines):
            raise ValueError(f"{path}:{start}: a block that never ends")
        before = lines[max(start - 3, 0) : start - 1]
        indent = len(opening["indent"])
        blocks.append(
            Block(
                path,
                opening["language"].strip(),
                "".join(f"{line[indent:]}\n" for line in lines[start:number]),
                start + 1,
                _comment(_NOT_RUN, before),
                _comment(_INSTEAD, before),
            )
        )
        number += 1
    return blocks


def _comment(form: re.Pattern[str], lines: list[str]) -> str | None:
    """Return what a comment right above a block says."""
    for line in reversed(lines):
        if not line.lstrip().startswith("<!--"):
            break
        if found := form.match(line):
            return found["text"].strip()
    return None
