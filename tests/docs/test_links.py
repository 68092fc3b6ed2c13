"""Links between the pages lead somewhere; nothing is asked of the network."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT

_FENCED = re.compile(r"^( *)(`{3,}).*?^\1\2$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`]*`")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ (?P<text>.+)$", re.MULTILINE)
_PAGES = [*PAGES, *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"))]
# The README is also shown by package indexes, where relative links lead nowhere.
_HERE = re.compile(
    r"https://(?:github\.com/gallantlab/cottoncandy/blob"
    r"|raw\.githubusercontent\.com/gallantlab/cottoncandy)/main/"
)


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as they are made from them."""
    text = _FENCED.sub("", path.read_text("utf-8"))
    found = set()
    for heading in _HEADING.findall(text):
        plain = unicodedata.normalize("NFC", heading.replace("`", "")).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links(page: Path) -> None:
    text = _FENCED.sub("", page.read_text("utf-8"))
    wrong = []
    for found in _LINK.finditer(text):
        target = _HERE.sub(f"{ROOT}/", found["target"])
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists():
            wrong.append(f"{target}: there is no such file")
        elif anchor and anchor not in anchors(path):
            wrong.append(f"{target}: there is no such heading")
    assert wrong == []


def test_pictures_say_what_they_show() -> None:
    bare = [
        page.relative_to(ROOT).as_posix()
        for page in PAGES
        if "![](" in _CODE.sub("", page.read_text("utf-8"))
    ]
    assert bare == []


def test_readme_links_are_absolute() -> None:
    text = _FENCED.sub("", (ROOT / "README.md").read_text("utf-8"))
    targets = [found["target"] for found in _LINK.finditer(text)]
    assert [target for target in targets if not re.match(r"https?:|#", target)] == []


def test_pages_on_the_inside_name_what_exists() -> None:
    """A row of a table names files, then what to look for in them."""
    folders = ("cottoncandy", "benchmarks", "examples", "tests")
    texts = {
        path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
    }
    wrong = []
    for page in (ROOT / "docs" / "inside").glob("*.md"):
        for line in page.read_text("utf-8").splitlines():
            named = re.findall(r"\w[\w/-]*\.py\b", line)
            found = {
                name: [path for path in texts if f"/{path}".endswith(f"/{name}")] for name in named
            }
            wrong += [f"{page.name}: {name}" for name, paths in found.items() if not paths]
            if line.startswith("| ") and named and page.name == "architecture.md":
                source = "".join(texts[path] for paths in found.values() for path in paths)
                symbols = re.findall(r"`(\w+)`", line.split(" | ", 1)[1])
                wrong += [f"{page.name}: {name}" for name in symbols if name not in source]
    assert wrong == []
