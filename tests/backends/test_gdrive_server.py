"""The test server for Google Drive refuses what the API does not have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

pytest.importorskip("pydrive2", reason="pydrive2 is not installed")

from tests.cases import each
from tests.servers.drive import DriveServer
from tests.servers.drive.errors import ApiError
from tests.servers.drive.query import parse_query
from tests.servers.drive.schema import select

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def server() -> Iterator[DriveServer]:
    with DriveServer() as running:
        yield running


def ask(server: DriveServer, verb: str, path: str, body: Any = None, **params: str) -> Any:
    """Return the answer's JSON, or the status of an error."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {server.tokens.issue()}"}
    if data is not None:
        headers["Content-Type"] = "application/json"
    address = f"{server.url}{path}" + (f"?{urlencode(params)}" if params else "")
    try:
        with urlopen(Request(address, data, headers, method=verb)) as answer:
            return json.loads(answer.read() or b"null")
    except HTTPError as error:
        with error:
            return error.code


def item(**fields: Any) -> Any:
    defaults = {
        "title": "Name of it",
        "mime_type": "text/plain",
        "parents": ["p"],
        "trashed": False,
        "starred": True,
        "modified": "2024-05-05T00:00:00.000Z",
        "properties": {("k", "PRIVATE"): "v", ("k", "PUBLIC"): "w"},
        "owners": ["me@example.org"],
    }
    return SimpleNamespace(**(defaults | fields))


@each(
    "query, passes",
    [
        ("", True),
        ("title = 'name of it'", True),
        ("title != 'name of it'", False),
        ("title contains 'na' and title contains 'OF'", True),
        ("title contains 'ame'", False),
        ("not title = 'x' and trashed = false", True),
        ("title = 'x' or (starred = true and 'p' in parents)", True),
        ("title = 'x' or starred = true and 'q' in parents", False),
        ("not (title = 'x' or 'p' in parents)", False),
        ("mimeType='text/plain'", True),
        ("modifiedDate > '2024-01-01'", True),
        ("properties has { key='k' and value='v' }", True),
        ("properties has { key='k' and value='w' and visibility='PUBLIC' }", True),
        ("properties has { key='k' and value='w' }", False),
        ("'me@example.org' in owners", True),
    ],
)
def test_queries(query: str, passes: bool) -> None:
    assert parse_query(query, str)(item()) is passes


@pytest.mark.parametrize(
    "query",
    [
        "title = name",
        'title = "name"',
        "title == 'x'",
        "title like 'x'",
        "name = 'x'",
        "title = 'it's'",
        "title = 'x\\n'",
        "title = 'x",
        "title = 'x' title = 'y'",
        "title = 'x' and",
        "and title = 'x'",
        "(title = 'x'",
        "title = 'x')",
        "'p' in folders",
        "trashed = 'false'",
        "trashed",
        "mimeType > 'x'",
        "properties has { key='k' }",
        "properties has { name='k' and value='v' }",
        "title = 'x' && starred = true",
    ],
)
def test_malformed_queries(server: DriveServer, query: str) -> None:
    with pytest.raises(ApiError):
        parse_query(query, str)
    assert ask(server, "GET", "/drive/v2/files", q=query) == 400


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/drive/v3/files", {}),
        ("/drive/v2/nothing", {}),
        ("/drive/v2/files", {"pageSize": "5"}),
        ("/drive/v2/files", {"maxResults": "many"}),
        ("/drive/v2/files", {"orderBy": "size"}),
        ("/drive/v2/files", {"pageToken": "made up"}),
        ("/drive/v2/files", {"corpora": "drive"}),
        ("/drive/v2/files", {"fields": "items(name)"}),
        ("/drive/v2/files", {"fields": "items(id"}),
        ("/drive/v2/files", {"fields": "files"}),
        ("/drive/v2/files", {"supportsAllDrives": "yes"}),
        ("/drive/v2/files", {"alt": "media"}),
        ("/drive/v2/files/root", {"uploadType": "media"}),
    ],
)
def test_requests_that_the_api_does_not_have(
    server: DriveServer, path: str, params: dict[str, str]
) -> None:
    assert ask(server, "GET", path, **params) == 400


@pytest.mark.parametrize(
    "body",
    [
        {"name": "v3"},
        {"title": 5},
        {"title": "x", "md5Checksum": "0", "headRevisionId": "x"},
        {"properties": [{"key": "k", "value": "v", "PUBLIC": "PUBLIC"}]},
        {"properties": [{"key": "k" * 100, "value": "v" * 25}]},
        {"properties": [{"key": "k", "value": "v", "visibility": "SECRET"}]},
        {"parents": [{"id": "root"}, {"id": "root"}]},
        {"id": "chosen by the client"},
        [],
    ],
)
def test_bodies_that_the_api_does_not_take(server: DriveServer, body: Any) -> None:
    before = len(server.store.files)
    assert ask(server, "POST", "/drive/v2/files", body) == 400
    assert len(server.store.files) == before


def test_tokens_are_checked(server: DriveServer) -> None:
    request = Request(f"{server.url}/drive/v2/about", headers={"Authorization": "Bearer fake"})
    with pytest.raises(HTTPError) as caught:
        urlopen(request)
    caught.value.close()
    assert caught.value.code == 401
    assert ask(server, "GET", "/drive/v2/about", fields="name") == {"name": "Some One"}


def test_fields_select() -> None:
    value = {"items": [{"id": "1", "labels": {"trashed": False, "starred": True}}], "etag": "x"}
    expected = {"items": [{"id": "1", "labels": {"trashed": False}}]}
    assert select(value, "items(id,labels/trashed)", "FileList") == expected
    assert select(value, "etag", "FileList") == {"etag": "x"}


def test_thirty_properties(server: DriveServer) -> None:
    made = [{"key": f"k{n}", "value": "v", "visibility": "PUBLIC"} for n in range(31)]
    assert ask(server, "POST", "/drive/v2/files", {"properties": made}) == 403
    assert ask(server, "POST", "/drive/v2/files", {"properties": made[:30]})["id"]


def test_chunks_are_multiples(server: DriveServer) -> None:
    headers = {"Authorization": f"Bearer {server.tokens.issue()}"}
    start = f"{server.url}/upload/drive/v2/files?uploadType=resumable"
    for span, size in (
        ("bytes 0-99/200", 100),
        ("bytes 0-99/*", 100),
        ("bytes 5-104/105", 100),
        ("bytes 0-99/100", 99),
        ("bytes */5", 3),
        ("0-99/100", 100),
    ):
        with urlopen(Request(start, b"", headers, method="POST")) as answer:
            where = answer.headers["Location"]
        sent = Request(where, b"x" * size, {**headers, "Content-Range": span}, method="PUT")
        with pytest.raises(HTTPError) as caught:
            urlopen(sent)
        caught.value.close()
        assert caught.value.code == 400, span
