"""What every codec must do: subclass :class:`CodecConformance` and set ``name``."""

from __future__ import annotations

import functools
import random
import tracemalloc
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cottoncandy.core.buffers import MiB
from cottoncandy.exceptions import IntegrityError
from cottoncandy.formats.codecs import get_codec
from tests.cases import each
from tests.formats.reference_codecs import (
    cut,
    decode,
    decode_ours,
    encode,
    encode_ours,
    index_bytes,
)


@functools.cache
def payload(size: int) -> bytes:
    """Half noise, half text, so that codecs both find and do not find something."""
    noise = random.Random(size).randbytes(size // 2)
    text = b"".join(b"%d bottles, " % i for i in range(size // 20 + 1))
    return noise + (text * 3)[: size - len(noise)]


@functools.cache
def bomb(name: str) -> bytes:
    """Return 24 MiB of zeros, encoded."""
    return encode(name, bytes(24 * MiB))


class CodecConformance:
    """Promises that hold for every codec, against the library that defines its format."""

    name: ClassVar[str]

    #: Slow codecs have smaller ones.
    sizes: ClassVar[tuple[int, ...]] = (0, 1, 7, 1000, 65536, MiB, MiB + 1, 2 * MiB + 12345)

    #: Whether a flipped bit may go unnoticed (the checksum of raw arrays detects it).
    has_checksum: ClassVar[bool] = True

    @each("threads", [1, 3])
    def test_reference_decodes_our_streams(self, threads):
        codec = get_codec(self.name)
        for size in self.sizes:
            data = payload(size)
            body = encode_ours(self.name, data, threads)
            assert decode(self.name, body) == data
            stream = body[: len(body) - index_bytes(self.name, size)]
            assert decode_ours(self.name, cut(stream, 100_000), size) == data
            assert len(body) <= codec.max_encoded_bytes(size)
            codec.check_sizes(len(body), size)

    def test_reference_streams_are_decoded(self):
        for size in self.sizes:
            data = payload(size)
            body = encode(self.name, data)
            for chunk in (1000, 10**9):
                assert decode_ours(self.name, cut(body, chunk), size) == data

    # Hypothesis warns of one method in several classes: each has its own database entry.
    @settings(suppress_health_check=[HealthCheck.differing_executors])
    @given(
        data=st.binary(max_size=3000),
        repeat=st.integers(1, 50),
        chunk=st.integers(1, 5000),
        foreign=st.booleans(),
    )
    def test_round_trip(self, data, repeat, chunk, foreign):
        data = data * repeat
        body = encode(self.name, data) if foreign else encode_ours(self.name, data)
        assert decode(self.name, body) == data
        assert decode_ours(self.name, cut(body, chunk), len(data)) == data

    def test_incompressible_data_stays_within_the_bound(self):
        data = random.Random(1).randbytes(self.sizes[-1] + 17)
        limit = get_codec(self.name).max_encoded_bytes(len(data))
        assert len(encode_ours(self.name, data, threads=2)) <= limit

    def test_blocks_of_any_size_make_one_stream(self):
        data = payload(self.sizes[-1])
        blocks = cut(data, 70_000)
        body = b"".join(get_codec(self.name).encode(iter(blocks), len(data), threads=2))
        assert decode(self.name, body) == data

    def test_every_truncation_raises(self):
        data = payload(600)
        for body in (encode(self.name, data), encode_ours(self.name, data)):
            for length in range(len(body)):
                for chunks in ([body[:length]], cut(body[:length], 50)):
                    with pytest.raises(IntegrityError):
                        decode_ours(self.name, chunks, len(data))

    def test_every_flipped_bit_raises_or_is_harmless(self):
        # Some bits have no meaning (the time stamp in gzip).
        data = payload(400)
        body = encode(self.name, data)
        wrong = 0
        for bit in range(len(body) * 8):
            damaged = bytearray(body)
            damaged[bit // 8] ^= 1 << bit % 8
            try:
                wrong += decode_ours(self.name, [bytes(damaged)], len(data)) != data
            except IntegrityError:
                continue
        assert wrong == 0 or not self.has_checksum

    @each("difference", [-1000, -1, 1, -300, 10**6])
    def test_another_size_than_declared_raises(self, difference):
        data = payload(1000)
        with pytest.raises(IntegrityError):
            decode_ours(self.name, [encode(self.name, data)], len(data) + difference)

    @each("tail", [b"x", b"trailing garbage", b"\0\0\0x"])
    def test_trailing_bytes_raise(self, tail):
        data = payload(1000)
        body = encode(self.name, data)
        for chunks in ([body + tail], [body, tail], cut(body + tail, 100)):
            with pytest.raises(IntegrityError):
                decode_ours(self.name, chunks, len(data))

    @each("body", [b"", b"\0", b"not compressed at all", bytes(100), b"\xff" * 100])
    def test_other_bodies_raise(self, body):
        for size in (50, 0):
            if size == 0 and self.name == "LZ4" and not body.strip(b"\0"):
                continue  # four zeros are an empty LZ4 body
            with pytest.raises(IntegrityError):
                decode_ours(self.name, [body], size)

    def test_bombs_take_no_memory(self):
        chunks = cut(bomb(self.name), MiB)
        for declared in (0, 64, 1000):
            tracemalloc.start()
            try:
                with pytest.raises(IntegrityError):
                    decode_ours(self.name, chunks, declared)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak < 16 * MiB  # xz has a window of 8 MiB

    def test_impossible_sizes_raise_before_memory_is_allocated(self):
        codec = get_codec(self.name)
        with pytest.raises(IntegrityError):
            codec.check_sizes(0, 10)
        with pytest.raises(IntegrityError, match="cannot decode to"):
            codec.check_sizes(100, 10**12)
        codec.check_sizes(len(bomb(self.name)), 24 * MiB)

    @each("spell", [str, str.lower, str.upper, " {} ".format])
    def test_names_in_any_case(self, spell):
        assert get_codec(spell(self.name)).name == self.name

    def test_numcodecs_agrees(self):
        numcodecs = pytest.importorskip("numcodecs")
        theirs = numcodecs.get_codec({"id": self.name.lower()})
        data = payload(300_000)
        assert bytes(theirs.decode(encode_ours(self.name, data, threads=2))) == data
        assert decode_ours(self.name, [bytes(theirs.encode(data))], len(data)) == data
