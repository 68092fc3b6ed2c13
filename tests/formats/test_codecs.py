"""Codecs against the libraries that define their formats, and against damage."""

from __future__ import annotations

import gzip
import inspect
import lzma
import struct
import sys
import zlib

import pytest
import zstandard

from cottoncandy.core.buffers import MiB
from cottoncandy.exceptions import IntegrityError, InvalidArgumentError, MissingDependencyError
from cottoncandy.formats.codecs import get_codec
from cottoncandy.formats.codecs.base import BUILT_IN
from tests.cases import each
from tests.formats.conformance import CodecConformance, payload
from tests.formats.reference_codecs import CODECS, cut, decode_ours, encode_ours, index_bytes


class TestGzip(CodecConformance):
    name = "gzip"


class TestZlib(CodecConformance):
    name = "Zlib"


class TestZstd(CodecConformance):
    name = "Zstd"


class TestLz4(CodecConformance):
    name = "LZ4"
    has_checksum = False


class TestBz2(CodecConformance):
    name = "BZ2"
    sizes = (0, 1, 7, 1000, 65536, 100_000)


class TestLzma(CodecConformance):
    name = "LZMA"
    sizes = (0, 1, 7, 1000, 65536, 100_000)


def test_every_built_in_codec_conforms():
    classes = [value for value in globals().values() if inspect.isclass(value)]
    tested = {getattr(value, "name", None) for value in classes}
    assert tuple(CODECS) == BUILT_IN
    assert tested >= set(BUILT_IN)


def test_gzip_is_one_member_with_padding_allowed():
    data = payload(3 * MiB)
    body = encode_ours("gzip", data, threads=3)
    decoder = zlib.decompressobj(31)
    assert decoder.decompress(body) == data
    assert decoder.eof
    assert len(decoder.unused_data) == index_bytes("gzip", len(data))
    stream = body[: -index_bytes("gzip", len(data))]
    assert decode_ours("gzip", [stream, b"\0" * 100, b"\0"], len(data)) == data
    with pytest.raises(IntegrityError, match="bytes follow"):
        decode_ours("gzip", [body], len(data))
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
        body = encode_ours("Zstd", data, threads)
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


@each("variant", list(zstd_variants(b"")))
@each("chunk", [1, 3, 10**6])
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


@each("name", ["", "  ", None, True, 5])
def test_what_is_no_name(name):
    with pytest.raises(InvalidArgumentError, match="gzip"):
        get_codec(name)


def test_unknown_names_list_the_known_ones():
    pytest.importorskip("numcodecs")
    with pytest.raises(InvalidArgumentError, match=r"gzip, Zlib, BZ2, Zstd, LZ4, LZMA.*blosc"):
        get_codec("squash")


@each("name", ["pickle", "delta", "vlen-utf8", "shuffle"])
def test_filters_are_no_codecs(name):
    pytest.importorskip("numcodecs")
    with pytest.raises(InvalidArgumentError):
        get_codec(name)


def test_without_numcodecs_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "numcodecs", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "cottoncandy\[numcodecs\]"'):
        get_codec("Blosc")
    assert get_codec("gzip").name == "gzip"


@pytest.mark.parametrize("name", ["Blosc", "blosc"])
def test_codecs_of_numcodecs(name):
    numcodecs = pytest.importorskip("numcodecs")
    theirs = numcodecs.get_codec({"id": name.lower()})
    codec = get_codec(name)
    assert codec.name == name
    for size in (1, 1000, 300_000):
        data = payload(size)
        body = encode_ours(name, data)
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


@each("name", ["gzip", "Zlib", "BZ2", "LZMA", "Zstd", "br"])
def test_decoding_ends_soon_after_the_expected_size(name):
    codec = get_codec(name)
    body = b"".join(codec.encode([bytes(5 * MiB)], 5 * MiB))
    for size in (0, 10, MiB, 5 * MiB - 1):
        decoded = sum(map(len, codec.decode([body], size)))
        assert size < decoded <= size + MiB


def test_encoding_is_lazy_and_bounded():
    class Endless:
        taken = 0

        def __iter__(self):
            while True:
                self.taken += 1
                yield b"0123456789abcdef" * 2**16

    for name in ("gzip", "Zlib"):
        source = Endless()
        stream = get_codec(name).encode(source, 10**12, threads=2)
        for _ in range(3):
            next(stream)
        stream.close()
        assert source.taken < 12


def test_lzma_dictionary_that_is_too_large_raises():
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 512 * MiB}]
    encoder = lzma.LZMACompressor(filters=filters)
    body = encoder.compress(b"abc") + encoder.flush()
    with pytest.raises(IntegrityError, match=r"[Mm]emory"):
        decode_ours("LZMA", [body], 3)
