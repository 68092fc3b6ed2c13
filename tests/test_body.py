"""The body of an upload, made of the buffers, files and iterables that users pass."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from cottoncandy.core.buffers import Body, regroup
from cottoncandy.exceptions import InvalidArgumentError


@pytest.mark.parametrize("buffering", [0, -1])
def test_non_blocking_file_without_data_raises(buffering: int) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb", buffering) as file, os.fdopen(writing, "wb", 0) as pipe:
        pipe.write(b"half")
        blocks = iter(Body.of(file))
        assert next(blocks) == b"half"
        with pytest.raises(InvalidArgumentError, match="set_blocking"):
            next(blocks)


def test_pipe_is_read_to_its_end() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as file:
        os.write(writing, b"whole")
        os.close(writing)
        assert b"".join(Body.of(file)) == b"whole"


def test_iterable_that_fills_one_buffer_again_and_again() -> None:
    def readings() -> Iterator[memoryview]:
        buffer = bytearray(2)
        for number in range(3):
            buffer[:] = bytes([number, number])
            yield memoryview(buffer)

    assert list(Body.of(readings())) == [b"\0\0", b"\1\1", b"\2\2"]
    assert b"".join(regroup(Body.of(readings()), 4)) == b"\0\0\1\1\2\2"


def test_column_of_a_table_is_no_body() -> None:
    class Column:
        """As pandas' Series, which is neither a buffer nor a list of blocks."""

        dtype = np.dtype(object)

        def __iter__(self) -> Iterator[bytes]:
            yield b"x"

    with pytest.raises(InvalidArgumentError, match="got a Column"):
        Body.of(Column())
