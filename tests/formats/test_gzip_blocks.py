"""The block index of a gzip body: against an independent reader and writer, and against damage."""

from __future__ import annotations

import gzip
import itertools
import random
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cottoncandy.core.buffers import MiB
from cottoncandy.exceptions import CottonCandyError, IntegrityError
from cottoncandy.formats.codecs import get_codec
from cottoncandy.formats.codecs.blocks import BlockIndex, BlockLayout
from cottoncandy.formats.codecs.deflate import _STORE_ABOVE
from cottoncandy.formats.raw import RawArrayHeader, encode_array
from tests.cases import CHARACTERS, each
from tests.formats.indexed_gzip import indexed_gzip, write
from tests.formats.reference_codecs import encode_ours


def payload(size, seed=0):
    """Half text, half noise."""
    noise = random.Random(seed).randbytes(size // 2)
    return noise + (b"%d, " % seed * size)[: size - len(noise)]


def parsed(body, nbytes, block_bytes=MiB, checksum=None):
    layout = BlockLayout(nbytes, block_bytes)
    announced = BlockLayout.parse(str(layout), nbytes, len(body))
    assert announced == layout
    return BlockIndex.parse(body[-layout.tail_bytes :], layout, len(body), checksum)


@each("size", [MiB + 1, 2 * MiB, 3 * MiB - 1, 3 * MiB + 12345])
@each("threads", [1, 3])
def test_each_block_of_our_streams_inflates_alone(size, threads):
    data = payload(size)
    body = encode_ours("gzip", data, threads)
    assert gzip.decompress(body) == data
    index = parsed(body, size, checksum=zlib.crc32(data))
    assert index.checksum() == zlib.crc32(data)
    assert index.offsets[0] == 10
    for number, (start, stop) in enumerate(itertools.pairwise(index.offsets)):
        plain = data[number * MiB : (number + 1) * MiB]
        assert zlib.decompressobj(-15).decompress(body[start:stop]) == plain
        assert index.inflate(number, body[start:stop]) == plain
        assert index.checksums[number] == zlib.crc32(plain)


@each("size", [0, 1, 1000, MiB])
def test_one_block_has_no_index(size):
    assert get_codec("gzip").blocks(size) is None
    decoder = zlib.decompressobj(31)
    decoder.decompress(encode_ours("gzip", payload(size)))
    assert decoder.eof
    assert decoder.unused_data == b""
    metadata, _ = encode_array(np.zeros(size, "u1"), "gzip")
    assert "cc-index" not in metadata


def test_only_gzip_has_an_index():
    for name in ("Zlib", "Zstd", "BZ2", "LZ4", "LZMA"):
        assert get_codec(name).blocks(10 * MiB) is None
        assert "cc-index" not in encode_array(np.zeros(3 * MiB, "u1"), name)[0]


@given(size=st.integers(2, 300), block_bytes=st.integers(1, 100), seed=st.integers(0, 9))
def test_our_index_is_that_of_the_reference(size, block_bytes, seed):
    block_bytes = min(block_bytes, size - 1)
    data = payload(size, seed)
    body, announcement = indexed_gzip(data, block_bytes)
    layout = BlockLayout(size, block_bytes)
    assert str(layout) == announcement
    index = parsed(body, size, block_bytes, zlib.crc32(data))
    assert (
        layout.pack(index.offsets[:-1].tolist(), index.checksums.tolist())
        == (body[-layout.index_bytes :])
    )
    plain = [
        index.inflate(number, body[start:stop])
        for number, (start, stop) in enumerate(itertools.pairwise(index.offsets))
    ]
    assert b"".join(plain) == data


def test_an_index_of_several_members():
    data = payload(12_000)
    body, announcement = indexed_gzip(data, 1)
    layout = BlockLayout(12_000, 1)
    assert layout.index_bytes == 16 + 12 * 12_000 + 4 + 3 * 26
    assert announcement == f"v=1; block=1; bytes={layout.index_bytes}"
    assert gzip.decompress(body) == data
    assert parsed(body, 12_000, 1).checksum() == zlib.crc32(data)


def test_index_of_5_gb_fits_into_one_request():
    assert BlockLayout(5_000_000_000).tail_bytes <= 64 * 1024


# -- stored blocks -------------------------------------------------------------------------------


COUNT = 2 * MiB
#: Arrays of 2 MiB, and whether they are stored uncompressed.
KINDS = {
    "float64 normal": (lambda rng: rng.standard_normal(COUNT // 8), True),
    "float64 uniform": (lambda rng: rng.random(COUNT // 8), True),
    "bytes": (lambda rng: rng.integers(0, 256, COUNT).astype("u1"), True),
    "float32 normal": (lambda rng: rng.standard_normal(COUNT // 4).astype("f4"), False),
    "float32 walk": (lambda rng: rng.standard_normal(COUNT // 4).cumsum().astype("f4"), False),
    "int16 counts": (lambda rng: rng.poisson(100, COUNT // 2).astype("i2"), False),
    "bool": (lambda rng: rng.random(COUNT) < 0.5, False),
    "zeros": (lambda rng: np.zeros(COUNT, "u1"), False),
}


@each("kind", KINDS)
def test_blocks_that_do_not_compress_are_stored(kind):
    make, stored = KINDS[kind]
    data = make(np.random.default_rng(0)).tobytes()
    body = encode_ours("gzip", data, 2)
    assert gzip.decompress(body) == data
    if stored:
        assert len(data) < len(body) < len(data) * 1.0002
    else:
        encoder = zlib.compressobj(1, wbits=31)
        assert len(body) < _STORE_ABOVE * len(data) + 1000
        assert len(body) < len(encoder.compress(data) + encoder.flush()) * 1.06


def test_each_block_is_stored_or_not():
    data = random.Random(0).randbytes(MiB) + bytes(MiB) + random.Random(1).randbytes(MiB)
    index = parsed(encode_ours("gzip", data), len(data))
    assert index.sizes.tolist() == [MiB + 85, index.sizes[1], MiB + 85]
    assert index.sizes[1] < 5000


def test_size_is_within_1_percent_of_one_stream():
    from isal import isal_zlib

    for kind, (make, stored) in KINDS.items():
        if not stored:
            data = make(np.random.default_rng(0)).tobytes()
            encoder = isal_zlib.compressobj(2, wbits=31)
            one = len(encoder.compress(data) + encoder.flush())
            assert len(encode_ours("gzip", data)) < one * 1.01 + 400, kind


# -- runs ----------------------------------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(1, 50), min_size=2, max_size=40),
    data=st.data(),
    max_bytes=st.sampled_from([1, 60, 10**6]),
)
def test_runs_contain_the_blocks_within_the_bound(sizes, data, max_bytes):
    blocks = sorted(data.draw(st.sets(st.integers(0, len(sizes) - 1), min_size=1)))
    offsets = np.array([10, *(10 + np.cumsum(sizes))])
    index = BlockIndex(BlockLayout(len(sizes), 1), offsets, np.zeros(len(sizes), "u4"))
    runs = index.runs(blocks, max_bytes)
    fetched = [number for first, stop in runs for number in range(first, stop)]
    assert fetched == sorted(set(fetched))
    assert set(fetched) >= set(blocks)
    needed = sum(sizes[number] for number in blocks)
    assert sum(sizes[number] for number in fetched) <= 1.5 * needed
    for first, stop in runs:
        assert {first, stop - 1} <= set(blocks)
        assert stop == first + 1 or sum(sizes[first:stop]) <= max_bytes
    separate = 1 + sum(b - a > 1 for a, b in itertools.pairwise(blocks))
    if max_bytes == 10**6:
        assert len(runs) <= separate


def test_near_runs_are_merged_before_distant_ones():
    offsets = np.arange(0, 1010, 10)
    index = BlockIndex(BlockLayout(100, 1), offsets, np.zeros(100, "u4"))
    assert index.runs([0, 4, 6, 7, 50], 10**6) == [(0, 1), (4, 8), (50, 51)]
    assert index.runs(list(range(100)), 250) == [(i, i + 25) for i in range(0, 100, 25)]


# -- damage --------------------------------------------------------------------------------------

DATA = payload(1000)
BODY, ANNOUNCEMENT = indexed_gzip(DATA, 100)
INDEX_BYTES = int(ANNOUNCEMENT.rpartition("=")[2])


def tamperings():
    """Return bodies and announcements of which no reader may accept one."""
    start = len(BODY) - INDEX_BYTES
    for position in range(start - 10, len(BODY)):
        for bit in (0, 7):
            damaged = bytearray(BODY)
            damaged[position] ^= 1 << bit
            yield f"bit {bit} of byte {position}", bytes(damaged), ANNOUNCEMENT
    for cut in (1, 4, 8, 30, INDEX_BYTES):
        yield f"cut by {cut}", BODY[:-cut], ANNOUNCEMENT
    yield "a long block", BODY[: start - 10] + bytes(5000) + BODY[start - 10 :], ANNOUNCEMENT
    yield "longer", BODY + b"\0", ANNOUNCEMENT
    yield "twice", BODY + BODY[start:], ANNOUNCEMENT
    other = indexed_gzip(payload(1000, 5), 100)[0]
    yield "of another array", BODY[:start] + other[-INDEX_BYTES:], ANNOUNCEMENT
    for changes in (
        {"version": 2},
        {"size": 101},
        {"count": 11},
        {"count": 2**63},
        {"swap": (3, 4)},
        {"entry": (0, 9)},
        {"entry": (1, 10)},
        {"entry": (9, 2**63)},
        {"entry": (9, len(BODY))},
        {"crc": (5, 0)},
    ):
        yield f"index with {changes}", write(DATA, 100, **changes), ANNOUNCEMENT
    for text in (
        "",
        "v=2; block=100; bytes=162",
        "v=1; block=0; bytes=162",
        "v=1; block=100; bytes=161",
        "v=1; block=99; bytes=162",
        "v=1; block=1000; bytes=162",
        "v=1; block=100; bytes=9999999999999999",
        "v=1; block=1; bytes=12046",
        "v=1; block=100",
        "100:162",
        "v=1; block=100; bytes=162; more=1",
        "v=1; block=-100; bytes=162",
        "v=" + "9" * 5000,
    ):
        yield f"announced as {text[:40]}", BODY, text


def test_damaged_indexes_raise():
    count = 0
    for what, body, announcement in tamperings():
        count += 1
        try:
            layout = BlockLayout.parse(announcement, 1000, len(body))
            BlockIndex.parse(body[-layout.tail_bytes :], layout, len(body), zlib.crc32(DATA))
        except IntegrityError:
            continue
        pytest.fail(what)
    assert count > 300
    layout = BlockLayout.parse(ANNOUNCEMENT, 1000, len(BODY))
    tail = BODY[-layout.tail_bytes :]
    BlockIndex.parse(tail, layout, len(BODY), None)
    with pytest.raises(IntegrityError, match="another array"):
        BlockIndex.parse(tail, layout, len(BODY), 1)


def test_damaged_blocks_raise():
    index = parsed(BODY, 1000, 100)
    first, stop = index.offsets[3:5]
    block = BODY[first:stop]
    damaged = [block[: len(block) // 2], block[:10], b"", b"\xff" * len(block)]
    damaged += [block[:5] + b"\0" + block[6:], BODY[index.offsets[4] : index.offsets[5]]]
    bomb = zlib.compressobj(wbits=-15)
    damaged += [bomb.compress(bytes(10**6)) + bomb.flush()]
    for encoded in damaged:
        with pytest.raises(IntegrityError, match="block 3"):
            index.inflate(3, encoded)


@given(st.binary(max_size=400), st.text(CHARACTERS, max_size=50))
def test_arbitrary_bytes_raise_typed_errors(tail, announcement):
    try:
        layout = BlockLayout.parse(announcement, 1000, 2000)
    except CottonCandyError:
        layout = BlockLayout(1000, 100)
    with pytest.raises(CottonCandyError):
        BlockIndex.parse(tail, layout, 2000, None)


def test_struct_of_the_page():
    """The numbers of docs/inside/gzip-blocks.md."""
    member = BODY[-INDEX_BYTES:]
    assert member[:4] == b"\x1f\x8b\x08\x04"
    assert struct.unpack_from("<H2sH", member, 10) == (144, b"CC", 140)
    assert struct.unpack_from("<IIQ", member, 16) == (1, 100, 10)
    assert struct.unpack_from("<QI", member, 32)[0] == 10
    assert member[-10:] == b"\x03\x00" + bytes(8)


@each(
    "shape, order, chunks",
    [
        ((1000,), "C", ((100,) * 10,)),
        ((25, 40), "C", ((2,) * 12 + (1,), (40,))),
        ((5, 200), "C", ((1,) * 5, (100, 100))),
        ((40, 25), "F", ((40,), (2,) * 12 + (1,))),
        ((2, 5, 100), "C", ((1, 1), (1,) * 5, (100,))),
        ((1000, 1), "C", ((100,) * 10, (1,))),
    ],
)
def test_chunks_are_the_parts_within_a_block(shape, order, chunks):
    header = RawArrayHeader(
        np.dtype("u1"), shape, order, "gzip", None, 1000, BlockLayout(1000, 100)
    )
    assert header.chunks == chunks
