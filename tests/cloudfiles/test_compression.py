"""Content encodings: every codec under its HTTP name, streams of unknown size."""

from __future__ import annotations

import gzip
import os

import pytest

from cottoncandy.cloudfiles.compression import ENCODINGS, encode_stream
from cottoncandy.exceptions import IntegrityError, InvalidArgumentError
from cottoncandy.formats.codecs import get_codec
from tests.cases import each

DATA = os.urandom(1000) * 300


def encode(content: bytes, encoding: str, level: int | None = None) -> bytes:
    return b"".join(encode_stream((memoryview(content),), encoding, len(content), level))


def decode(content: bytes, encoding: str) -> bytes:
    return b"".join(ENCODINGS[encoding].decode((content,)))


@each("level", [None, 1, 9])
@each("content", [b"", b"x", DATA])
@each("encoding", ENCODINGS)
def test_content_survives(encoding: str, content: bytes, level: int | None) -> None:
    stored = encode(content, encoding, level)
    assert decode(stored, encoding) == content
    pieces = [stored[at : at + 997] for at in range(0, len(stored), 997)]
    assert b"".join(ENCODINGS[encoding].decode(pieces)) == content


@each("encoding", ENCODINGS)
def test_damaged_content_is_rejected(encoding: str) -> None:
    stored = encode(DATA, encoding)
    for damaged in (stored[:-3], stored + b"xx", b"something else", b""):
        with pytest.raises(IntegrityError):
            decode(damaged, encoding)


@each("encoding", ENCODINGS)
def test_unknown_level_is_an_invalid_argument(encoding: str) -> None:
    with pytest.raises(InvalidArgumentError, match="no compression level"):
        encode(b"x", encoding, 99)


def test_gzip_members_of_other_programs_are_one_stream() -> None:
    assert decode(gzip.compress(b"one") + gzip.compress(b"two"), "gzip") == b"onetwo"


def test_brotli_is_a_codec_of_arrays() -> None:
    assert get_codec("BR") is get_codec("br")
