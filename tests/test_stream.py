"""Reading an object like an open file."""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

import cottoncandy
from cottoncandy.backends.base import ObjectInfo, ObjectReader
from cottoncandy.exceptions import IntegrityError, StoreUnreachableError
from cottoncandy.stores.files import CloudStream

BODY = bytes(range(256)) * 100


class FragileReader(ObjectReader):
    """Breaks off at byte ``limit``, by an error or without one."""

    def __init__(self, limit: int, error: Exception | None) -> None:
        self.info = ObjectInfo("key", len(BODY))
        self.limit = limit
        self.error = error

    def stream(self, start: int, stop: int) -> Iterator[bytes]:
        yield from self.chunks(start, stop)

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        end = min(len(BODY) if stop is None else stop, self.limit)
        for position in range(start, end, 1000):
            yield BODY[position : min(position + 1000, end)]
        if end == self.limit and self.error is not None:
            raise self.error


@pytest.fixture
def cci() -> Any:
    return cottoncandy.get_interface("streams", backend="memory", verbose=False)


@pytest.mark.parametrize("size", [100, 1000, 5000, -1])
@pytest.mark.parametrize("error", [StoreUnreachableError("cut"), None])
def test_failed_read_raises_again_until_seek(size: int, error: Exception | None) -> None:
    reader = FragileReader(12_345, error)
    stream = CloudStream(reader)
    with pytest.raises((StoreUnreachableError, IntegrityError)):
        list(iter(lambda: stream.read(size), b""))
    for _ in range(3):
        with pytest.raises((StoreUnreachableError, IntegrityError)):
            stream.read(size)
    reader.limit = len(BODY) + 1
    stream.seek(100)
    assert stream.read() == BODY[100:]


def test_stream_is_a_binary_file(cci: Any) -> None:
    cci.upload_object("object", BODY, who="me")
    with cci.download_stream("object") as stream:
        assert stream.content is stream
        assert stream.metadata["who"] == "me"
        assert stream.readable()
        assert stream.seekable()
        assert not stream.writable()
        assert stream.read(3) == BODY[:3]
        assert stream.readline() == BODY[3:11]
        out = bytearray(4)
        assert stream.readinto(out) == 4
        assert out == BODY[11:15]
        assert stream.seek(-2, io.SEEK_END) == len(BODY) - 2
        assert stream.tell() == len(BODY) - 2
        assert list(stream) == [BODY[-2:]]
        assert repr(stream) == f"<CloudStream 'object' ({len(BODY)} bytes)>"
    assert stream.closed
    with pytest.raises(ValueError, match="closed"):
        stream.read()


def test_stream_serves_libraries_that_take_files(cci: Any) -> None:
    cci.upload_object("table.csv", "name,ä\none,1\n".encode())
    with io.TextIOWrapper(cci.download_stream("table.csv"), "utf-8") as text:
        assert list(csv.reader(text)) == [["name", "ä"], ["one", "1"]]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("inside"))
    cci.upload_object("archive.tgz", archive.getvalue())
    with tarfile.open(fileobj=cci.download_stream("archive.tgz")) as tar:
        assert tar.getnames() == ["inside"]
    cci.upload_object("copy.tgz", cci.download_stream("archive.tgz"))
    assert cci.download_object("copy.tgz") == archive.getvalue()


def test_pandas_reads_a_stream(cci: Any) -> None:
    pandas = pytest.importorskip("pandas")
    cci.upload_object("table.csv", "name,ä\none,1\n".encode())
    table = pandas.read_csv(cci.download_stream("table.csv"))
    assert table.to_dict("list") == {"name": ["one"], "ä": [1]}
