"""``cci.close()`` and ``with cci:`` close connections; whatever is used later opens new ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Set
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest

import cottoncandy
from tests.backends.wrappers import WrappedBackend
from tests.harness import StoreHarness
from tests.servers.web import RangeHandler, serving


def connections(url: str) -> set[int]:
    """Return the connections of this process to a server, by their ports at this end."""
    port = urlsplit(url).port
    return {
        each.laddr.port
        for each in psutil.Process().net_connections("tcp4")
        if each.raddr and each.raddr.port == port and each.status == psutil.CONN_ESTABLISHED
    }


def all_closed(url: str, but: Set[int] = frozenset()) -> bool:
    """Return whether only some connections remain; obstore closes in the background."""
    deadline = time.monotonic() + 60
    while connections(url) - but:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class S3Handler(RangeHandler):
    """A server of objects that finds every bucket."""

    def do_HEAD(self) -> None:
        if self.path.count("/") > 1:
            return super().do_HEAD()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        return self.end_headers()


@pytest.mark.parametrize("backend", ["s3", "http"])
def test_with_block_closes_every_connection(backend: str, tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "a").write_bytes(bytes(3_000_000))
    (tmp_path / "bucket" / "a.meta.json").write_text("{}")
    with serving(tmp_path, S3Handler) as server:
        connection = (
            {"bucket_name": "bucket", "endpoint_url": server.url, "anon": True}
            if backend == "s3"
            else {"bucket_name": f"{server.url}/bucket"}
        )
        with cottoncandy.get_interface(**connection, backend=backend, verbose=False) as cci:
            stream, fs = cci.open("a"), cci.filesystem()
            assert len(cci.download_object("a")) == 3_000_000
            assert fs.isfile("a")
            assert connections(server.url)
        assert all_closed(server.url)
        cci.close()  # again
        # Everything connects again.
        assert (len(stream.read()), fs.info("a")["size"]) == (3_000_000, 3_000_000)
        assert cci.exists_object("a")
        cci.close()
        assert all_closed(server.url)


@pytest.mark.parametrize("encryption", ["plain", "AES"], indirect=True)
@pytest.mark.parametrize(
    "store", ["gcs", pytest.param("ceph", marks=pytest.mark.slow), "gdrive"], indirect=True
)
def test_connections_are_closed_after_every_verb(store: StoreHarness, factory: Any) -> None:
    url = store.connection().get("endpoint_url") or store.server.url
    before = connections(url)  # of the harness, and of other tests, which may end during this one
    arguments = {"verbose": False, "backend": store.backend_name, **store.connection()}
    with factory(store.bucket, **arguments) as cci:
        for _ in range(2):
            cci.upload_raw_array("a", np.arange(2**19), compression=False)
            np.testing.assert_array_equal(cci.download_raw_array("a"), np.arange(2**19))
            assert cci.glob("*") == cci.filesystem().ls("", detail=False) == ["a"]
            assert connections(url) - before
            cci.close()
            assert all_closed(url, before)


def test_block_closes_after_an_error_and_leaves_it_alone() -> None:
    closed: list[str] = []

    class Watched(WrappedBackend):
        def close(self) -> None:
            closed.append("closed")

    cci = cottoncandy.get_encrypted_interface("memory://closing", encryptionKey=bytes(32))
    cci.backend_interface = Watched(cci.backend_interface)
    with pytest.raises(KeyError), cci as entered:
        _ = {}["missing"] if entered is cci else None
    assert closed == ["closed"]


@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_closing_in_the_middle_of_transfers_breaks_none(store: StoreHarness) -> None:
    cci = store.interface()
    for number in range(15):
        cci.upload_object(f"x/{number}", bytes([number]) * 1000)
    stop = threading.Event()

    def close_again_and_again() -> None:
        while not stop.is_set():
            cci.close()

    closing = threading.Thread(target=close_again_and_again)
    closing.start()
    try:
        for number in range(15):
            assert cci.download_object(f"x/{number}") == bytes([number]) * 1000
            assert cci.exists_object(f"x/{number}")
        assert len(cci.glob("x/*")) == 15
    finally:
        stop.set()
        closing.join()
