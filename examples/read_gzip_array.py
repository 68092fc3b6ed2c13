"""Read rows of an array that cottoncandy compressed, over HTTP, with nothing but NumPy.

    python read_gzip_array.py https://bucket.s3.amazonaws.com/subject01/run1 1000 1010

One request returns the header and the block index, another one the blocks that contain the rows.
"""

import struct
import sys
import zlib
from urllib.request import Request, urlopen

import numpy as np


def read_rows(url, start, stop):
    """Return ``array[start:stop]`` of an array in C order with a block index."""
    with urlopen(Request(url, headers={"Range": "bytes=-65536"})) as response:
        headers = {name.lower(): value for name, value in response.headers.items()}
        tail, size = response.read(), int(headers["content-range"].rpartition("/")[2])
    metadata = {name.removeprefix("x-amz-meta-"): value for name, value in headers.items()}
    shape = [int(length) for length in metadata["shape"].split(",")]
    row_bytes = np.dtype(metadata["dtype"]).itemsize * int(np.prod(shape[1:]))
    index_bytes = int(metadata["cc-index"].rpartition("=")[2])  # v=1; block=1048576; bytes=3118

    index, position = b"", len(tail) - index_bytes  # the extra fields of empty gzip members
    while position < len(tail):
        (length,) = struct.unpack_from("<H", tail, position + 14)
        index += tail[position + 16 : position + 16 + length]
        position += 16 + length + 10
    assert zlib.crc32(index[:-4]).to_bytes(4, "little") == index[-4:], "the index is damaged"
    version, block_bytes = struct.unpack_from("<II", index)
    assert version == 1, "a later version of the index"
    entries = list(struct.iter_unpack("<QI", index[16:-4]))
    offsets = [offset for offset, _ in entries] + [size - index_bytes - 10]

    first, last = start * row_bytes // block_bytes, (stop * row_bytes - 1) // block_bytes
    span = f"bytes={offsets[first]}-{offsets[last + 1] - 1}"
    request = Request(url, headers={"Range": span, "If-Match": headers["etag"]})
    with urlopen(request) as response:
        body, plain = response.read(), b""
    for number in range(first, last + 1):
        encoded = body[offsets[number] - offsets[first] : offsets[number + 1] - offsets[first]]
        block = zlib.decompressobj(wbits=-15).decompress(encoded)
        assert zlib.crc32(block) == entries[number][1], f"block {number} is damaged"
        plain += block
    begin = start * row_bytes - first * block_bytes
    plain = plain[begin : begin + (stop - start) * row_bytes]
    return np.frombuffer(plain, metadata["dtype"]).reshape(stop - start, *shape[1:])


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    print(read_rows(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
