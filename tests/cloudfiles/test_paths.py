"""Cloud paths, aliases and secrets files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cottoncandy.cloudfiles import paths, secrets
from cottoncandy.cloudfiles.exceptions import UnsupportedProtocolError
from cottoncandy.cloudfiles.paths import ExtractedPath, extract
from cottoncandy.exceptions import ConfigurationError, InvalidArgumentError
from tests.cases import each

VECTORS = Path(__file__).parent.parent / "vectors"


@each(
    "path, expected",
    [
        ("gs://b/a/c", ("precomputed", "gs", "b", "a/c", None, None)),
        ("s3://b", ("precomputed", "s3", "b", "", None, None)),
        ("s3://b/a/", ("precomputed", "s3", "b", "a/", None, None)),
        ("s3://https://h.org/b/a", ("precomputed", "s3", "b", "a", "https://h.org", None)),
        ("s3://http://h:90/b/a", ("precomputed", "s3", "b", "a", "http://h:90", None)),
        ("file:///a/b", ("precomputed", "file", None, "/a/b", None, None)),
        ("file:///a/../b", ("precomputed", "file", None, "/b", None, None)),
        ("mem://x/y", ("precomputed", "mem", "x", "y", None, None)),
        ("https://h.org/a/b", ("precomputed", "https", None, "a/b", "https://h.org", None)),
        ("zarr2://gs://b/a", ("zarr2", "gs", "b", "a", None, None)),
        ("gs://b/a|zarr2:", ("zarr2", "gs", "b", "a", None, None)),
        ("gs://b/a|neuroglancer-precomputed:", ("precomputed", "gs", "b", "a", None, None)),
        ("graphene://https://h.org/t", ("graphene", "https", None, "t", "https://h.org", None)),
        (
            "middleauth+https://h.org/t",
            ("precomputed", "middleauth+https", None, "t", "https://h.org", None),
        ),
    ],
)
def test_extract(path: str, expected: tuple[str | None, ...]) -> None:
    assert extract(path) == expected
    assert isinstance(extract(path), ExtractedPath)


@each("path", ["", "/a/b", "a", "nope://a/b", "gs://", "s3:///"])
def test_other_paths_are_rejected(path: str) -> None:
    with pytest.raises(UnsupportedProtocolError) as caught:
        extract(path)
    assert "ngauth" not in str(caught.value)


def test_paths_are_written_again() -> None:
    path = extract("zarr2://s3://https://h.org/b/a")
    assert paths.ascloudpath(path) == "zarr2://s3://https://h.org/b/a"
    assert paths.asprotocolpath(path) == "s3://https://h.org/b/a"
    assert paths.asbucketpath(path) == "zarr2://s3://https://h.org/b"
    assert paths.asbucketpath("gs://b/a/c") == "precomputed://gs://b"
    assert paths.asprotocolpath(extract("file:///a/b")) == "file:///a/b"
    assert paths.asfilepath(extract("file:///a/b")) == paths.asfilepath("file:///a/b") == "/a/b"
    with pytest.raises(InvalidArgumentError):
        paths.asfilepath(path)


def test_normalize(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert paths.normalize("x/y") == f"file://{tmp_path}/x/y"
    assert paths.normalize("~/x") == f"file://{Path.home()}/x"
    assert paths.normalize("gs://b/a|zarr2:") == "zarr2://gs://b/a"
    assert paths.normalize("gs://b/a|neuroglancer-precomputed:") == "gs://b/a"
    assert paths.normalize("precomputed://gs://b/a") == "precomputed://gs://b/a"


def test_parts_of_paths() -> None:
    assert (paths.dirname("gs://b/a/c"), paths.basename("gs://b/a/c")) == ("gs://b/a", "c")
    assert [paths.get_protocol(path) for path in ("gs://b", "zarr2://s3://b", "/a")] == [
        *("gs", "s3", None)
    ]
    assert paths.get_any_protocol("zarr2://s3://b") == "zarr2"
    assert paths.pop_protocol("gs://b/a") == ("gs", "b/a")
    assert paths.to_https_protocol("gs://b/a") == "https://storage.googleapis.com/b/a"
    assert paths.to_https_protocol("s3://b/a") == "https://s3.amazonaws.com/b/a"
    assert paths.to_https_protocol("s3://https://h.org/b/a") == "https://h.org/b/a"
    assert paths.to_https_protocol("mem://b/a") == "mem://b/a"
    assert paths.service_provider(extract("gs://b/a")) == "gs"


def test_find_common_buckets() -> None:
    found = paths.find_common_buckets(
        ["gs://b/a", {"path": "gs://b/c", "start": 1, "end": 2}, "mem://x/y"]
    )
    assert found == {
        "precomputed://gs://b": [
            {"path": "a", "start": None, "end": None},
            {"path": "c", "start": 1, "end": 2},
        ],
        "precomputed://mem://x": [{"path": "y", "start": None, "end": None}],
    }


def test_aliases_of_the_process() -> None:
    paths.add_alias("lab", "s3://https://h.org/")
    try:
        expected = ExtractedPath("precomputed", "s3", "b", "a", "https://h.org", "lab")
        assert extract("lab://b/a") == expected
        assert paths.resolve_alias("lab://b/a") == ("lab", "s3://https://h.org/b/a")
        assert paths.asprotocolpath(expected) == "lab://b/a"
        assert paths.to_https_protocol("lab://b/a") == "https://h.org/b/a"
        assert paths.get_protocol("lab://b/a") == paths.service_provider(expected) == "lab"
    finally:
        paths.remove_alias("lab")
    with pytest.raises(UnsupportedProtocolError):
        extract("lab://b/a")
    for alias, host in (("gs", "s3://https://h.org/"), ("x", "h.org"), ("a/b", "s3://h/")):
        with pytest.raises(InvalidArgumentError):
            paths.add_alias(alias, host)


def test_persistent_aliases(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLOUD_FILES_DIR", str(tmp_path / "cf"))
    paths.add_persistent_alias("lab", "s3://https://h.org/")
    paths.add_persistent_alias("lab2", "s3://https://h2.org/")
    paths.remove_alias("lab")
    assert extract("lab://b/a").host == "https://h.org"
    paths.remove_persistent_alias("lab2")
    content = json.loads((tmp_path / "cf" / "aliases.json").read_text())
    assert content == {"lab": {"host": "s3://https://h.org/"}}
    paths.update_aliases_from_file()
    assert paths.ALIASES["lab"] == "s3://https://h.org/"
    paths.remove_persistent_alias("lab")
    (tmp_path / "cf" / "aliases.json").write_text("[")
    with pytest.raises(ConfigurationError, match="aliases"):
        extract("unknown://b/a")


# -- secrets -------------------------------------------------------------------------------------


def write(folder: Path, name: str, content: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def test_secrets_files_in_their_order(isolated_environment: Path) -> None:
    volume = isolated_environment / ".cloudvolume" / "secrets"
    files = isolated_environment / ".cloudfiles" / "secrets"
    assert secrets.aws_credentials("b") == {}
    assert secrets.secretpath("aws-secret.json") == str(volume / "aws-secret.json")
    write(files, "aws-secret.json", {"AWS_ACCESS_KEY_ID": "3", "AWS_SECRET_ACCESS_KEY": "s"})
    assert secrets.aws_credentials("b")["AWS_ACCESS_KEY_ID"] == "3"
    write(volume, "aws-secret.json", {"AWS_ACCESS_KEY_ID": "2", "AWS_SECRET_ACCESS_KEY": "s"})
    assert secrets.aws_credentials("b")["AWS_ACCESS_KEY_ID"] == "2"
    write(volume, "b-aws-secret.json", {"AWS_ACCESS_KEY_ID": "1", "AWS_SECRET_ACCESS_KEY": "s"})
    assert secrets.aws_credentials("b")["AWS_ACCESS_KEY_ID"] == "1"
    assert secrets.aws_credentials("c")["AWS_ACCESS_KEY_ID"] == "2"
    assert secrets.aws_credentials("b", "s3")["AWS_ACCESS_KEY_ID"] == "1"
    assert secrets.aws_credentials("c", "lab") == {}
    assert secrets.secretpath("aws-secret.json") == str(volume / "aws-secret.json")


def test_environment_without_a_session_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    expected = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}
    assert secrets.aws_credentials("b", skip_files=True) == expected
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "region")
    expected |= {"AWS_SESSION_TOKEN": "token", "AWS_DEFAULT_REGION": "region"}
    assert secrets.aws_credentials("b") == expected
    assert secrets.aws_credentials("b", "lab") == expected  # as its connection has


def test_other_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLOUD_VOLUME_DIR", str(tmp_path))
    assert secrets.google_credentials("b") == (None, None)
    assert secrets.cave_credentials("h") is None
    assert secrets.http_credentials() is None
    folder = tmp_path / "secrets"
    account = {"project_id": "p", "client_email": "e", "token_uri": "https://host/token"}
    account["private_key"] = (VECTORS / "fake_rsa.pem").read_text()
    write(folder, "google-secret.json", account)
    write(folder, "h-cave-secret.json", {"token": "t"})
    write(folder, "http-secret.json", {"user": "u", "password": "w"})
    project, credentials = secrets.google_credentials("b")
    assert (project, credentials.service_account_email) == ("p", "e")
    assert secrets.cave_credentials("h") == {"token": "t"}
    assert secrets.http_credentials() == {"user": "u", "password": "w"}


def test_damaged_secrets_do_not_appear_in_the_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLOUD_VOLUME_DIR", str(tmp_path))
    write(tmp_path / "secrets", "aws-secret.json", '{"AWS_SECRET_ACCESS_KEY": "hush",')
    with pytest.raises(ConfigurationError, match="aws-secret") as caught:
        secrets.aws_credentials("b")
    assert "hush" not in str(caught.value)
    assert caught.value.__context__ is None or "hush" not in str(caught.value.__context__)
