"""Patterns over object names: whole names for ``glob``, level by level for ``ls``. No I/O.

The language is that of :mod:`fnmatch`: ``*``, ``?``, ``[seq]``, ``[!seq]``, all case sensitive.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cottoncandy.core.names import SEPARATOR, prefix_of

_MAGIC = re.compile(r"([*?[])")

#: The segment of an ``ls`` pattern that stands for any number of levels.
ANY_DEPTH: Final = "**"


def escape_pattern(name: str) -> str:
    """Return a pattern that matches just this name, whatever characters are in it.

    Examples
    --------
    >>> escape_pattern("run[1]*")
    'run[[]1][*]'
    """
    return _MAGIC.sub(r"[\1]", name)


def split_literal(pattern: str) -> tuple[str, bool]:
    """Return the longest literal start of a pattern, and whether that is the whole pattern.

    A bracket around a single character, which is how magic is escaped, is as literal as one that
    is never closed.
    """
    literal: list[str] = []
    position = 0
    while position < len(pattern):
        char = pattern[position]
        if char in "*?":
            return "".join(literal), False
        position += 1
        if char == "[":
            end = _bracket_end(pattern, position)
            if end is not None:
                if end - position != 1:
                    return "".join(literal), False
                char = pattern[position]
                position = end + 1
        literal.append(char)
    return "".join(literal), True


def _bracket_end(pattern: str, start: int) -> int | None:
    """Return where the bracket whose content begins at ``start`` is closed, as fnmatch sees it."""
    first = start + 1 if pattern.startswith("!", start) else start
    end = pattern.find("]", first + 1 if pattern.startswith("]", first) else first)
    return None if end < 0 else end


def _compile(pattern: str) -> Callable[[str], object]:
    return re.compile(fnmatch.translate(pattern)).match


class NamePattern:
    """A pattern that is held against whole names: ``*`` crosses ``/``.

    One without magic matches the object of that name and everything below it.

    Parameters
    ----------
    pattern : str

    Attributes
    ----------
    prefix : str
        What every matching name starts with: the least that must be listed.
    matches : callable
        Returns whether a name matches.
    """

    def __init__(self, pattern: str) -> None:
        self.prefix, literal = split_literal(pattern)
        self._below = prefix_of(self.prefix)
        self.matches: Callable[[str], object]
        if literal:
            self.matches = self._is_below
        elif pattern in (self.prefix + "*", escape_pattern(self.prefix) + "*"):
            self.matches = self._has_prefix
        else:
            self.matches = _compile(pattern)

    def _is_below(self, name: str) -> bool:
        return name == self.prefix or name.startswith(self._below)

    def _has_prefix(self, name: str) -> bool:
        return name.startswith(self.prefix)


@dataclass(frozen=True, slots=True)
class Segment:
    """What one level of an ``ls`` pattern asks for.

    Parameters
    ----------
    prefix : str
        What a matching name starts with.
    literal : bool
        Whether the prefix is the whole name.
    any_depth : bool
        Whether this is ``**``: any number of levels.
    matches : callable
        Returns whether the name at this level matches.
    """

    prefix: str
    literal: bool
    any_depth: bool
    matches: Callable[[str], object]

    @classmethod
    def parse(cls, text: str) -> Segment:
        """Parse the text between two slashes."""
        prefix, literal = split_literal(text)
        matches = prefix.__eq__ if literal else _compile(text)
        return cls(prefix, literal, text == ANY_DEPTH, matches)


class PathPattern:
    """A pattern that is held against names level by level, as a shell does.

    Parameters
    ----------
    pattern : str
        ``*``, ``?`` and brackets stay within their level; ``**`` as a whole level crosses any
        number of them.

    Attributes
    ----------
    segments : tuple of Segment
    magic : bool
        Whether any of them is more than a literal name.
    """

    def __init__(self, pattern: str) -> None:
        self.segments = tuple(Segment.parse(text) for text in pattern.split(SEPARATOR))
        self.magic = not all(segment.literal for segment in self.segments)

    def matches(self, parts: Sequence[str], skip: int = 0) -> bool:
        """Return whether a path matches the segments starting at ``skip``.

        A final ``**`` matches one level or more: a directory does not match itself.
        """
        segments, count = self.segments[skip:], len(parts)
        ends: Sequence[int] = (0,)  # how many parts the segments so far may match
        for segment in segments:
            if not ends:
                return False
            if segment.any_depth:
                ends = range(ends[0] + (segment is segments[-1]), count + 1)
            else:
                ends = [end + 1 for end in ends if end < count and segment.matches(parts[end])]
        return count in ends


def directory_name(prefix: str) -> str:
    """Return how a directory is shown: without the slash at its end.

    One with an empty last component (``a//``, ``/``: other programs make them) keeps its slash;
    otherwise it would look like its parent.
    """
    shown = prefix.removesuffix(SEPARATOR)
    return prefix if not shown or shown.endswith(SEPARATOR) else shown
