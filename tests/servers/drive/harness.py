"""The Drive server as a harness: buckets are folders at the top of My Drive."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.harness import Stored, StoreHarness
from tests.servers.drive.server import DriveServer
from tests.servers.drive.store import FOLDER, File

__all__ = ["DriveHarness", "write_credentials", "write_secrets"]

_COUNTER = itertools.count()


def write_secrets(server: DriveServer, path: Path) -> Path:
    """Write client secrets of a desktop application that the server accepts."""
    installed = {
        "client_id": server.tokens.client_id,
        "client_secret": server.tokens.client_secret,
        "auth_uri": f"{server.url}/auth",
        "token_uri": f"{server.url}/token",
        "redirect_uris": ["http://localhost"],
    }
    path.write_text(json.dumps({"installed": installed}))
    return path


def write_credentials(server: DriveServer, path: Path, **changes: Any) -> Path:
    """Write credentials of a logged-in user, as the client library stores them."""
    content = {
        "access_token": server.tokens.issue(),
        "client_id": server.tokens.client_id,
        "client_secret": server.tokens.client_secret,
        "refresh_token": server.tokens.refresh_token,
        "token_expiry": None,
        "token_uri": f"{server.url}/token",
        "user_agent": None,
        "revoke_uri": None,
        "id_token": None,
        "token_response": None,
        "scopes": ["https://www.googleapis.com/auth/drive"],
        "token_info_uri": None,
        "id_token_jwt": None,
        "invalid": False,
        "_class": "OAuth2Credentials",
        "_module": "oauth2client.client",
    }
    path.write_text(json.dumps(content | changes))
    return path


class DriveHarness(StoreHarness):
    """Google Drive, by the loopback server."""

    name = backend_name = "gdrive"

    def __init__(self, server: DriveServer, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self._names: list[str] = []
        directory.mkdir(exist_ok=True)
        self.secrets = write_secrets(server, directory / "client_secrets.json")
        self.credentials = write_credentials(server, directory / "credentials.txt")
        super().__init__()

    def connection(self) -> dict[str, Any]:
        return {
            "ACCESS_KEY": str(self.secrets),
            "SECRET_KEY": str(self.credentials),
            "endpoint_url": self.server.url,
        }

    def fresh_bucket(self) -> str:
        name = f"drive-{next(_COUNTER)}"
        self._folder(self.server.store.root_id, name)
        self._names.append(name)
        return name

    def raw_put(
        self,
        key: str,
        body: bytes,
        metadata: Mapping[str, str] | None = None,
        bucket: str | None = None,
    ) -> None:
        store = self.server.store
        with store.lock:
            *folders, title = key.split("/")
            folder = self._bucket_id(bucket)
            for name in folders:
                folder = self._folder(folder, name)
            for old in self._children(folder, title):
                if not old.is_folder:
                    store.delete(old)
            store.insert(
                {
                    "title": title,
                    "parents": [{"id": folder}],
                    "properties": [
                        {"key": name, "value": value} for name, value in (metadata or {}).items()
                    ],
                },
                body,
                "application/octet-stream",
            )

    def raw_file(self, key: str, bucket: str | None = None) -> File:
        """Return the server's record of an object."""
        folder = self._bucket_id(bucket)
        *folders, title = key.split("/")
        with self.server.store.lock:
            for name in folders:
                inner = [file for file in self._children(folder, name) if file.is_folder]
                if not inner:
                    raise KeyError(key)
                folder = inner[0].id
            files = [file for file in self._children(folder, title) if not file.is_folder]
        if len(files) != 1:
            raise KeyError(key)
        return files[0]

    def raw_get(self, key: str, bucket: str | None = None) -> Stored:
        file = self.raw_file(key, bucket)
        with self.server.store.lock:
            return Stored(file.content, _metadata(file))

    def raw_keys(self, prefix: str = "", bucket: str | None = None) -> list[str]:
        found: list[str] = []

        def walk(folder: str, path: str) -> None:
            for file in self._children(folder):
                if file.is_folder:
                    walk(file.id, f"{path}{file.title}/")
                else:
                    found.append(path + file.title)

        with self.server.store.lock:
            walk(self._bucket_id(bucket), "")
        return sorted((key for key in found if key.startswith(prefix)), key=str.encode)

    def raw_delete(self, key: str, bucket: str | None = None) -> None:
        with self.server.store.lock:
            self.server.store.delete(self.raw_file(key, bucket))

    def close(self) -> None:
        store = self.server.store
        with store.lock:
            for folder in store.children(store.root_id):
                if folder.title in self._names:  # in the trash too
                    store.delete(folder)
        # Otherwise the memory of the server would grow with each test.
        self.server.forget()
        self.server.sessions.clear()

    # -- inside ----------------------------------------------------------------------------------

    def _children(self, folder: str, title: str | None = None) -> list[File]:
        return [
            file
            for file in self.server.store.children(folder)
            if not file.explicitly_trashed and title in (None, file.title)
        ]

    def _folder(self, parent: str, title: str) -> str:
        store = self.server.store
        with store.lock:
            for file in self._children(parent, title):
                if file.is_folder:
                    return file.id
            body = {"title": title, "mimeType": FOLDER, "parents": [{"id": parent}]}
            return store.insert(body, None, None).id

    def _bucket_id(self, bucket: str | None) -> str:
        name = self.bucket if bucket is None else bucket
        (folder,) = self._children(self.server.store.root_id, name)
        return folder.id


def _metadata(file: File) -> dict[str, str]:
    """Read metadata as docs/gdrive.md describes them."""
    found = {name: value for (name, mode), value in file.properties.items() if mode == "PRIVATE"}
    found |= {name: value for (name, mode), value in file.properties.items() if mode == "PUBLIC"}
    plain = {name: value for name, value in found.items() if not name.startswith("~")}
    if "~0" not in found:
        return plain
    count, _, text = found["~0"].partition(":")
    text += "".join(found[f"~{number}"] for number in range(1, int(count)))
    packed = json.loads(text)
    names = packed.get("names", plain)
    return {name: plain[name] for name in plain if name in names} | packed["values"]
