"""The body of an upload, made of the buffers, files and iterables that users pass."""

from __future__ import annotations

import os

import pytest

from cottoncandy.core.buffers import Body
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
