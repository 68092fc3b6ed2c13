"""Raw arrays: bytes, dtype, shape and order are restored; damage raises."""

from __future__ import annotations

import contextlib
import pickle
import random
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cottoncandy.arrays.raw import read_array
from cottoncandy.backends.base import ObjectInfo, ObjectReader
from cottoncandy.backends.memory import MemoryBackend
from cottoncandy.config.options import Settings
from cottoncandy.core.buffers import MiB
from cottoncandy.exceptions import (
    CottonCandyError,
    InsufficientMemoryError,
    IntegrityError,
    InvalidArgumentError,
    MetadataError,
    UnsupportedDtypeError,
)
from cottoncandy.formats import raw
from cottoncandy.formats.raw import RawArrayHeader, as_array, encode_array, without_padding
from cottoncandy.stores.store import Store
from tests.cases import each
from tests.formats.dtype_samples import structured
from tests.formats.reference_codecs import CODECS, cut, decode, encode

ALL = [None, *CODECS]


class BytesReader(ObjectReader):
    max_resumes = 0

    def __init__(self, body, name, chunk):
        self.body, self.chunk = body, chunk
        self.info = ObjectInfo(name, len(body))

    def stream(self, start, stop):
        yield from cut(self.body[start:stop], self.chunk)


def download(metadata, body, name="obj", chunk=1000):
    header = RawArrayHeader.from_metadata(metadata, len(body), object_name=name)
    return read(header, body, name, chunk)


def read(header, body, name="obj", chunk=1000):
    reader = BytesReader(body, name, chunk)
    return read_array(Store(MemoryBackend("bucket"), Settings.load()), reader, header)


@pytest.fixture
def uncopied(monkeypatch):
    """Small arrays are encoded as those that are too large for one request."""
    monkeypatch.setattr(raw, "_COPIED_BYTES", -1)


def assert_identical(found, expected):
    assert type(found) is np.ndarray
    assert found.dtype == expected.dtype
    assert found.dtype.isalignedstruct == expected.dtype.isalignedstruct
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()
    assert found.flags.writeable
    assert found.flags.aligned


dtypes = st.one_of(hnp.scalar_dtypes(), structured(), st.just(np.dtype("|V3"))).filter(
    lambda dtype: not dtype.hasobject
)


@given(
    dtype=dtypes,
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
    layout=st.sampled_from(["C", "F", "strided", "reversed", "swapped", "broadcast", "readonly"]),
    compression=st.sampled_from(ALL),
    seed=st.integers(0, 2**16),
)
def test_round_trip(dtype, shape, layout, compression, seed):
    count = int(np.prod(shape)) * dtype.itemsize
    noise = np.random.default_rng(seed).integers(0, 2, count, "u1").tobytes()
    array = np.ndarray(shape, dtype, noise or b"\0")
    if layout == "C":
        array = array.copy()
    elif layout == "F":
        array = np.asfortranarray(array)
    elif layout == "strided":
        array = np.concatenate([array[None], array[None]])[:, ..., ::2][1] if shape else array
    elif layout == "reversed":
        array = array[::-1] if shape else array
    elif layout == "swapped" and len(shape) > 1:
        array = array.swapaxes(0, -1).copy().swapaxes(0, 1)
    elif layout == "broadcast":
        array = np.broadcast_to(array, (2, *shape))
    metadata, body = encode_array(array, compression)
    blob = b"".join(body)
    assert b"".join(body) == blob, "a body can be sent again"
    assert len(blob) <= body.max_size
    assert body.size in {None, len(blob)}
    assert all(key.isascii() and value.isascii() for key, value in metadata.items())
    assert all(value == value.strip() for value in metadata.values())
    found = download(metadata, blob)
    assert_identical(found, array)
    plain = decode(compression, blob) if metadata["compression"] != "False" else blob
    order = metadata["order"]
    assert plain == array.tobytes(order)
    assert order == "C" or compression in {None, "gzip"}
    if order == "F":
        assert found.flags.f_contiguous
    assert metadata["cc-checksum"] == f"crc32:{zlib.crc32(plain):08x}"


@each("compression", ALL)
@each("order", ["C", "F"])
def test_bodies_of_others_are_read(compression, order):
    array = np.arange(600, dtype=">i4").reshape(20, 30)
    # Version 0.4.0 reads and writes those of other codecs in C order, whatever they say.
    plain = array.tobytes(order if compression in {None, "gzip"} else "C")
    metadata = {
        "dtype": ">i4",
        "shape": "20,30",
        "compression": str(compression),
        "order": order,
    }
    body = plain if compression is None else encode(compression, plain)
    assert_identical(download(metadata, body), array)


