"""``doctor`` on each store: its lines are true, and nothing is left behind."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import cottoncandy as cc
from cottoncandy.backends.base import IfMatch
from cottoncandy.exceptions import AccessDeniedError
from cottoncandy.options import Settings
from cottoncandy.stores.doctor import Report, examine
from cottoncandy.stores.store import Store
from cottoncandy.stores.wrapping import WrappedBackend
from tests.harness import StoreHarness, on_every_store
from tests.servers import S3Server
from tests.servers.web import RangeHandler, serving

#: Checks that end with a warning on each store, in the order of the report.
WARNINGS = {
    "memory": [],
    "local": ["odd names"],
    "moto": [],
    "ceph": [],
    "gdrive": ["conditional uploads", "odd names"],
    "gcs": [],
}


def verdicts(report: Report) -> dict[str, str]:
    return {check.name: check.verdict for check in report.checks}


@on_every_store
def test_lines_are_true_and_nothing_is_left(store: StoreHarness) -> None:
    before = store.raw_keys()
    report = examine(Store(store.backend(), Settings()))
    found = verdicts(report)
    essential = ("listing", "writing", "reading", "deleting")
    assert [found[name] for name in essential] == ["ok"] * 4, str(report)
    assert report.usable
    warned = [check for check in report.checks if check.verdict == "warning"]
    assert [check.name for check in warned] == WARNINGS[store.name], str(report)
    assert store.raw_keys() == before
    atomic = store.backend().puts_atomically("name")
    assert found["conditional uploads"] == ("ok" if atomic else "warning")


def test_web_server_is_read_only(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    with serving(tmp_path, RangeHandler) as server:
        report = cc.doctor(f"{server.url}/")
    assert verdicts(report) == {"listing": "ok", "writing": "warning"}
    assert report.usable
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_missing_bucket_is_not_usable_and_leaves_nothing(
    moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto.endpoint_url)
    report = cc.doctor(
        "s3://no-such-bucket", ACCESS_KEY=moto.access_key, SECRET_KEY=moto.secret_key
    )
    assert report.location == f"bucket:no-such-bucket on {moto.endpoint_url}"
    assert verdicts(report) == {"listing": "failed", "writing": "failed"}
    assert not report.usable


def test_directory_that_does_not_exist_is_not_created(tmp_path: Path) -> None:
    report = cc.doctor(str(tmp_path / "new" / "one"))
    assert report.usable
    assert list(tmp_path.iterdir()) == []


class Lacking(WrappedBackend):
    """A store that lacks one capability, or has it in another way."""

    def __init__(self, inner: Any, lack: str) -> None:
        super().__init__(inner, acls=True)
        self.lack = lack

    def get(self, key: str, **options: Any) -> Any:
        reader = self.inner.get(key, **options)
        if self.lack == "ranges" and not options.get("prefetch", True):
            reader.read = lambda *span: b"??"  # type: ignore[method-assign]
        return reader

    def head(self, key: str) -> Any:
        info = self.inner.head(key)
        if self.lack == "clock":
            return info._replace(modified=info.modified - timedelta(hours=1))  # type: ignore[operator]
        if self.lack == "checksums":
            return info._replace(etag="opaque")
        return info._replace(size=info.size - 1) if self.lack == "multipart uploads" else info

    def put(self, key: str, body: Any, options: Any = None, **rest: Any) -> Any:
        if self.lack == "ACLs" and options.acl:
            raise AccessDeniedError("denied")
        ignored = {"conditional uploads": object, "if_match": IfMatch}.get(self.lack, ())
        condition = None if isinstance(options.condition, ignored) else options.condition
        return self.inner.put(key, body, replace(options, acl=None, condition=condition), **rest)

    def scan(self, prefix: str = "", **options: Any) -> Any:
        found = list(self.inner.scan(prefix, **options))
        if self.lack == "odd names":
            found = [entry for entry in found if "//" not in getattr(entry, "key", "")]
        return iter(found[::-1] if self.lack == "listing order" else found)


@pytest.mark.parametrize(
    "lack",
    [
        *("ranges", "clock", "checksums", "ACLs", "conditional uploads", "if_match"),
        *("multipart uploads", "listing order", "odd names"),
    ],
)
def test_each_missing_capability_is_a_warning(store: StoreHarness, lack: str) -> None:
    report = examine(Store(Lacking(store.backend(), lack), Settings()), "below/")
    warned = [check.name for check in report.checks if check.verdict == "warning"]
    assert warned == ["conditional uploads" if lack == "if_match" else lack]
    if lack == "conditional uploads":
        assert "overwrite=False is ignored" in str(report)
    assert report.usable
    assert store.raw_keys() == []


def test_objects_are_created_below_one_prefix_only(store: StoreHarness) -> None:
    keys: set[str] = set()

    class Recording(WrappedBackend):
        def put(self, key: str, *arguments: Any, **options: Any) -> Any:
            keys.add(key)
            return self.inner.put(key, *arguments, **options)

    examine(Store(Recording(store.backend()), Settings()), "below/")
    assert len(keys) > 10
    (name,) = {key.split("/")[1] for key in keys}
    assert all(key.startswith(f"below/{name}/") for key in keys)


@pytest.mark.parametrize("verb", ["put", "delete", "scan", "get"])
def test_status_follows_the_four_verbs(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cci = cc.get_interface("examined", backend="memory", verbose=False)
    cci.upload_object("own", b"kept")

    def denied(*args: object, **kwargs: object) -> None:
        raise cc.exceptions.AccessDeniedError("denied")

    with monkeypatch.context() as patch:
        patch.setattr(type(cci.backend_interface), verb, denied)
        report = cc.doctor("memory://examined")
    assert not report.usable
    name = {"put": "writing", "delete": "deleting", "scan": "listing", "get": "reading"}[verb]
    assert verdicts(report)[name] == "failed"
    assert cci.download_object("own") == b"kept"


def test_what_a_read_only_login_did_not_store_is_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    cci = cc.get_interface("examined", backend="memory", verbose=False)

    def put(*_: object, **__: object) -> None:
        raise AccessDeniedError("denied")

    def delete(_: object, keys: Any, **__: object) -> Any:
        return ((key, AccessDeniedError("denied")) for key in keys)

    monkeypatch.setattr(type(cci.backend_interface), "put", put)
    monkeypatch.setattr(type(cci.backend_interface), "delete", delete)
    assert verdicts(cc.doctor("memory://examined")) == {"listing": "ok", "writing": "failed"}
