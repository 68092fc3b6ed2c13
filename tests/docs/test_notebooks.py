"""The notebooks run unchanged, and contain the output of a run."""

from __future__ import annotations

import functools
import gzip
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.docs.blocks import ROOT
from tests.servers import S3Server

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")

# The client's libraries warn on some versions of Python; ours run in the notebook's process.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*:RuntimeWarning"),
]

NOTEBOOKS = sorted(ROOT.glob("examples/*.ipynb"))


def outputs(notebook: Any) -> list[Any]:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [output for cell in cells for output in cell.outputs]


def text_output(notebook: Any) -> str:
    """Return all the text that a notebook shows."""
    texts = [output.get("text", "") for output in outputs(notebook)]
    texts += [output.get("data", {}).get("text/plain", "") for output in outputs(notebook)]
    return "\n".join(texts)


def pictures(notebook: Any) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs(notebook))


@pytest.fixture
def execute(tmp_path: Path, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a notebook in a new process, in an empty directory."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    monkeypatch.setenv("COTTONCANDY_OPTIONS", str(ROOT / "defaults.cfg"))  # no welcome text
    monkeypatch.setenv("COTTONCANDY_BASIC_PROGRESS", "False")  # seen only where it is slow

    def run(path: Path) -> Any:
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            cell.pop("outputs", None)
            if cell.cell_type == "code":
                cell.outputs = []
        client = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3")
        client.create_kernel_manager()
        # Not ports, which another process may take before the kernel does. Short: 108 bytes.
        with tempfile.TemporaryDirectory(prefix="kernel-") as directory:
            client.km.transport, client.km.ip = "ipc", f"{directory}/socket"
            client.execute(cwd=str(tmp_path))
        return notebook

    return run


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_kept_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert pictures(notebook) >= 1
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    text = path.read_text("utf-8")
    assert not [word for word in ("/home/", "/tmp/", "/Users/", "Warning") if word in text]
    assert len(text) < 300_000


def nifti() -> bytes:
    """Return a small image, as the files of the public bucket are."""
    values = np.arange(4 * 5 * 6, dtype="<i2").reshape(4, 5, 6)
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *values.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<f", header, 108, 352)
    return gzip.compress(bytes(header) + values.tobytes(order="F"))


@pytest.mark.slow
def test_neuroimaging(execute: Any) -> None:
    """Everything in it is made on the spot, from one seed."""
    path = ROOT / "examples" / "neuroimaging.ipynb"
    kept, notebook = nbformat.read(path, as_version=4), execute(path)
    for said_then, said_now in zip(outputs(kept), outputs(notebook), strict=True):
        assert said_now.output_type == said_then.output_type
    assert "(25, 14, 16)" in text_output(kept)
    assert "(25, 14, 16)" in text_output(notebook)
    assert "Warning" not in text_output(notebook)
    assert pictures(notebook) == 1


@pytest.mark.slow
def test_public_data_without_a_network(execute: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket cannot be reached: the notebook prints that, and continues."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")  # no server listens there
    notebook = execute(ROOT / "examples" / "public_data.ipynb")
    assert "There is no way to the public bucket from here" in text_output(notebook)
    assert "a stand-in, made up" in text_output(notebook)
    assert "Warning" not in text_output(notebook)
    assert pictures(notebook) == 1


@pytest.mark.slow
def test_public_data_with_a_network(
    execute: Any, moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server plays the public bucket."""
    client = moto.client()
    client.create_bucket(Bucket="openneuro.org", ACL="public-read")
    try:
        put = functools.partial(client.put_object, Bucket="openneuro.org", ACL="public-read")
        put(Key="ds000001/dataset_description.json", Body=b'{"Name": "served by a test"}')
        for name in ("sub-01", "sub-02", "sub-03"):
            put(Key=f"ds000001/{name}/anat/{name}_T1w.nii.gz", Body=nifti())
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto.endpoint_url)
        notebook = execute(ROOT / "examples" / "public_data.ipynb")
    finally:
        moto.remove_bucket("openneuro.org")
        client.close()
    assert "connected to the public bucket" in text_output(notebook), text_output(notebook)
    assert "served by a test" in text_output(notebook)
    assert "sub-02_T1w" in text_output(notebook)
    assert "sub-03_T1w" not in text_output(notebook)
    assert "((4, 5, 6), '<i2')" in text_output(notebook)
    assert pictures(notebook) == 1