@each("spelling", ["GZIP", "Gzip", "zlib", "ZSTD", "bz2", "lz4"])
def test_codec_names_in_any_case(spelling):
    canonical = {name.lower(): name for name in CODECS}[spelling.lower()]
    array = np.arange(10)
    metadata, body = encode_array(array, spelling)
    assert metadata["compression"] == canonical
    metadata["compression"] = spelling
    assert_identical(download(metadata, b"".join(body)), array)


@each(
    "legacy, compression, encoded",
    [("True", "False", True), ("False", "gzip", False), ("true", None, True)],
)
def test_the_old_gzip_key_overrides(legacy, compression, encoded):
    array = np.arange(10.0)
    metadata = {"dtype": "<f8", "shape": "10", "gzip": legacy}
    if compression:
        metadata["compression"] = compression
    body = encode("gzip", array.tobytes()) if encoded else array.tobytes()
    assert_identical(download(metadata, body), array)


@each("word", ["False", "None", "false", "none"])
def test_words_for_no_compression(word):
    array = np.arange(3, dtype="<i2")
    metadata = {"dtype": "<i2", "shape": "3", "compression": word}
    assert_identical(download(metadata, array.tobytes()), array)


def test_contiguous_arrays_keep_their_order():
    for array in (np.zeros((300, 400)), np.zeros((300, 400), order="F")):
        metadata, body = encode_array(array, None)
        assert body.size == array.nbytes
        assert metadata["order"] == ("C" if array.flags.c_contiguous else "F")


def test_a_copy_without_padding_has_zeros_there():
    dtype = np.dtype([("a", "i1"), ("b", "<i4")], align=True)
    array = np.full(3 * dtype.itemsize, 255, "u1").view(dtype)
    assert without_padding(array).tobytes() == b"\xff\0\0\0\xff\xff\xff\xff" * 3
    assert array.tobytes() == b"\xff" * 24
    packed = np.arange(3)
    assert without_padding(packed) is packed


@each("codec", ["BZ2", "LZ4", "Zlib", "Zstd"])
def test_fortran_order_is_kept_only_where_040_reads_it(codec):
    array = np.arange(6.0).reshape(2, 3, order="F")
    for compression, order in ((codec, "C"), ("gzip", "F")):
        metadata, body = encode_array(array, compression)
        assert metadata["order"] == order
        assert_identical(download(metadata, b"".join(body)), array)


def test_large_arrays_are_sent_in_blocks_of_equal_size():
    array = np.zeros((5, 3 * MiB), "<f4")
    _, body = encode_array(array, None)
    assert [len(block) for block in body] == [8 * MiB] * 7 + [4 * MiB]
    _, body = encode_array(array[::-1], None)
    assert max(len(block) for block in body) == 8 * MiB


PADDED = {
    "aligned": np.dtype([("a", "u1"), ("b", "<f8"), ("c", "u1")], align=True),
    "nested": np.dtype([("a", [("x", "u1"), ("y", "<i4")], (3,)), ("b", "u1")], align=True),
    "gap": np.dtype({"names": ["a", "b"], "formats": ["<u2", "S3"], "offsets": [4, 11]}),
    "union": np.dtype({"names": ["a", "b"], "formats": ["<u4", "<u2"], "offsets": [0, 2]}),
    "no fields": np.dtype({"names": [], "formats": [], "itemsize": 7}),
}


@each("dtype", list(PADDED))
@each("compression", [None, "gzip", "LZ4"])
@each("select", [np.s_[:], np.s_[::2], np.s_[:, 1], np.s_[1, ::-1]])
def test_padding_is_stored_as_zeros(dtype, compression, select):
    dtype = PADDED[dtype]
    noise = np.full(6 * 5 * dtype.itemsize, 0xA5, "u1")
    array = np.ndarray((6, 5), dtype, noise)[select]
    metadata, body = encode_array(array, compression)
    found = download(metadata, b"".join(body))
    assert found.dtype == dtype
    assert found.shape == array.shape
    elements = found.reshape(-1).view("u1").reshape(-1, dtype.itemsize)
    used = np.zeros(dtype.itemsize, bool)
    blank = np.zeros((), dtype)
    for bit in range(dtype.itemsize):
        one = bytearray(dtype.itemsize)
        one[bit] = 1
        used[bit] = repr(np.ndarray((), dtype, one).tolist()) != repr(blank.tolist())
    assert (elements[:, ~used] == 0).all()
    assert (elements[:, used] == 0xA5).all()


