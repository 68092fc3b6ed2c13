"""Servers that fail in the middle: nothing is lost, and nothing wrong is stored or returned."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cottoncandy as cc
from cottoncandy.cloudfiles import CloudFiles, reset_connection_pools
from cottoncandy.cloudfiles.exceptions import MD5IntegrityError
from cottoncandy.exceptions import AccessDeniedError, CottonCandyError, PartialFailureError
from cottoncandy.transfer import engine
from tests.servers import S3Server
from tests.servers.proxy import FaultProxy

pytestmark = pytest.mark.server

Break = Callable[[FaultProxy, str, int], object]

#: Each breaks some requests of a method, after it has let some pass.
FAULTS: dict[str, Break] = {
    "503": lambda proxy, method, skip: proxy.on(method, times=2, skip=skip).answer(503, "SlowDown"),
    "500": lambda proxy, method, skip: proxy.on(method, times=2, skip=skip).answer(500),
    "429": lambda proxy, method, skip: proxy.on(method, times=2, skip=skip).answer(429, "SlowDown"),
    "reset": lambda proxy, method, skip: proxy.on(method, times=2, skip=skip).reset(),
    "lost answer": lambda proxy, method, skip: proxy.on(method, times=2, skip=skip).reset(
        delivered=True
    ),
    "truncated": lambda proxy, method, skip: proxy.on(method, times=2, skip=skip).truncate(20),
    "cut": lambda proxy, method, skip: proxy.on(method, times=2, skip=skip).truncate(
        20, reset=True
    ),
}
MOSTLY_SLOW = [
    pytest.param(name, marks=() if name == "503" else pytest.mark.slow) for name in FAULTS
]
FILES = {f"d{number % 3}/{number:02d}": os.urandom(300) + bytes(100) for number in range(12)}
_COUNTER = itertools.count()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Retries without pauses; connections that no other test knows."""
    monkeypatch.setattr(engine.random, "uniform", lambda least, most: 0)
    monkeypatch.setattr(engine, "_pace", engine._Pace())
    yield
    reset_connection_pools()


@pytest.fixture
def make(fault_proxy: FaultProxy, moto_bucket: str) -> Callable[..., CloudFiles]:
    """Makes CloudFiles on an empty directory behind the proxy."""
    server = fault_proxy.server
    secrets = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}

    def make(**options: Any) -> CloudFiles:
        path = f"s3://{server.endpoint_url}/{moto_bucket}/path-{next(_COUNTER)}"
        return CloudFiles(path, secrets=secrets, num_threads=4, **options)

    return make


@pytest.mark.parametrize("fault", MOSTLY_SLOW)
def test_every_verb_survives(
    make: Callable[..., CloudFiles], fault_proxy: FaultProxy, fault: str
) -> None:
    cf, copy = make(), make()
    for skip in (0, 5):
        FAULTS[fault](fault_proxy, "PUT", skip)
    assert cf.puts(list(FILES.items())) == len(FILES)
    for skip in (0, 3, 6):
        FAULTS[fault](fault_proxy, "GET", skip)
    assert list(cf) == list(cf.list()) == sorted(FILES)
    assert {file["path"]: file["content"] for file in cf.get(list(FILES))} == FILES
    if fault not in ("truncated", "cut"):  # these have no body
        FAULTS[fault](fault_proxy, "HEAD", 1)
    assert all(cf.exists([*FILES]).values())
    assert cf.exists("missing") is False
    FAULTS[fault](fault_proxy, "PUT", 2)
    cf.transfer_to(copy)
    cf.transfer_to("mem://copies/" + fault)
    for each in (copy, CloudFiles("mem://copies/" + fault)):
        assert {file["path"]: file["content"] for file in each.get(list(each))} == FILES
    FAULTS[fault](fault_proxy, "POST", 0)
    assert cf.delete(list(FILES)) == len(FILES)
    assert list(cf) == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", list(FAULTS))
