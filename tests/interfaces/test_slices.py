"""Slices of raw arrays: what NumPy selects, from few requests and few bytes, verified."""

from __future__ import annotations

import json
import math
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import cottoncandy as cc
from cottoncandy.core.buffers import Body, MiB
from cottoncandy.exceptions import (
    CottonCandyError,
    IntegrityError,
    ObjectChangedError,
    SelectionError,
)
from cottoncandy.formats.codecs.blocks import BlockLayout
from cottoncandy.formats.raw import encode_array
from tests.backends.wrappers import CountingBackend
from tests.cases import each
from tests.formats.indexed_gzip import indexed_gzip, write
from tests.harness import HARNESSES
from tests.servers.web import RangeHandler, serving

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # fake
DTYPES = ["<f8", ">i2", "|b1", "<M8[s]", "|V3", "|S5", "u1", [("a", "<i4"), ("b", ">f8")]]
CODECS = ["blocks", "gzip", None, "Zlib", "Zstd", "LZ4", "BZ2"]


def interface(encrypted: bool = False) -> Any:
    if not encrypted:
        return cc.get_interface("bucket", backend="memory", verbose=False)
    return cc.get_encrypted_interface(
        "bucket", backend="memory", encryptionKey=KEY, encryption="AES", verbose=False
    )


def counted(cci: Any) -> CountingBackend:
    counting = CountingBackend(cci.backend_interface)
    cci.backend_interface = counting
    return counting


def store(cci: Any, name: str, array: Any, codec: str | None, block_bytes: int = 64) -> None:
    """Store an array; with blocks of any size if the codec is "blocks"."""
    if codec != "blocks" or array.nbytes <= block_bytes:
        codec = "gzip" if codec == "blocks" else codec
        cci.upload_raw_array(name, array, compression=codec)
        return
    metadata, body = encode_array(array, None)
    data, metadata["cc-index"] = indexed_gzip(b"".join(body), block_bytes)
    put(cci, name, data, {**metadata, "compression": "gzip"})


def put(cci: Any, name: str, body: bytes, metadata: dict[str, str]) -> None:
    """Store an object with the metadata of an array, which users may not set."""
    cci._store.put(name, Body.of(body), metadata=metadata)


def array_of(shape: tuple[int, ...], dtype: Any, order: str) -> Any:
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    numbers = np.arange(size) * 7 % 251 % (2 if dtype.kind == "b" else 256)
    array = np.frombuffer(numbers.astype("u1").tobytes(), dtype).reshape(shape)
    return np.asarray(array, order=order)


def as_tuple(selection: Any) -> tuple[Any, ...]:
    return selection if isinstance(selection, tuple) else (selection,)


def with_a_list(data: Any, selection: Any, candidates: Any, shape: tuple[int, ...]) -> Any:
    """Replace one slice of a selection by an ascending list of integers, or a mask."""
    entries = list(as_tuple(selection))
    place = data.draw(st.sampled_from(candidates))
    length = shape[place - entries[:place].count(None)]
    mask = data.draw(hnp.arrays(bool, length))
    choice = data.draw(st.sampled_from(["mask", "list", "array", "negative"]))
    positions = np.flatnonzero(mask)
    if choice == "negative":
        positions = positions - length
    entries[place] = {"mask": mask, "list": positions.tolist()}.get(choice, positions)
    return tuple(entries)


def outer_index(array: Any, selection: Any) -> Any:
    """Index as h5py does: a list keeps its axis in place."""
    entries = list(as_tuple(selection))
    for place, entry in enumerate(entries):
        if isinstance(entry, list | np.ndarray):
            axis = place - entries[:place].count(None)
            entry = np.asarray(entry, bool if np.asarray(entry).dtype == bool else int)
            array = array[(slice(None),) * axis + (entry,)]
            entries[place] = slice(None)
    return np.asarray(array[tuple(entries)])


@st.composite
def selections(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    selection = draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    entries = as_tuple(selection)
    lists = [axis for axis, entry in enumerate(entries) if isinstance(entry, slice)]
    if lists and Ellipsis not in entries and draw(st.booleans()):
        return with_a_list(draw(st.data()), selection, lists, shape)
    return selection


def check(data: Any, cci: Any, codec: str | None) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9))
    dtype, order = data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from("CF"))
    array = array_of(shape, dtype, order)
    store(cci, "array", array, codec, data.draw(st.sampled_from([1, 7, 64, 500])))
    assert cci.download_raw_array("array").tobytes() == array.tobytes()
    for _ in range(3):
        selection = data.draw(selections(shape))
        # NumPy's scalars are in the byte order of the machine.
        expected = outer_index(array, selection).astype(dtype)
        found = cci.download_raw_array("array", selection=as_tuple(selection))
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        assert found.tobytes() == expected.tobytes()
        assert found.flags.writeable


