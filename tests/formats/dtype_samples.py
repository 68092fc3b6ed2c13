"""Dtypes of any kind, as Hypothesis draws them, but named by a sample of all characters."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.cases import CHARACTERS

__all__ = ["nested", "structured"]

_NAMES = st.integers(0, 127).map("f{}".format) | st.text(CHARACTERS, min_size=1, max_size=8)


def structured(
    inner: st.SearchStrategy[np.dtype] = hnp.scalar_dtypes(),  # noqa: B008 - it is never changed
) -> st.SearchStrategy[np.dtype]:
    """Draw structured dtypes, some of whose fields are arrays."""
    members = st.tuples(_NAMES, inner) | st.tuples(
        _NAMES, inner, hnp.array_shapes(max_dims=2, max_side=2)
    )
    return st.lists(members, min_size=1, max_size=5, unique_by=lambda member: member[0]).map(
        np.dtype
    )


def nested(max_itemsize: int) -> st.SearchStrategy[np.dtype]:
    """Draw dtypes whose fields may be structured, too."""
    found = st.recursive(hnp.scalar_dtypes(), structured, max_leaves=10)
    return found.filter(lambda dtype: dtype.itemsize <= max_itemsize)