@each("compression", ALL)
@each("step", [1, 2])
@each("size", [10, 3 * 2**17])
def test_array_of_one_request_is_stored_as_it_was(compression, step, size):
    array = np.zeros(size, "<f8")[::step]
    metadata, body = encode_array(array, compression)
    array[-1] = 1
    found = download(metadata, b"".join(body))
    array[-1] = 0
    assert_identical(found, array)


@each("compression", ALL)
@each("step", [1, 2])
@each("size", [10, 3 * 2**17])
@pytest.mark.usefixtures("uncopied")
def test_array_that_changes_during_upload_raises(compression, step, size):
    array = np.zeros(size, "<f8")[::step]
    metadata, body = encode_array(array, compression)
    array[-1] = 1
    with pytest.raises(IntegrityError, match="changed while it was uploaded"):
        b"".join(body)
    array[-1] = 0
    assert_identical(download(metadata, b"".join(body)), array)


@pytest.mark.usefixtures("uncopied")
def test_blocks_are_copies_so_retries_send_the_same_bytes():
    array = np.zeros(3 * MiB)
    _, body = encode_array(array, None)
    first = next(iter(body))
    array[:] = 1
    assert not any(first)


@each("compression", [None, "gzip", "Zstd"])
@pytest.mark.usefixtures("uncopied")
def test_strided_arrays_are_copied_in_pieces(compression):
    # 64 MiB with every second element: 32 MiB are sent.
    array = np.zeros((8, 1024, 1024))[:, :, ::2]
    tracemalloc.start()
    try:
        metadata, body = encode_array(array, compression)
        total = sum(len(block) for block in body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert metadata["order"] == "C"
    assert total <= body.max_size
    assert peak < 24 * MiB


@pytest.mark.usefixtures("uncopied")
def test_large_rows_are_cut_too():
    array = np.arange(3 * 2**21 * 2, dtype="<i4").reshape(3, -1)[:, ::2]
    _, body = encode_array(array, None)
    assert max(len(block) for block in body) <= 8 * MiB
    assert b"".join(body) == array.tobytes()


@each(
    "value",
    [
        np.float32(2.5), np.array(7), np.array("text"), np.array(b""), np.datetime64("2020-01-01"),
        np.array([], "U"), np.zeros(3, "S0"), np.zeros((3, 0), "U0"),
        np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    ],
)  # fmt: skip
@each("compression", [None, "gzip", "LZ4"])
def test_unusual_values(value, compression):
    array = as_array(value)
    metadata, body = encode_array(array, compression)
    found = download(metadata, b"".join(body))
    assert found.dtype == array.dtype
    assert found.dtype.type is array.dtype.type
    assert_identical(found, array)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_matrices_of_numpy_are_arrays():
    matrix = np.matrix([[1, 2], [3, 4]])
    assert type(as_array(matrix)) is np.ndarray
    assert np.shares_memory(as_array(matrix), matrix)


def test_no_bytes_at_all():
    array = np.ndarray((3,), "S0", b"\0")
    assert array.dtype.itemsize == 0
    metadata, body = encode_array(array, "Zstd")
    assert metadata["compression"] == "False"
    assert_identical(download(metadata, b"".join(body)), array)


def test_too_large_for_its_codec_is_rejected_before_it_is_read():
    array = np.broadcast_to(np.uint8(0), (2**31,))  # one byte of memory
    with pytest.raises(InvalidArgumentError, match="at most"):
        encode_array(array, "LZ4")


def test_memory_maps(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(1000.0))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    metadata, body = encode_array(mapped, None)
    assert_identical(download(metadata, b"".join(body)), np.arange(1000.0))


@each(
    "value, advice",
    [
        (np.ma.array([1, 2], mask=[0, 1]), "filled"),
        (np.array([None, {}]), "upload_pickle"),
        (np.zeros(2, [("a", "i4"), ("b", "O")]), "upload_pickle"),
        (np.zeros(2, [("a", [("b", "O")])]), "upload_pickle"),
        (None, "pass the array"),
    ],
)
def test_what_has_no_bytes_is_refused(value, advice):
    with pytest.raises(UnsupportedDtypeError, match=advice):
        as_array(value)


@pytest.mark.skipif(not hasattr(np, "dtypes") or not hasattr(np.dtypes, "StringDType"), reason="-")
def test_strings_of_any_length_are_refused():
    with pytest.raises(UnsupportedDtypeError, match="astype"):
        as_array(np.array(["a", "bc"], np.dtypes.StringDType()))


def test_encode_refuses_before_anything_is_encoded():
    with pytest.raises(UnsupportedDtypeError):
        encode_array(np.array([None]), None)
    with pytest.raises(InvalidArgumentError, match="gzip"):
        encode_array(np.zeros(3), "no such codec")


GOOD = {"dtype": "<f8", "shape": "2,5", "compression": "False", "order": "C"}


@each(
    "key, value",
    [
        ("dtype", None), ("dtype", ""), ("dtype", "|O"), ("dtype", "O"), ("dtype", "object"),
        ("dtype", "f8,i4"), ("dtype", "(2,)f8"), ("dtype", "<f9"), ("dtype", "garbage"),
        ("dtype", "|S99999999999999999999"), ("dtype", "T"), ("dtype", "M8[parsecs]"),
        ("dtype", "[('a','f8')]"), ("dtype", "<f8" * 1000),
        ("shape", None), ("shape", "-1"), ("shape", "a"), ("shape", "2;5"), ("shape", "2,5,"),
        ("shape", "2.0,5"), ("shape", "99999999999999999999"), ("shape", "2,-5"), ("shape", "²"),
        ("shape", "4294967296,4294967296"), ("shape", "0,4294967296,4294967296"),
        ("shape", "(2,5)"), ("shape", ",".join(["1"] * 65)), ("shape", "0x2,5"), ("shape", "1_0"),
        ("compression", None), ("compression", ""), ("compression", "squash"),
        ("compression", "pickle"), ("compression", "True"),
        ("order", "K"), ("order", ""), ("order", "CF"),
        ("gzip", "maybe"), ("gzip", ""),
        ("cc-checksum", "crc32:xyz"), ("cc-checksum", "crc32:"), ("cc-checksum", "crc32:123"),
        ("cc-dtype", "{"), ("cc-dtype", '{"names":["a"]}'), ("cc-dtype", "<i4"), ("cc-dtype", ""),
        ("cc-dtype", '{"names":["a"],"formats":["|O"]}'), ("cc-dtype", "os.system"),
        ("cc-dtype", "numpy.ndarray"), ("cc-dtype", "antigravity.thing"), ("cc-dtype", "[" * 5000),
        ("cc-dtype", '{"names":["a","a"],"formats":["<i4","<i4"]}'), ("cc-dtype", "x" * 10**6),
        ("cc-dtype", '{"names":["a"],"formats":["<i4"],"offsets":[-4],"itemsize":8}'),
        ("cc-dtype", '["<f8",[-1]]'), ("cc-dtype", "5"), ("cc-dtype", '{"names":5,"formats":5}'),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("no_collection")
def test_nonsense_is_refused(key, value):
    metadata = {**GOOD, key: value}
    if value is None:
        del metadata[key]
    with pytest.raises(MetadataError, match="'some/name'") as raised:
        RawArrayHeader.from_metadata(metadata, 80, object_name="some/name")
    assert key in str(raised.value) or key == "cc-dtype"
    assert len(str(raised.value)) < 500
    pickle.loads(pickle.dumps(raised.value))


def test_modules_are_not_imported_by_metadata():
    import sys

    sys.modules.pop("antigravity", None)
    with pytest.raises(MetadataError, match="import antigravity first"):
        RawArrayHeader.from_metadata({**GOOD, "cc-dtype": "antigravity.x"}, 80, object_name="o")
    assert "antigravity" not in sys.modules


def test_a_missing_order_means_c_and_unknown_checksums_are_not_compared():
    metadata = {key: value for key, value in GOOD.items() if key != "order"}
    metadata["cc-checksum"] = "blake99:00"
    header = RawArrayHeader.from_metadata(metadata, 80, object_name="o")
    assert header.order == "C"
    assert header.checksum is None


@each("size", [0, 79, 81, 8000])
def test_a_body_of_another_size_is_refused_before_memory_is_asked_for(size):
    with pytest.raises(IntegrityError, match=f"80 bytes, and the body has {size}"):
        RawArrayHeader.from_metadata(GOOD, size, object_name="o")


@each("compression", CODECS)
def test_a_claim_beyond_all_ratios_is_refused(compression):
    metadata = {**GOOD, "shape": "1000000000000", "compression": compression}
    with pytest.raises(IntegrityError, match="'o'"):
        RawArrayHeader.from_metadata(metadata, 10, object_name="o")


def test_no_memory_is_a_typed_error():
    metadata = {**GOOD, "shape": "100000000000000000", "compression": "BZ2"}
    header = RawArrayHeader.from_metadata(metadata, 10**12, object_name="o")
    with pytest.raises(InsufficientMemoryError, match="selection") as raised:
        header.new_array()
    assert isinstance(raised.value, MemoryError)


@each("compression", ALL)
def test_every_flipped_bit_of_a_body_is_noticed_or_harmless(compression):
    array = np.random.default_rng(3).integers(0, 9, 60).astype("<i2")
    metadata, body = encode_array(array, compression)
    blob = b"".join(body)
    for bit in range(0, len(blob) * 8, 13):  # each position in a byte
        damaged = bytearray(blob)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            found = download(metadata, bytes(damaged))
        except IntegrityError:
            continue
        assert found.tobytes() == array.tobytes()
        assert compression is not None


@each("compression", ALL)
def test_truncated_and_longer_bodies_are_noticed(compression):
    array = np.arange(100.0)
    metadata, body = encode_array(array, compression)
    blob = b"".join(body)
    lengths = {*range(0, len(blob), 7), len(blob) - 1}  # the codecs' own tests try all
    for wrong in [blob[:length] for length in lengths] + [blob + b"x"]:
        with pytest.raises(IntegrityError, match="'obj'"):
            download(metadata, wrong)


def test_another_bodys_bytes_are_noticed():
    metadata, _ = encode_array(np.arange(10.0), None)
    _, other = encode_array(np.arange(10.0) + 1, None)
    with pytest.raises(IntegrityError, match=r"checksum.*crc32:[0-9a-f]{8}.*stored"):
        download(metadata, b"".join(other))


def test_verify():
    metadata, body = encode_array(np.asfortranarray(np.arange(12.0).reshape(3, 4)), None)
    header = RawArrayHeader.from_metadata(metadata, 96, object_name="o")
    header.verify(zlib.crc32(b"".join(body)), "o")
    with pytest.raises(IntegrityError, match=r"crc32:00000001.*stored"):
        header.verify(1, "o")


@each("dtype", ["<f8", "M8[ns]", "|V5", "?", ">c16", "S3", "<U2"])
@each("shape", [(), (3,), (2, 0), (4, 5)])
@each("order", ["C", "F"])
def test_bytes_of_is_a_writable_view(dtype, shape, order):
    header = RawArrayHeader(np.dtype(dtype), shape, order, None, None, 0)
    array = header.new_array()
    view = header.bytes_of(array)
    assert len(view) == header.nbytes == array.nbytes
    assert view.format == "B"
    assert not view.readonly
    view[:] = bytes(i % 2 for i in range(len(view)))
    assert array.tobytes(order) == bytes(view)


@each("size", [16 * MiB, 16 * MiB + 1, 40 * MiB + 3])
def test_checksums_of_large_arrays_are_shared_among_threads(size):
    array = np.random.default_rng(0).integers(0, 255, size, "u1")
    expected = f"crc32:{zlib.crc32(array):08x}"
    for threads in (1, 3):
        metadata, _ = encode_array(array, None, threads=threads)
        assert metadata["cc-checksum"] == expected


def test_headers_pickle():
    header = RawArrayHeader.from_metadata(GOOD, 80, object_name="o")
    assert pickle.loads(pickle.dumps(header)) == header


@each("compression", [None, "gzip", "Zstd", "LZ4", "LZMA"])
def test_mutated_metadata_and_cut_bodies_raise_typed_errors(compression):
    draw = random.Random(0)
    array = np.zeros(6, np.dtype([("a", "i1"), ("b", ">f8", (2,))], align=True))
    metadata, body = encode_array(array, compression)
    blob = b"".join(body)
    for _ in range(200):
        key = draw.choice(sorted(metadata))
        text = list(metadata[key])
        for _ in range(draw.randint(1, 3)):
            position = draw.randrange(len(text) + 1)
            text[position : position + draw.randrange(2)] = draw.choice(
                '0123456789,-|<>fOUSV[]{}":²'
            )
        cut_blob = blob[: draw.choice([len(blob), draw.randrange(len(blob) + 1)])]
        mutated = {**metadata, key: "".join(text)}
        with contextlib.suppress(CottonCandyError):
            header = RawArrayHeader.from_metadata(mutated, len(cut_blob), object_name="o")
            if header.nbytes < 10**6:
                read(header, cut_blob)