@each(
    "codec, encrypted, examples",
    [("blocks", False, 8), ("blocks", True, 3), *((codec, False, 2) for codec in CODECS[1:])],
)
def test_slices_are_what_numpy_selects(codec: str | None, encrypted: bool, examples: int) -> None:
    cci = interface(encrypted)

    @settings(max_examples=examples)
    @given(data=st.data())
    def run(data: Any) -> None:
        check(data, cci, codec)

    run()


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "AES"])
def test_a_thousand_slices(codec: str | None, encrypted: bool) -> None:
    cci = interface(encrypted)

    @settings(
        max_examples=100 if codec == "blocks" else 20,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(data=st.data())
    def run(data: Any) -> None:
        check(data, cci, codec)

    run()


@pytest.mark.slow
@pytest.mark.parametrize("store", [name for name in HARNESSES if name != "files"], indirect=True)
@pytest.mark.parametrize("encryption", ["plain", "AES"], indirect=True)
def test_slices_on_every_store(cci: Any) -> None:
    array = array_of((700, 50, 9), "<i4", "C")  # two blocks of gzip
    for codec in CODECS[1:3]:
        cci.upload_raw_array(f"raw/{codec}", array, compression=codec)
        cci.upload_dask_array(f"chunked/{codec}", array, None, 200_000, compression=codec)
    opened = [cci.array(f"{kind}/{codec}") for kind in ("raw", "chunked") for codec in CODECS[1:3]]

    @settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
    @given(selection=selections(array.shape))
    def run(selection: Any) -> None:
        expected = outer_index(array, selection)
        for arr in opened:
            found = arr[selection]
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
            assert found.tobytes() == expected.tobytes()

    run()


@pytest.fixture(scope="module")
def walk() -> Any:
    """A 16 MiB walk of float32, 4096 x 1024, and its interface."""
    cci = interface()
    steps = np.random.default_rng(0).standard_normal(2**22)
    array = steps.cumsum().astype("f4").reshape(4096, 1024)
    cci.upload_raw_array("walk", array)
    return cci, array, counted(cci)


@pytest.mark.parametrize(
    ("selection", "runs"),
    [
        (np.s_[0], [[0]]),
        (np.s_[255:257], [[0, 1]]),
        (np.s_[300:800, 5], [[1, 2, 3]]),
        (np.s_[::2048], [[0], [8]]),
        ([5, 1500, 1600, 4095], [[0], [5, 6], [15]]),
        (np.s_[:, 3], [list(range(16))]),
        (np.s_[1:, :900], [list(range(16))]),  # in several reads, which share blocks
        (np.s_[::512], [[0, 2, 4], [6, 8], [10, 12], [14]]),  # gaps of half the needed bytes
        (np.s_[-1:0:-4095], [[15]]),
        (np.s_[:], [list(range(16))]),
        (np.s_[9, 9], [[0]]),
        (np.s_[5:5], []),
    ],
    ids=str,
)
def test_a_slice_costs_a_request_per_run_of_blocks(walk: Any, selection: Any, runs: Any) -> None:
    cci, array, counting = walk
    layout = BlockLayout(array.nbytes)
    sizes = compressed_sizes(cci, layout)
    counting.reset()
    found = cci.download_raw_array("walk", selection=selection)
    expected = np.asarray(array[selection])
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()
    reads = len(runs) + bool(runs)  # and the index
    assert dict(counting.verbs) == {"get": 1, **({"read": reads} if reads else {})}
    touched = sorted({block for run in runs for block in run})
    needed = sum(sizes[block] for block in touched)
    assert counting.bytes_received - (layout.tail_bytes if runs else 0) <= 1.5 * needed
    assert counting.bytes_received <= 1.5 * needed + 64 * 1024


def compressed_sizes(cci: Any, layout: BlockLayout) -> list[int]:
    body = cci.download_object("walk")
    offsets = np.frombuffer(body[-layout.index_bytes :][32:-14], "<u8, <u4")["f0"]
    return np.diff([*offsets.tolist(), len(body) - layout.tail_bytes]).tolist()


def test_a_small_slice_of_an_encrypted_array_moves_few_segments() -> None:
    cci = interface()
    sealed = interface(encrypted=True)
    inner = CountingBackend(cci.backend_interface)
    object.__setattr__(sealed.backend_interface, "inner", inner)
    array = np.random.default_rng(0).standard_normal(2**21)  # 16 MiB
    sealed.upload_raw_array("array", array)
    inner.reset()
    found = sealed.download_raw_array("array", selection=np.s_[10:20])
    assert found.tobytes() == array[10:20].tobytes()
    assert inner.bytes_received < 2 * MiB


def test_blocks_of_two_versions_do_not_mix() -> None:
    cci = interface()
    first, second = (np.full(3 * MiB, value, "u1") for value in (1, 2))
    cci.upload_raw_array("array", first)

    class Replaced(CountingBackend):
        def get(self, *args: Any, **options: Any) -> Any:
            reader = super().get(*args, **options)
            other.upload_raw_array("array", second)
            return reader

    other = cc.get_interface("bucket", backend="memory", verbose=False)
    other.backend_interface = cci.backend_interface
    cci.backend_interface = Replaced(cci.backend_interface)
    for selection in (np.s_[::MiB], None):
        try:
            found = cci.download_raw_array("array", selection=selection)
        except ObjectChangedError:
            continue
        assert len(set(found.tolist())) == 1


def test_a_selection_is_checked_before_the_blocks_are_fetched() -> None:
    cci = interface()
    for codec in ("gzip", "Zstd"):
        cci.upload_raw_array("array", np.zeros(3 * MiB, "u1"), compression=codec)
        counting = counted(cci)
        with pytest.raises(SelectionError):
            cci.download_raw_array("array", selection=[2, 1])
        assert dict(counting.verbs) == {"get": 1}


def test_metadata_of_the_index_is_reserved() -> None:
    cci = interface()
    with pytest.raises(CottonCandyError, match="cc-index"):
        cci.upload_raw_array("array", np.arange(3), **{"cc-index": "v=1"})


# -- damage --------------------------------------------------------------------------------------

ARRAY = array_of((100,), "<u2", "C")


STORED, ANNOUNCEMENT = indexed_gzip(ARRAY.tobytes(), 20)


def damaged() -> Any:
    """Yield bodies and announcements, and whether each slice of them must raise."""
    _, body = encode_array(ARRAY, None)
    data = b"".join(body)
    stored, announcement = STORED, ANNOUNCEMENT
    index_bytes = int(announcement.rpartition("=")[2])
    start = len(stored) - index_bytes - 10
    for position in range(len(stored)):
        flipped = bytearray(stored)
        flipped[position] ^= 0x10
        yield bytes(flipped), announcement, position >= start
    for size in (1, 10, index_bytes, len(stored) // 2, len(stored) - 5):
        yield stored[:-size], announcement, True
    yield stored + b"\0", announcement, True
    yield write(data, 20, version=2), announcement, True
    yield write(data[::-1], 20), announcement, True  # another array of the same size
    yield write(data, 20, swap=(1, 2)), announcement, True
    yield stored, "v=2; block=20; bytes=166", True
    yield stored, "v=1; block=20; bytes=99999", True
    yield stored, "nonsense", True
    yield stored + stored, announcement, False
    yield stored, None, True  # a second member that is not announced


def outcome(cci: Any, selection: Any) -> tuple[Any, IntegrityError | None]:
    try:
        return cci.download_raw_array("the/array", selection=selection), None
    except IntegrityError as error:
        return None, error


@pytest.mark.server  # hundreds of tamperings
def test_damage_raises_and_names_the_object() -> None:
    cci = interface()
    metadata, _ = encode_array(ARRAY, None)
    metadata["compression"] = "gzip"
    count = 0
    for number, (body, announcement, all_raise) in enumerate(damaged()):
        count += 1
        entries = {} if announcement is None else {"cc-index": announcement}
        put(cci, "the/array", body, {**metadata, **entries})
        for selection in (None, np.s_[3:5], np.s_[::9]):
            found, error = outcome(cci, selection)
            if found is None:
                assert "the/array" in str(error), number
                continue
            assert not all_raise, number
            assert selection is not None or len(body) == len(STORED), number
            expected = ARRAY if selection is None else ARRAY[selection]
            assert found.tobytes() == expected.tobytes(), number
    assert count > 300


def test_a_damaged_gzip_header_raises() -> None:
    cci = interface()
    metadata, _ = encode_array(ARRAY, None)
    metadata |= {"compression": "gzip", "cc-index": ANNOUNCEMENT}
    for position in range(10):
        body = bytearray(STORED)
        body[position] ^= 0x10
        put(cci, "the/array", bytes(body), metadata)
        for selection in (None, np.s_[0]):
            with pytest.raises(IntegrityError, match="the/array"):
                cci.download_raw_array("the/array", selection=selection)


def test_an_index_without_its_codec_raises() -> None:
    cci = interface()
    metadata, body = encode_array(np.zeros(100, "u1"), "Zstd")
    metadata["cc-index"] = "v=1; block=2; bytes=9"
    put(cci, "array", b"".join(body), metadata)
    with pytest.raises(IntegrityError, match="array"):
        cci.download_raw_array("array")


@each("size", [MiB - 1, MiB, MiB + 1, 4 * MiB])
@each("dtype", ["u1", ">f8", "V3"])
def test_arrays_of_about_n_blocks(size: int, dtype: str) -> None:
    cci = interface()
    array = array_of((size // np.dtype(dtype).itemsize,), dtype, "C")
    cci.upload_raw_array("array", array)
    assert cci.download_raw_array("array").tobytes() == array.tobytes()
    for selection in (np.s_[-3:], np.s_[:5], np.s_[:: max(len(array) // 5, 1)], np.s_[1:-1]):
        found = cci.download_raw_array("array", selection=as_tuple(selection))
        assert found.tobytes() == array[selection].tobytes()


def test_chunks_of_chunked_arrays_are_sliced() -> None:
    da = pytest.importorskip("dask.array")
    cci = interface()
    array = np.random.default_rng(0).standard_normal((1024, 1024)).astype("f4").cumsum(1)
    array = np.asarray(array, "f4")
    cci.upload_dask_array("array", da.from_array(array, chunks=(1024, 512)))
    counting = counted(cci)
    found = cci.download_dask_array("array")[5].compute()
    assert found.tobytes() == array[5].tobytes()
    assert counting.bytes_received < 2.2 * MiB  # half of each chunk, and the manifest


# -- a reader without this package -----------------------------------------------------------------


class S3Handler(RangeHandler):
    """Sends the metadata of the local backend as S3 does."""

    def end_headers(self) -> None:
        sidecar = Path(f"{self.translate_path(self.path)}.meta.json")
        for name, value in json.loads(sidecar.read_text()).items():
            self.send_header(f"x-amz-meta-{name}", value)
        super().end_headers()


@pytest.mark.parametrize(("start", "stop"), [(0, 4096), (2047, 2050)])
def test_the_example_reads_rows(tmp_path: Path, start: int, stop: int) -> None:
    cci = cc.get_interface(str(tmp_path), backend="local", verbose=False)
    array = np.random.default_rng(0).poisson(100, (4096, 300)).astype(">i4")
    cci.upload_raw_array("run", array)
    program = Path(__file__).parents[2] / "examples" / "read_gzip_array.py"
    assert "cottoncandy" not in re.findall(r"^(?:import|from) (\w+)", program.read_text(), re.M)
    with serving(tmp_path, S3Handler) as server:
        read_rows = runpy.run_path(str(program))["read_rows"]
        found = read_rows(f"{server.url}/run", start, stop)
        assert found.dtype == array.dtype
        assert found.tobytes() == array[start:stop].tobytes()
        assert len(server.requests) == 2
        if start:
            command = [sys.executable, "-I", program, f"{server.url}/run", str(start), str(stop)]
            printed = subprocess.run(command, text=True, capture_output=True, check=True).stdout
            assert printed == f"{array[start:stop]}\n"


def test_a_body_that_arrived_with_the_header_is_requested_once() -> None:
    """The index at its end too, which would otherwise be another request."""

    class Eager(CountingBackend):
        def get(self, *args: Any, **options: Any) -> Any:
            reader = super().get(*args, **options)
            reader.prefetched = reader.size
            return reader

    for encrypted in (False, True):
        cci = interface()
        eager = Eager(cci.backend_interface)
        cci.backend_interface = eager
        if encrypted:
            sealed = interface(encrypted=True)
            object.__setattr__(sealed.backend_interface, "inner", eager)
            cci = sealed
        array = np.arange(500_000.0)
        cci.upload_raw_array("array", array)
        eager.reset()
        assert cci.download_raw_array("array").tobytes() == array.tobytes()
        assert dict(eager.verbs) == {"get": 1, "read": 1}
