"""The messages quoted on the troubleshooting page exist in the code."""

from __future__ import annotations

import ast
import re

from tests.docs.blocks import ROOT

PAGE = ROOT / "docs" / "guide" / "troubleshooting.md"
_HEADING = re.compile(r"^### `+(?P<text>.+?)`+$", re.MULTILINE)


def messages() -> set[str]:
    """Return every text of the package, with ``…`` for what is filled in."""
    found = set()
    for path in (ROOT / "cottoncandy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
                found.add("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(re.sub(r"\{\w+\}|%s", "…", node.value))
    return found


def comparable(text: str) -> str:
    """Return a text in which filled-in values are equal, quoted (``!r``) or not."""
    return re.sub("['\"]?…['\"]?", "…", " ".join(text.split()))


def test_every_heading_quotes_a_message() -> None:
    known = [comparable(message) for message in messages()]
    headings = _HEADING.findall(PAGE.read_text("utf-8"))
    assert len(headings) > 40
    missing = [
        heading
        for heading in headings
        if not any(comparable(heading) in message for message in known)
    ]
    assert missing == []


def test_error_classes_exist() -> None:
    from cottoncandy import exceptions

    named = set(re.findall(r"`(\w+Error)`", PAGE.read_text("utf-8")))
    assert named <= {*exceptions.__all__, "FileNotFoundError", "PermissionError", "ValueError"}
