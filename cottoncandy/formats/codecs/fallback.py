"""Any other codec of numcodecs, under its own id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from cottoncandy._buffers import Buffer
from cottoncandy.exceptions import IntegrityError, InvalidArgumentError, MissingDependencyError
from cottoncandy.formats.codecs.base import Codec

__all__ = ["NumcodecsCodec"]

# These change values, need parameters or make Python objects: no codecs of byte streams.
_UNFIT = frozenset(
    (
        "adler32",
        "astype",
        "base64",
        "bitround",
        "categorize",
        "crc32",
        "crc32c",
        "delta",
        "fixedscaleoffset",
        "fletcher32",
        "jenkins_lookup3",
        "json2",
        "msgpack2",
        "n5_wrapper",
        "packbits",
        "pcodec",
        "pickle",
        "quantize",
        "shuffle",
        "vlen-array",
        "vlen-bytes",
        "vlen-utf8",
        "zfpy",
    )
)


class NumcodecsCodec(Codec):
    """A codec of numcodecs, which works on whole buffers.

    Parameters
    ----------
    name : str
        Its id, in upper or lower case.

    Notes
    -----
    Memory: encoding holds the compressed body; decoding holds the compressed body, and a codec
    that does not decode into place a second copy of the array.
    """

    def __init__(self, name: str) -> None:
        from cottoncandy.formats.codecs import codec_names

        self.name = name
        known = ", ".join(codec_names())
        try:
            import numcodecs  # type: ignore[import-untyped]  # ships no stubs
        except ImportError as exc:
            raise MissingDependencyError(
                f"the codec '{name}' is none of {known}; if it is one of numcodecs, "
                f'install that: pip install "cottoncandy[numcodecs]"'
            ) from exc
        codec_id = name.lower()
        available = sorted(set(numcodecs.registry.codec_registry) - _UNFIT)
        if codec_id not in available:
            raise InvalidArgumentError(
                f"no codec is called '{name}'; there are {known}, and from numcodecs: "
                f"{', '.join(available)}"
            )
        self._codec: Any = numcodecs.get_codec({"id": codec_id})

    def check_input(self, size: int) -> None:
        limit = getattr(self._codec, "max_buffer_size", None)
        if limit is not None and size > limit:
            raise InvalidArgumentError(
                f"{self.name} takes at most {limit} bytes at once, and the array has {size}: use "
                f"compression='Zstd'"
            )

    def encode(self, data: memoryview, *, threads: int = 1) -> Iterator[Buffer]:
        try:
            yield self._codec.encode(data)
        except ValueError as exc:  # numcodecs: more than 2 GB in one call
            raise InvalidArgumentError(
                f"the codec {self.name} cannot encode {len(data)} bytes: {exc}; "
                f"Zstd and gzip have no limit"
            ) from exc

    def encode_blocks(
        self, blocks: Iterable[Buffer], size: int, *, threads: int = 1
    ) -> Iterator[Buffer]:
        return self.encode(memoryview(b"".join(blocks)), threads=threads)

    def decode_into(self, chunks: Iterable[Buffer], out: memoryview) -> None:
        body = b"".join(chunks)
        if self._codec.codec_id == "blosc":
            _check_blosc(body, len(out))
        try:
            decoded = memoryview(self._codec.decode(body)).cast("B")
        except MemoryError:
            raise
        except Exception as exc:  # each codec has errors of its own
            raise IntegrityError(f"the {self.name} body is corrupt: {exc}") from exc
        if len(decoded) != len(out):
            raise IntegrityError(
                f"the {self.name} body decodes to {len(decoded)} bytes, and {len(out)} were "
                f"expected"
            )
        out[:] = decoded

    def max_encoded_bytes(self, size: int) -> int:
        return size + size // 8 + 64 * 1024


def _check_blosc(body: bytes, size: int) -> None:
    """Compare the sizes in a Blosc header with the true ones: the library trusts them blindly."""
    if len(body) < 16:
        raise IntegrityError(f"the Blosc body is truncated: it has {len(body)} bytes")
    decoded, encoded = int.from_bytes(body[4:8], "little"), int.from_bytes(body[12:16], "little")
    if (decoded, encoded) != (size, len(body)):
        raise IntegrityError(
            f"the Blosc body says that it has {encoded} bytes and decodes to {decoded}, and it has "
            f"{len(body)}, of which {size} were expected"
        )
