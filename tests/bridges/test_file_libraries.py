"""Libraries of the field on files in the cloud, with the bytes that they cost."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.harness import StoreHarness


@pytest.fixture(params=["plain", "AES"])
def encryption(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def cci(store: StoreHarness, factory: Any) -> Any:
    return factory(store.bucket, verbose=False, backend="memory")


def bytes_read(stream: Any) -> int:
    """Return how many bytes a stream has in its cache: what it downloaded."""
    return sum(map(len, stream.raw._blocks.values()))


def test_one_hdf5_slice_moves_a_small_part_of_the_file(cci: Any, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    values = np.random.default_rng(0).standard_normal(2**21)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in range(4):
            file.create_dataset(f"run{number}", data=values + number, chunks=(2**14,))
    size = (tmp_path / "a.h5").stat().st_size
    assert size > 64e6
    cci.upload_from_file(tmp_path / "a.h5", "a.h5")
    with cci.open("a.h5") as stream, h5py.File(stream, "r") as file:
        part = file["run2"][1_000_000:1_010_000]
        np.testing.assert_array_equal(part, (values + 2)[1_000_000:1_010_000])
        assert bytes_read(stream) < 0.05 * size


def test_nifti_images_are_read_and_written(cci: Any) -> None:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(np.arange(120, dtype="f4").reshape(4, 5, 6), np.eye(4))
    cci.upload_object("a.nii", image.to_bytes())
    cci.upload_object("a.nii.gz", gzip.compress(image.to_bytes()))
    with cci.open("a.nii") as plain, cci.open("a.nii.gz") as packed, gzip.open(packed) as file:
        for stream in (plain, file):
            found = nibabel.Nifti1Image.from_stream(stream).get_fdata()
            np.testing.assert_array_equal(found, image.get_fdata())


def test_parquet_reads_one_column(cci: Any) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({name: np.random.default_rng(0).random(100_000) for name in "abcd"})
    with cci.open("a.parquet", "wb") as stream:
        parquet.write_table(table, stream)
    with cci.open("a.parquet") as stream:
        found = parquet.read_table(stream, columns=["b"])
        assert found.equals(table.select(["b"]))
        assert bytes_read(stream) < 0.6 * stream.size


def test_archives_and_pictures_are_read_in_place(cci: Any) -> None:
    with cci.open("a.zip", "wb") as stream, zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("large", bytes(3 * 2**20))
        archive.writestr("small", b"it works")
    with cci.open("a.zip") as stream, zipfile.ZipFile(stream) as archive:
        assert archive.read("small") == b"it works"
        assert bytes_read(stream) < 2**19
    pil = pytest.importorskip("PIL.Image")
    buffer = io.BytesIO()
    pil.fromarray(np.arange(64, dtype="u1").reshape(8, 8)).save(buffer, "PNG")
    cci.upload_object("a.png", buffer.getvalue())
    with cci.open("a.png") as stream:
        assert pil.open(stream).size == (8, 8)


def test_one_member_of_a_tar_file_is_read_in_place(cci: Any) -> None:
    with cci.open("a.tar", "wb") as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
        for name, body in (("large", bytes(3 * 2**20)), ("small", b"it works")):
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    with cci.open("a.tar") as stream, tarfile.open(fileobj=stream) as archive:
        assert archive.extractfile("small").read() == b"it works"
        assert bytes_read(stream) < 2**19


def test_a_part_of_a_sound_is_read(cci: Any) -> None:
    soundfile = pytest.importorskip("soundfile")
    sound = np.sin(np.arange(500_000) / 20).astype("f4")
    buffer = io.BytesIO()
    soundfile.write(buffer, sound, 16_000, format="WAV", subtype="FLOAT")
    cci.upload_object("a.wav", buffer.getvalue())
    with cci.open("a.wav") as stream, soundfile.SoundFile(stream) as file:
        file.seek(300_000)
        np.testing.assert_array_equal(file.read(1000, dtype="f4"), sound[300_000:301_000])
        assert bytes_read(stream) < 2**19


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of soundfile
def test_programs_that_go_back_while_they_write_store_nothing(cci: Any) -> None:
    """An error says why, even if the library ignores the one that it got: its file is damaged."""
    h5py = pytest.importorskip("h5py")
    soundfile = pytest.importorskip("soundfile")
    image = pytest.importorskip("PIL.Image")

    def sound(stream: Any) -> None:
        soundfile.write(stream, np.zeros(100), 8000, format="WAV")

    def tiff(stream: Any) -> None:
        image.fromarray(np.zeros((4, 4), "u1")).save(stream, "TIFF")

    for write in (sound, tiff, lambda stream: h5py.File(stream, "w")):
        with pytest.raises(OSError, match="upload_from_file"), cci.open("a", "wb") as stream:
            write(stream)
        assert not cci.exists_object("a")


def test_a_program_that_ignores_that_it_cannot_write_keeps_the_old_object(cci: Any) -> None:
    h5py = pytest.importorskip("h5py")
    cci.upload_object("a.h5", b"old")
    with (
        pytest.raises(OSError, match="upload_from_file"),
        cci.open("a.h5", "wb") as file,
        suppress(OSError),
    ):
        h5py.File(file, "w")
    assert cci.download_object("a.h5") == b"old"


def test_opening_takes_one_request_and_small_reads_few(fault_proxy: Any, factory: Any) -> None:
    server = fault_proxy.server
    bucket = server.borrow_bucket()
    cci = factory(bucket, verbose=False, **server.interface_arguments())
    body = np.random.default_rng(0).bytes(3 * 2**20)
    cci.upload_object("a", body)
    fault_proxy.forget()
    with cci.open("a", block_size=2**20) as stream:
        assert len(fault_proxy.requests) <= (2 if hasattr(cci, "encryption") else 1)
        assert b"".join(stream.read(1024) for _ in range(1024)) == body[: 2**20]
        assert len(fault_proxy.requests) <= (2 if hasattr(cci, "encryption") else 1)
    server.return_bucket(bucket)
