"""Codecs against the libraries that define their formats, and against damage."""

from __future__ import annotations

import gzip
import random
import struct
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cottoncandy._buffers import MiB
from cottoncandy.exceptions import IntegrityError, InvalidArgumentError, MissingDependencyError
from cottoncandy.formats.codecs import codec_names, get_codec
from tests.formats.golden import CODECS, cut, decode, decode_ours, encode


def payload(size: int) -> bytes:
    """Half noise, half text, so that codecs both find and do not find something."""
    noise = random.Random(size).randbytes(size // 2)
    text = b"".join(b"%d bottles, " % i for i in range(size // 20 + 1))
    return noise + (text * 3)[: size - len(noise)]


SIZES = [0, 1, 7, 1000, 65536, MiB, MiB + 1, 2 * MiB + 12345]


def sizes_for(name: str) -> list[int]:
    """bz2 is slow, and knows no blocks of 1 MiB."""
    return SIZES if name != "BZ2" else [*SIZES[:5], 300_000]


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("threads", [1, 3])
def test_others_read_what_we_write(name, threads):
    codec = get_codec(name)
    for size in sizes_for(name):
        data = payload(size)
        body = b"".join(codec.encode(memoryview(data), threads=threads))
        assert decode(name, body) == data
        assert decode_ours(name, cut(body, 100_000), size) == data
        assert len(body) <= codec.max_encoded_bytes(size)
        codec.check_sizes(len(body), size)


@pytest.mark.parametrize("name", CODECS)
def test_we_read_what_others_write(name):
    for size in sizes_for(name):
        data = payload(size)
        body = encode(name, data)
        for chunk in (1000, 10**9):
            assert decode_ours(name, cut(body, chunk), size) == data


@pytest.mark.parametrize("name", CODECS)
@settings(max_examples=60, deadline=None)
@given(
    data=st.binary(max_size=3000),
    repeat=st.integers(1, 50),
    chunk=st.integers(1, 5000),
    foreign=st.booleans(),
)
def test_round_trip(name, data, repeat, chunk, foreign):
    data = data * repeat
    body = encode(name, data) if foreign else b"".join(get_codec(name).encode(memoryview(data)))
    assert decode(name, body) == data
    assert decode_ours(name, cut(body, chunk), len(data)) == data


@pytest.mark.parametrize("name", CODECS)
def test_incompressible_data_stays_within_the_bound(name):
    data = random.Random(1).randbytes(MiB + 17)
    codec = get_codec(name)
    assert len(b"".join(codec.encode(memoryview(data), threads=2))) <= codec.max_encoded_bytes(
        len(data)
    )


@pytest.mark.parametrize("name", CODECS)
def test_blocks_of_any_size_make_one_stream(name):
    data = payload(MiB + 700_005)
    blocks = cut(data, 300_000)
    body = b"".join(get_codec(name).encode_blocks(iter(blocks), len(data), threads=2))
    assert decode(name, body) == data


@pytest.mark.parametrize("name", CODECS)
def test_every_truncation_is_noticed(name):
    data = payload(600)
    for body in (encode(name, data), b"".join(get_codec(name).encode(memoryview(data)))):
        for length in range(len(body)):
            with pytest.raises(IntegrityError):
                decode_ours(name, [body[:length]], len(data))


@pytest.mark.parametrize("name", CODECS)
def test_every_flipped_bit_is_noticed_or_harmless(name):
    # Some bits mean nothing (the time stamp in gzip). LZ4 has no checksum: there, decoded bytes
    # may differ, which the checksum of raw arrays is for.
    data = payload(400)
    body = encode(name, data)
    wrong = 0
    for bit in range(len(body) * 8):
        damaged = bytearray(body)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            wrong += decode_ours(name, [bytes(damaged)], len(data)) != data
        except IntegrityError:
            continue
    assert wrong == 0 or name == "LZ4"


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("difference", [-1, 1, -300, 10**6])
def test_another_size_than_promised_is_refused(name, difference):
    data = payload(1000)
    with pytest.raises(IntegrityError):
        decode_ours(name, [encode(name, data)], len(data) + difference)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("tail", [b"x", b"trailing garbage", b"\0\0\0x"])
def test_trailing_garbage_is_refused(name, tail):
    data = payload(1000)
    body = encode(name, data)
    for chunks in ([body + tail], [body, tail], cut(body + tail, 100)):
        with pytest.raises(IntegrityError):
            decode_ours(name, chunks, len(data))


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("body", [b"", b"\0", b"not compressed at all", bytes(100), b"\xff" * 100])
def test_other_bodies_are_refused(name, body):
    with pytest.raises(IntegrityError):
        decode_ours(name, [body], 50)


@pytest.mark.parametrize("name", CODECS)
def test_bombs_take_no_memory(name):
    body = encode(name, bytes(40 * MiB))
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError):
            decode_ours(name, cut(body, MiB), 1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * MiB


def test_gzip_is_one_member_with_padding_allowed():
    data = payload(3 * MiB)
    body = b"".join(get_codec("gzip").encode(memoryview(data), threads=3))
    decoder = zlib.decompressobj(31)
    assert decoder.decompress(body) == data
    assert decoder.eof
    assert decoder.unused_data == b""
    assert decode_ours("gzip", [body, b"\0" * 100, b"\0"], len(data)) == data
    with pytest.raises(IntegrityError, match="bytes follow"):
        decode_ours("gzip", [gzip.compress(b"a") + gzip.compress(b"b")], 2)


def test_a_gzip_header_with_every_field():
    head = b"\x1f\x8b\x08\x1e" + bytes(6)  # FHCRC, FEXTRA, FNAME, FCOMMENT
    head += struct.pack("<H", 4) + b"abcd" + b"name\0" + b"comment\0"
    head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    data = payload(5000)
    deflate = zlib.compressobj(wbits=-15)
    body = deflate.compress(data) + deflate.flush()
    body = head + body + struct.pack("<II", zlib.crc32(data), len(data))
    assert gzip.decompress(body) == data
    assert decode_ours("gzip", cut(body, 3), len(data)) == data


def test_zstd_frames_carry_their_size_and_a_checksum():
    data = payload(5 * MiB)
    for threads in (1, 2):
        body = b"".join(get_codec("Zstd").encode(memoryview(data), threads=threads))
        parameters = zstandard.get_frame_parameters(body)
        assert parameters.content_size == len(data)
        assert parameters.has_checksum


def zstd_variants(data):
    without_size = zstandard.ZstdCompressor(write_content_size=False)
    stream = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    skippable = b"\x53\x2a\x4d\x18" + struct.pack("<I", 10) + b"0123456789"
    one = zstandard.compress(data)
    return {
        "without size": without_size.compress(data),
        "stream": stream.compress(data) + stream.flush(),
        "two frames": zstandard.compress(data[:700]) + zstandard.compress(data[700:]),
        "empty frames": zstandard.compress(b"") + one + zstandard.compress(b""),
        "skippable": skippable + one + skippable,
        "large": zstandard.ZstdCompressor(level=19).compress(data),
    }


@pytest.mark.parametrize("variant", list(zstd_variants(b"")))
@pytest.mark.parametrize("chunk", [1, 3, 10**6])
def test_zstd_in_all_its_shapes(variant, chunk):
    data = payload(3000) + bytes(200_000)
    body = zstd_variants(data)[variant]
    assert decode_ours("Zstd", cut(body, chunk), len(data)) == data


def test_a_zstd_window_that_is_too_large_is_refused():
    parameters = zstandard.ZstdCompressionParameters(
        window_log=28, enable_ldm=False, write_content_size=False
    )
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = stream.compress(b"abc") + stream.flush()
    with pytest.raises(IntegrityError):
        decode_ours("Zstd", [body], 3)


def test_lz4_refuses_too_much_and_names_zstd():
    codec = get_codec("lz4")
    with pytest.raises(InvalidArgumentError, match="Zstd"):
        codec.check_input(2**31)
    with pytest.raises(InvalidArgumentError, match="Zstd"):
        codec.encode_blocks(iter(()), 2**31)


def test_impossible_claims_are_refused_before_memory_is_asked_for():
    for name in ("gzip", "zlib", "zstd", "lz4", "bz2"):
        with pytest.raises(IntegrityError, match="cannot decode to"):
            get_codec(name).check_sizes(100, 10**10)
        with pytest.raises(IntegrityError):
            get_codec(name).check_sizes(0, 10)
        zeros = bytes(30 * MiB)
        get_codec(name).check_sizes(len(encode(get_codec(name).name, zeros)), len(zeros))


def test_names_in_any_case():
    assert codec_names() == tuple(CODECS)
    for name in CODECS:
        for spelling in (name, name.lower(), name.upper(), f" {name} "):
            assert get_codec(spelling).name == name


@pytest.mark.parametrize("name", ["", "  ", None, True, 5])
def test_what_is_no_name(name):
    with pytest.raises(InvalidArgumentError, match="gzip"):
        get_codec(name)


def test_unknown_names_list_the_known_ones():
    pytest.importorskip("numcodecs")
    with pytest.raises(InvalidArgumentError, match=r"gzip, Zlib, BZ2, Zstd, LZ4.*blosc.*lzma"):
        get_codec("squash")


@pytest.mark.parametrize("name", ["pickle", "delta", "vlen-utf8", "shuffle"])
def test_filters_are_no_codecs(name):
    pytest.importorskip("numcodecs")
    with pytest.raises(InvalidArgumentError):
        get_codec(name)


def test_without_numcodecs_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "numcodecs", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "cottoncandy\[numcodecs\]"'):
        get_codec("Blosc")
    assert get_codec("gzip").name == "gzip"


@pytest.mark.parametrize("name", ["Blosc", "LZMA", "blosc"])
def test_codecs_of_numcodecs(name):
    numcodecs = pytest.importorskip("numcodecs")
    theirs = numcodecs.get_codec({"id": name.lower()})
    codec = get_codec(name)
    assert codec.name == name
    for size in (1, 1000, 300_000):
        data = payload(size)
        body = b"".join(codec.encode(memoryview(data)))
        assert bytes(theirs.decode(body)) == data
        assert decode_ours(name, cut(bytes(theirs.encode(data)), 1000), size) == data
        for wrong in (body[:-1], body[: len(body) // 2], b"", b"\0" * 50):
            with pytest.raises(IntegrityError):
                decode_ours(name, [wrong], size)
        with pytest.raises(IntegrityError):
            decode_ours(name, [body], size + 1)
        if size > 1:
            with pytest.raises(IntegrityError):
                decode_ours(name, [body], size - 1)


@pytest.mark.parametrize("name", CODECS)
def test_numcodecs_reads_what_we_write(name):
    numcodecs = pytest.importorskip("numcodecs")
    theirs = numcodecs.get_codec({"id": name.lower()})
    data = np.arange(300_000, dtype="<f4").tobytes()
    body = b"".join(get_codec(name).encode(memoryview(data), threads=2))
    assert bytes(theirs.decode(body)) == data
    assert decode_ours(name, [bytes(theirs.encode(data))], len(data)) == data


def test_encoding_is_lazy_and_bounded():
    class Endless:
        taken = 0

        def __iter__(self):
            while True:
                self.taken += 1
                yield b"0123456789abcdef" * 2**16

    for name in ("gzip", "Zlib"):
        source = Endless()
        stream = get_codec(name).encode_blocks(source, 10**12, threads=2)
        for _ in range(3):
            next(stream)
        stream.close()
        assert source.taken < 12
