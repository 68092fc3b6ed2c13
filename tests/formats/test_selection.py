"""Partial reads give what numpy's indexing gives, from the bytes that they ask for only."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cottoncandy.exceptions import SelectionError
from cottoncandy.formats import dtypes as dtypes_module
from cottoncandy.formats import selection as module
from cottoncandy.formats.raw import RawArrayHeader
from cottoncandy.formats.selection import plan
from tests.cases import each


def header_of(array, order="C"):
    return RawArrayHeader(array.dtype, array.shape, order, None, None, array.nbytes)


def read(array, order, selection):
    """Run a plan as an interface would; return the result and the number of bytes read."""
    body = array.tobytes(order)
    the_plan = plan(header_of(array, order), selection)
    out = the_plan.result.new_array()
    before = -1
    for index, (start, stop) in enumerate(the_plan.reads):
        assert 0 <= start < stop <= len(body)
        assert start > before
        before = start
        the_plan.place(index, body[start:stop], out)
    if the_plan.contiguous is not None:
        start, stop = the_plan.contiguous
        straight = the_plan.result.new_array()
        the_plan.result.bytes_of(straight)[:] = body[start:stop]
        assert straight.tobytes() == out.tobytes()
    return out, sum(stop - start for start, stop in the_plan.reads)


shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7)
dtypes = st.sampled_from(["<f8", ">i2", "|b1", "<M8[s]", "|V3", "|S5"])


@given(
    data=st.data(),
    shape=shapes,
    dtype=dtypes,
    order=st.sampled_from("CF"),
    gap=st.sampled_from([0, 1, 9, 64, 10**6]),
    longest=st.sampled_from([1, 16, 50, 10**6]),
)
def test_a_selection_is_what_numpy_selects(data, shape, dtype, order, gap, longest):
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    numbers = np.arange(size) % 251 % (2 if dtype.kind == "b" else 256)
    array = np.frombuffer(numbers.astype("u1").tobytes(), dtype).reshape(shape)
    indices = hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)
    selection = data.draw(indices)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_GAP_BYTES", gap)
        patch.setattr(module, "MAX_READ_BYTES", longest)
        out, travelled = read(array, order, selection)
        ranges = list(plan(header_of(array, order), selection).reads)
    # numpy's scalars are in the byte order of the machine
    expected = np.asarray(array[selection]).astype(dtype)
    assert out.shape == expected.shape
    assert out.dtype == expected.dtype
    assert out.tobytes() == expected.tobytes()
    assert out.flags.writeable
    assert all(stop - start <= max(longest, dtype.itemsize) for start, stop in ranges)
    if gap == 0:
        assert travelled == expected.nbytes


@each("order", "CF")
@each("gap", [0, 9, 10**6])
@each("longest", [1, 16, 10**6])
@each(
    "selection",
    [
        *(np.s_[::-1], np.s_[::-2], np.s_[4:0:-1], np.s_[:, ::-1], np.s_[5::-3, 1:4:2]),
        *(np.s_[::-1, ::-1], np.s_[2, ::-1], np.s_[1:2:-1], np.s_[3:2:-1, 4:3:-1]),
        *(np.s_[:, [0, 1, 2, 4]], np.s_[[0, 2, 3, 4, 5]], np.s_[[1, 5], ::-2], np.s_[::-1, [0, 2]]),
    ],
)
def test_falling_slices_and_lists(monkeypatch, order, gap, longest, selection):
    monkeypatch.setattr(module, "MAX_GAP_BYTES", gap)
    monkeypatch.setattr(module, "MAX_READ_BYTES", longest)
    array = np.arange(30, dtype="<i2").reshape(6, 5)
    expected = array[selection]
    for found in (read(array, order, selection)[0], module.select(array, selection)):
        assert found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()
    reads = plan(header_of(array, order), selection).reads
    assert all(stop - start <= max(longest, 2) for start, stop in reads)


def test_a_gap_of_64_kib_is_read_too_and_a_larger_one_is_not():
    for gap, reads in ((module.MAX_GAP_BYTES, 1), (module.MAX_GAP_BYTES + 1, 2)):
        array = np.zeros((2, gap + 1), "u1")
        assert plan(header_of(array), np.s_[:, 0]).count == reads


def test_a_long_selection_is_read_in_parts(monkeypatch):
    monkeypatch.setattr(module, "MAX_READ_BYTES", 100)
    monkeypatch.setattr(module, "MAX_GAP_BYTES", 10)
    array = np.arange(200, dtype="<i4").reshape(4, 50)
    selection = np.s_[1:, :49]
    reads = list(plan(header_of(array), selection).reads)
    assert len(reads) == 6
    assert max(stop - start for start, stop in reads) <= 100
    assert read(array, "C", selection)[0].tolist() == array[selection].tolist()


@given(order=st.sampled_from("CF"), data=st.data())
@example(order="C", data=None)
def test_gaps_are_the_only_extra_bytes(order, data):
    array = np.arange(5000, dtype="<i4").reshape(50, 100)
    selection = np.s_[::7, 3:9] if data is None else data.draw(hnp.basic_indices(array.shape))
    out, travelled = read(array, order, selection)
    covering = np.ravel_multi_index((0, 0), array.shape) + array.nbytes
    assert out.tobytes() == np.asarray(array[selection]).tobytes()
    assert travelled <= covering


def test_rows_are_one_read_straight_into_place():
    array = np.arange(120.0).reshape(6, 5, 4)
    rows = plan(header_of(array), np.s_[2:4])
    assert list(rows.reads) == [(320, 640)]
    assert rows.contiguous == (320, 640)
    assert plan(header_of(array), np.s_[3:1:-1]).contiguous is None
    assert plan(header_of(array), np.s_[:, 1]).contiguous is None


def test_far_apart_rows_are_read_one_by_one():
    header = RawArrayHeader(np.dtype("<f8"), (100, 100_000), "C", None, None, 80_000_000)
    far = plan(header, np.s_[::10, 5])
    assert list(far.reads)[1:3] == [(8_000_040, 8_000_048), (16_000_040, 16_000_048)]
    assert far.read(far.count - 1) == (72_000_040, 72_000_048)
    assert far.count == 10


def test_large_reads_are_cut():
    header = RawArrayHeader(np.dtype("<f4"), (3, 10**8), "C", None, None, 1_200_000_000)
    reads = list(plan(header, np.s_[1]).reads)
    assert reads[0][0] == 400_000_000
    assert reads[-1][1] == 800_000_000
    assert all(a[1] == b[0] for a, b in itertools.pairwise(reads))
    assert max(stop - start for start, stop in reads) <= module.MAX_READ_BYTES


def test_fortran_columns_are_one_read():
    array = np.arange(120.0).reshape(20, 6)
    assert plan(header_of(array, "F"), np.s_[:, 2:4]).contiguous == (320, 640)


def test_too_many_reads_are_refused_in_words():
    header = RawArrayHeader(np.dtype("<f8"), (10**7, 10**5), "C", None, None, 8 * 10**12)
    with pytest.raises(SelectionError, match="10000000 separate reads"):
        plan(header, np.s_[:, 0])


@each(
    "selection",
    [3, -4, (0, 5), (0, 0, 0), (..., 1, ...), np.s_[0, :, 1]],
)
def test_out_of_bounds_is_an_index_error(selection):
    array = np.zeros((3, 5))
    with pytest.raises(IndexError):
        array[selection]
    with pytest.raises(SelectionError) as raised:
        plan(header_of(array), selection)
    assert isinstance(raised.value, IndexError)


def test_messages_are_those_of_numpy():
    array = np.zeros((3, 5))
    with pytest.raises(IndexError) as ours:
        plan(header_of(array), (0, 7))
    with pytest.raises(IndexError) as numpys:
        array[0, 7]
    assert str(ours.value) == str(numpys.value)


@each(
    "selection",
    [True, np.True_, np.ones((3, 5), bool), "field", 1.0, [0.5], ["a"], [[0], [1]], ([0], [1])],
)
def test_other_kinds_say_what_to_do(selection):
    with pytest.raises(SelectionError, match="download the array and index that"):
        plan(header_of(np.zeros((3, 5))), selection)


def listed(array, entries, axis):
    """Return what h5py selects with a list on one axis: the axis stays in its place."""
    others = [slice(None) if number == axis else entry for number, entry in enumerate(entries)]
    kept = sum(1 for entry in entries[:axis] if isinstance(entry, slice))
    return np.asarray(array[tuple(others)]).take(entries[axis], axis=kept)


@given(
    data=st.data(),
    shape=hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=9),
    order=st.sampled_from("CF"),
    gap=st.sampled_from([0, 1, 9, 64, 10**6]),
    longest=st.sampled_from([1, 16, 50, 10**6]),
)
def test_a_list_is_what_h5py_selects(data, shape, order, gap, longest):
    array = np.arange(math.prod(shape), dtype="<i2").reshape(shape)
    axis = data.draw(st.integers(0, len(shape) - 1))
    entries = [
        data.draw(st.one_of(st.integers(-length, length - 1), st.slices(length)))
        for length in shape
    ]
    chosen = data.draw(st.sets(st.integers(0, shape[axis] - 1)))
    entries[axis] = sorted(chosen)
    expected = listed(array, entries, axis)
    negative = [index - shape[axis] for index in sorted(chosen)]
    mask = np.isin(np.arange(shape[axis]), sorted(chosen))
    for form in (sorted(chosen), np.array(sorted(chosen), "u1"), negative, mask, mask.tolist()):
        selection = (*entries[:axis], form, *entries[axis + 1 :])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "MAX_GAP_BYTES", gap)
            patch.setattr(module, "MAX_READ_BYTES", longest)
            out, travelled = read(array, order, selection)
            ranges = list(plan(header_of(array, order), selection).reads)
        for result in (out, module.select(array, selection)):
            assert result.shape == expected.shape
            assert result.dtype == array.dtype
            assert result.tobytes() == expected.tobytes()
        assert all(stop - start <= max(longest, 2) for start, stop in ranges)
        if gap == 0:
            assert travelled == expected.nbytes


def test_rows_of_a_list_are_read_with_their_small_gaps_only():
    array = np.zeros((4000, 8192), "u1")
    plans = plan(header_of(array), [1, 2, 4, 100, 3000, 3010])
    assert list(plans.reads) == [
        (first * 8192, (last + 1) * 8192) for first, last in [(1, 4), (100, 100), (3000, 3000),
                                                              (3010, 3010)]
    ]  # fmt: skip


@each("selection", [[2, 1], [0, 0], [-1, 0], np.s_[:, [4, 1]]])
def test_unsorted_lists_say_what_to_do(selection):
    with pytest.raises(SelectionError, match=r"ascending order.*np\.unique"):
        plan(header_of(np.zeros((3, 5))), selection)


@each("selection", [[3], [-4, 0], np.array([2**63], "u8"), [True, False], np.s_[:, [True] * 6]])
def test_lists_and_masks_that_do_not_fit_are_index_errors(selection):
    with pytest.raises(SelectionError) as raised:
        plan(header_of(np.zeros((3, 5))), selection)
    assert isinstance(raised.value, IndexError)


@each("selection", [np.s_[::0], np.s_["a":], np.s_[1.5:]])
def test_impossible_slices(selection):
    with pytest.raises(SelectionError):
        plan(header_of(np.zeros((3, 5))), selection)


def test_numpy_integers_are_integers():
    array = np.arange(15).reshape(3, 5)
    for index in (np.int8(1), np.uint64(2), np.array(1)):
        assert read(array, "C", index)[0].tobytes() == array[index].tobytes()


def test_arrays_of_as_many_dimensions_as_numpy_has_are_read_in_part(monkeypatch):
    monkeypatch.setattr(module, "MAX_GAP_BYTES", 0)
    array = np.arange(6.0).reshape((1,) * (dtypes_module.MAX_DIMENSIONS - 2) + (2, 3))
    for selection in (np.s_[..., 1], np.s_[..., ::2], np.s_[..., ::-1], np.s_[..., [0, 2]]):
        for order in "CF":
            np.testing.assert_array_equal(read(array, order, selection)[0], array[selection])


@each("order", ["C", "F"])
def test_a_part_of_an_array_in_memory_has_its_order(order):
    part = module.select(np.asarray(np.ones((4, 6)), order=order), np.s_[1:, ::2])
    assert part.flags[f"{order}_CONTIGUOUS"]


def test_a_short_buffer_is_refused():
    the_plan = plan(header_of(np.zeros(5)), np.s_[1:3])
    with pytest.raises(ValueError, match="16 bytes"):
        the_plan.place(0, b"1234", the_plan.result.new_array())
