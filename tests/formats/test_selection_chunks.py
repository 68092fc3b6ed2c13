"""Selections of chunked arrays, against numpy's own."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cottoncandy.exceptions import SelectionError
from cottoncandy.formats.selection import select, select_chunks
from tests.cases import each

LENGTHS = st.one_of(st.just((0,)), st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple))


@st.composite
def selected_arrays(draw: st.DrawFn) -> tuple[tuple[tuple[int, ...], ...], Any]:
    """Return chunks, and a selection that numpy takes for an array that is cut so."""
    chunks = draw(st.lists(LENGTHS, max_size=3).map(tuple))
    bound = st.one_of(st.none(), st.integers(-12, 12))
    step = st.sampled_from([None, 1, 2, 3, 7, -1, -2, -7])
    entries: list[Any] = []
    for length in map(sum, chunks[: draw(st.integers(0, len(chunks)))]):
        kinds: list[Any] = [st.builds(slice, bound, bound, step)]
        if length:
            kinds.append(st.integers(-length, length - 1))
            if not any(isinstance(entry, list) for entry in entries):
                kinds.append(st.sets(st.integers(0, length - 1)).map(sorted))
        entries.append(draw(st.one_of(kinds)))
    if draw(st.booleans()):
        entries.insert(draw(st.integers(0, len(entries))), None)
    if draw(st.booleans()) and len(entries) - entries.count(None) == len(chunks):
        entries.insert(draw(st.integers(0, len(entries))), Ellipsis)
    return chunks, tuple(entries)


@given(selected_arrays())
@example((((3, 3, 1), (5,)), (slice(None, None, -1), slice(None, None, 2))))
@example((((2, 2, 2),), (slice(0, 6, 2),)))
@example((((2, 3, 2),), (slice(6, None, -2),)))
@example((((2, 2, 2), (4,)), ([1, 2, 4], slice(None, None, -3))))
@example((((4,), (2, 2, 2)), (-1, [0, 2, 3, 5])))
def test_as_numpy_selects(case: tuple[tuple[tuple[int, ...], ...], Any]) -> None:
    chunks, selection = case
    shape = tuple(map(sum, chunks))
    array = np.arange(math.prod(shape)).reshape(shape)
    expected = select(array, selection)  # compared with NumPy in test_selection
    starts = [[0, *itertools.accumulate(lengths)] for lengths in chunks]
    selected = select_chunks(chunks, selection)
    assert selected.whole.shape == expected.shape
    out = np.full(selected.whole.shape, -1)
    pieces = list(selected)
    for piece in pieces:
        chunk = array[
            tuple(slice(at[i], at[i + 1]) for at, i in zip(starts, piece.index, strict=True))
        ]
        got = select(chunk, piece.chunk_selection)
        assert got.shape == piece.shape
        assert got.size  # no chunk is touched for nothing
        selected.whole.rising_view(out)[(*piece.out_selection, ...)] = got
    np.testing.assert_array_equal(out, expected)
    assert len(selected) == len(pieces) == len({piece.index for piece in pieces})


@each(
    "selection",
    [
        10,
        -11,
        (0, 0, 0),
        [2, 1],
        np.ones(9, bool),
        ([0], [1]),
        "x",
        (..., ...),
        np.s_[::0],
        np.s_["a":],
        True,
    ],
)
def test_what_is_no_basic_selection(selection: Any) -> None:
    with pytest.raises(SelectionError):
        select_chunks(((4, 4, 2), (6,)), selection)


def test_chunks_that_a_step_leaps_over_are_left_out() -> None:
    assert [piece.index for piece in select_chunks(((2,) * 10,), np.s_[1::8])] == [(0,), (4,), (8,)]
