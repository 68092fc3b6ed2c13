"""Names of objects as Python identifiers, and back. Pure functions."""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass

__all__ = ["AttributeNames", "is_introspection_name", "mangle"]

#: Attributes that IPython, Jupyter, inspect and others look up on any object; they list no bucket.
_PROBES = ("__", "_repr_", "_ipython_", "_jupyter_", "_partialmethod")


def is_introspection_name(name: str) -> bool:
    """Return whether an attribute is one that tools look up on every object."""
    return name.startswith(_PROBES)


def mangle(name: str) -> str:
    """Return a name with ``_DOT_`` for dots, ``_`` for dashes and ``NUM_`` before a digit.

    Examples
    --------
    >>> mangle("01-awesome.grp")
    'NUM_01_awesome_DOT_grp'
    """
    start = "NUM_" if name[:1].isdecimal() else ""
    return start + name.replace(".", "_DOT_").replace("-", "_")


@dataclass(frozen=True)
class AttributeNames:
    """The attributes for the names in one directory.

    Attributes
    ----------
    names : dict of str to str
        Attribute -> name. Valid identifiers map to themselves.
    ambiguous : dict of str to tuple of str
        Attributes that several names would have; they are not available.
    """

    names: dict[str, str]
    ambiguous: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, names: Iterable[str], reserved: Collection[str]) -> AttributeNames:
        """Return the attributes; ``reserved`` are those that the object already has.

        A keyword, or a reserved name, gets ``_`` at its end. Other names that are not identifiers
        are skipped: use ``[...]`` for them. Attributes are normalized (NFKC), as Python does with
        identifiers in source code; two names that differ in nothing else are ambiguous.
        """
        given = set(names)
        candidates: dict[str, list[str]] = {}
        for name in sorted(given):
            attribute = unicodedata.normalize("NFKC", mangle(name))
            if attribute in reserved or keyword.iskeyword(attribute):
                attribute += "_"
            if not attribute.isidentifier() or is_introspection_name(attribute):
                continue
            changed = attribute != unicodedata.normalize("NFKC", name)
            if changed and attribute in given:
                continue  # the name that is this attribute unchanged takes precedence
            candidates.setdefault(attribute, []).append(name)
        return cls(
            {attribute: found[0] for attribute, found in candidates.items() if len(found) == 1},
            {attribute: tuple(found) for attribute, found in candidates.items() if len(found) > 1},
        )