def test_every_verb_survives_on_google_cloud_storage(
    gcs_server: Any,
    make_proxy: Callable[[S3Server], FaultProxy],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    proxy = make_proxy(S3Server(gcs_server.url, "", ""))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.endpoint_url)
    bucket = f"faults-{next(_COUNTER)}"
    gcs_server.client.create_bucket(bucket)
    cf, copy = (CloudFiles(f"gs://{bucket}/{name}", num_threads=4) for name in ("a", "b"))
    for skip in (0, 5):
        FAULTS[fault](proxy, "POST", skip)
    assert cf.puts(list(FILES.items())) == len(FILES)
    for skip in (0, 3, 9):
        FAULTS[fault](proxy, "GET", skip)
    assert list(cf) == list(cf.list()) == sorted(FILES)
    assert {file["path"]: file["content"] for file in cf.get(list(FILES))} == FILES
    FAULTS[fault](proxy, "GET", 1)
    assert all(cf.exists([*FILES]).values())
    assert cf.exists("missing") is False
    FAULTS[fault](proxy, "POST", 2)
    cf.transfer_to(copy)
    assert {file["path"]: file["content"] for file in copy.get(list(copy))} == FILES
    FAULTS[fault](proxy, "DELETE", 0)
    copy.move("d0/00", "moved")
    assert cf.delete(list(FILES)) == len(FILES)
    assert (list(cf), copy["moved"]) == ([], FILES["d0/00"])


@pytest.mark.parametrize("fault", MOSTLY_SLOW)
def test_sync_survives(
    fault_proxy: FaultProxy, moto_bucket: str, tmp_path: Path, fault: str
) -> None:
    for name, content in FILES.items():
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_bytes(content)
    cci = cc.get_interface(moto_bucket, **fault_proxy.server.interface_arguments())
    FAULTS[fault](fault_proxy, "PUT", 1)
    FAULTS[fault](fault_proxy, "GET", 0)
    assert cci.sync(tmp_path / "here", "data", threads=4).copied == len(FILES)
    FAULTS[fault](fault_proxy, "GET", 2)
    assert cci.sync("data", tmp_path / "there", threads=4).copied == len(FILES)
    found = {name: (tmp_path / "there" / name).read_bytes() for name in FILES}
    assert found == FILES
    assert cci.sync(tmp_path / "here", "data", checksum=True).skipped == len(FILES)


def test_wrong_bodies_are_never_returned_or_copied(
    make: Callable[..., CloudFiles], fault_proxy: FaultProxy
) -> None:
    cf = make()
    cf.puts(list(FILES.items()))
    rule = fault_proxy.on("GET", "/d1/").flip(350)
    found = cf.get(list(FILES), raise_errors=False)
    assert [file["path"] for file in found if file["error"]] == [p for p in FILES if "d1/" in p]
    assert all(file["content"] == FILES[file["path"]] for file in found if not file["error"])
    copy = CloudFiles("mem://copies/flipped")
    with pytest.raises(CottonCandyError, match="MD5"):
        cf.transfer_to(copy)
    assert sorted(copy) == sorted(path for path in FILES if "d1/" not in path)
    rule.remove()
    cf.transfer_to(copy)
    assert {file["path"]: file["content"] for file in copy.get(list(copy))} == FILES


@pytest.mark.parametrize("compress", [None, "gzip"])
def test_stored_files_have_the_md5_of_what_was_sent(
    make: Callable[..., CloudFiles], fault_proxy: FaultProxy, compress: str | None
) -> None:
    cf = make()
    fault_proxy.on("PUT", "/d1/04").change_etag()
    with pytest.raises(MD5IntegrityError, match="d1/04"):
        cf.puts(list(FILES.items()), compress=compress)
    assert list(cf) == sorted(FILES)


def test_denied_is_never_missing(make: Callable[..., CloudFiles], fault_proxy: FaultProxy) -> None:
    cf = make(no_sign_request=False)
    cf.puts(list(FILES.items()))
    fault_proxy.on(None, "/d1/04").answer(403, "AccessDenied")
    for verb in (cf.get, cf.exists, cf.size, cf.head):
        with pytest.raises(AccessDeniedError):
            verb("d1/04")
        with pytest.raises(AccessDeniedError):
            verb(["d0/00", "d1/04"])
    with pytest.raises(AccessDeniedError):
        cf.transfer_to("mem://copies/denied", allow_missing=True)
    assert len(list(CloudFiles("mem://copies/denied"))) == len(FILES) - 1


def test_a_file_that_stays_broken_is_named_and_the_rest_is_there(
    fault_proxy: FaultProxy, moto_bucket: str, tmp_path: Path
) -> None:
    cci = cc.get_interface(moto_bucket, **fault_proxy.server.interface_arguments())
    for name, content in FILES.items():
        cci.upload_object(f"data/{name}", content)
    fault_proxy.on("GET", "data/d1/04").truncate(50)
    with pytest.raises(PartialFailureError, match=r"1 of 12 files.*d1/04"):
        cci.sync("data", tmp_path / "there", threads=4)
    found = [path for path in (tmp_path / "there").rglob("*") if path.is_file()]
    assert len(found) == len(FILES) - 1
    assert not any(path.name == "04" for path in found)
