"""The methods of the API, on the store."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from tests.servers.drive.errors import ApiError, invalid
from tests.servers.drive.query import parse_query
from tests.servers.drive.schema import Method, select
from tests.servers.drive.store import OWNER, File, Store, resource

ORDER_KEYS = {
    "createdDate": lambda file: file.created,
    "folder": lambda file: not file.is_folder,
    "modifiedDate": lambda file: file.modified,
    "quotaBytesUsed": lambda file: len(file.content) if file.revisions else 0,
    "title": lambda file: file.title.casefold(),
    "title_natural": lambda file: file.title.casefold(),
}


class Api:
    """What each method does; the caller holds the store's lock and has checked the shapes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.page_limit = 1000

    def call(
        self, method: Method, parts: dict[str, str], params: dict[str, Any], body: dict[str, Any]
    ) -> Any:
        """Run one method; the answer is cut to ``fields``."""
        name = method.name.replace(".", "_")
        run = getattr(self, f"_{name}", None)
        if run is None:
            raise ApiError(400, "badRequest", f"{method.name} is not served here")
        found = run(parts, params, body)
        return found if found is None else self._selected(method, params, found)

    def _selected(self, method: Method, params: dict[str, Any], found: Any) -> Any:
        if "fields" not in params:
            return found
        return select(found, params["fields"], method.spec["response"]["$ref"])

    def _file(self, parts: dict[str, str], params: dict[str, Any]) -> File:
        return self.store.find(parts["fileId"], all_drives=params.get("supportsAllDrives", False))

    # -- files ------------------------------------------------------------------------------------

    def _files_list(self, parts: Any, params: dict[str, Any], body: Any) -> dict[str, Any]:
        files = self._matching(params)
        for key in reversed(list(filter(None, params.get("orderBy", "").split(",")))):
            name, _, direction = key.partition(" ")
            if name not in ORDER_KEYS or direction not in ("", "desc"):
                raise invalid(f"Invalid orderBy {key}")
            files.sort(key=ORDER_KEYS[name], reverse=direction == "desc")
        page, token = self._page(files, params, 100, 1000)
        items = [resource(self.store, file) for file in page]
        answer = {"kind": "drive#fileList", "incompleteSearch": False, "items": items}
        return answer | ({"nextPageToken": token} if token else {})

    def _matching(self, params: dict[str, Any]) -> list[File]:
        everywhere = params.get("includeItemsFromAllDrives", False)
        supports = params.get("supportsAllDrives", False)
        corpora, drive_id = params.get("corpora", "default"), params.get("driveId")
        if everywhere and not supports:
            raise ApiError(403, "teamDrivesNotSupported", "supportsAllDrives must be true")
        if corpora not in ("default", "domain", "drive", "allDrives"):
            raise invalid(f"corpora cannot be {corpora!r}")
        if (corpora == "drive") != (drive_id is not None):
            raise invalid("corpora=drive goes with a driveId")
        if corpora in ("drive", "allDrives") and not everywhere:
            raise invalid("includeItemsFromAllDrives must be true")
        if drive_id is not None and drive_id not in self.store.drives:
            raise ApiError(404, "notFound", f"Shared drive not found: {drive_id}")

        test = parse_query(params.get("q", ""), self._folder_id)
        found = []
        for file in self.store.in_folders(test.folders):
            if not file.parents or file.hidden or (file.drive_id and not everywhere):
                continue
            if drive_id is not None and file.drive_id != drive_id:
                continue
            file.trashed = self.store.is_trashed(file)
            if test(file):
                found.append(file)
        return found

    def _folder_id(self, folder_id: str) -> str:
        if self.store.resolve(folder_id) not in self.store.files:
            raise ApiError(404, "notFound", "File not found: .")
        return self.store.resolve(folder_id)

    def _page(
        self, items: list[Any], params: dict[str, Any], default: int, most: int
    ) -> tuple[list[Any], str | None]:
        size = min(params.get("maxResults", default), most, self.page_limit)
        if size < 1:
            raise invalid("maxResults is at least 1")
        unpaged = {
            k: v for k, v in params.items() if k not in ("pageToken", "maxResults", "fields")
        }
        mark = hashlib.md5(json.dumps(unpaged, sort_keys=True).encode()).hexdigest()
        start = 0
        if "pageToken" in params:
            try:
                seen, position = base64.b64decode(params["pageToken"]).decode().split(":")
            except ValueError:
                raise invalid("Invalid pageToken") from None
            if seen != mark:
                raise invalid("the pageToken is of another query")
            start = int(position)
        stop = start + size
        more = base64.b64encode(f"{mark}:{stop}".encode()).decode() if stop < len(items) else None
        return items[start:stop], more

    def _files_get(self, parts: Any, params: dict[str, Any], body: Any) -> dict[str, Any]:
        return resource(self.store, self._file(parts, params))

    def _files_generateIds(self, parts: Any, params: dict[str, Any], body: Any) -> dict[str, Any]:
        ids = [self.store.new_id() for _ in range(params.get("maxResults", 10))]
        self.store.generated.update(ids)
        return {"kind": "drive#generatedIds", "space": params.get("space", "drive"), "ids": ids}

    def _files_insert(self, parts: Any, params: dict[str, Any], body: dict[str, Any]) -> Any:
        self._check_parents(params, body)
        return resource(self.store, self.store.insert(body, None, None))

    def _files_patch(self, parts: Any, params: dict[str, Any], body: dict[str, Any]) -> Any:
        return self._change(self._file(parts, params), params, body)

    _files_update = _files_patch

    def _change(
        self,
        file: File,
        params: dict[str, Any],
        body: dict[str, Any],
        content: bytes | None = None,
        mime_type: str | None = None,
    ) -> dict[str, Any]:
        changed = self.store.update(
            file,
            body,
            content,
            add=params.get("addParents", ""),
            remove=params.get("removeParents", ""),
            modified=params.get("modifiedDateBehavior", "nowIfNeeded"),
            mime_type=mime_type,
        )
        return resource(self.store, changed)

    def _files_copy(self, parts: Any, params: dict[str, Any], body: dict[str, Any]) -> Any:
        self._check_parents(params, body)
        return resource(self.store, self.store.copy(self._file(parts, params), body))

    def _files_delete(self, parts: Any, params: dict[str, Any], body: Any) -> None:
        self.store.delete(self._file(parts, params))

    def _files_trash(self, parts: Any, params: dict[str, Any], body: Any) -> dict[str, Any]:
        file = self._file(parts, params)
        file.explicitly_trashed = True
        return resource(self.store, file)

    def _files_untrash(self, parts: Any, params: dict[str, Any], body: Any) -> dict[str, Any]:
        file = self._file(parts, params)
        file.explicitly_trashed = False
        return resource(self.store, file)

    def _check_parents(self, params: dict[str, Any], body: dict[str, Any]) -> None:
        for parent in body.get("parents", []):
            self.store.find(parent["id"], all_drives=params.get("supportsAllDrives", False))

    # -- uploads ----------------------------------------------------------------------------------

    def check_upload(
        self, method: Method, file_id: str | None, params: dict[str, Any], body: dict[str, Any]
    ) -> None:
        if file_id is None:
            self._check_parents(params, body)
        else:
            self._file({"fileId": file_id}, params)

    def upload(
        self,
        method: Any,
        file_id: str | None,
        params: dict[str, Any],
        body: dict[str, Any],
        content: bytes,
        mime_type: str | None,
    ) -> Any:
        self.check_upload(method, file_id, params, body)
        if file_id is None:
            found = resource(self.store, self.store.insert(body, content, mime_type))
        else:
            file = self._file({"fileId": file_id}, params)
            found = self._change(file, params, body, content, mime_type)
        return self._selected(method, params, found)

    # -- properties and revisions -----------------------------------------------------------------

    def _properties_list(self, parts: Any, params: dict[str, Any], body: Any) -> dict[str, Any]:
        items = resource(self.store, self.store.find(parts["fileId"])).get("properties", [])
        return {"kind": "drive#propertyList", "items": items}

    def _properties_insert(self, parts: Any, params: dict[str, Any], body: dict[str, Any]) -> Any:
        file = self.store.find(parts["fileId"])
        self.store.set_property(
            file, body["key"], body.get("value", ""), body.get("visibility", "PRIVATE")
        )
        return {"kind": "drive#property", **body}

    def _properties_delete(self, parts: Any, params: dict[str, Any], body: Any) -> None:
        file = self.store.find(parts["fileId"])
        mark = (parts["propertyKey"], params.get("visibility", "PRIVATE"))
        if file.properties.pop(mark, None) is None:
            raise ApiError(404, "notFound", f"Property not found: {mark[0]}")

    def _revisions_list(self, parts: Any, params: dict[str, Any], body: Any) -> dict[str, Any]:
        file = self.store.find(parts["fileId"])
        items = [
            {"kind": "drive#revision", "id": name, "fileSize": str(len(data))}
            for name, data in file.revisions.items()
        ]
        return {"kind": "drive#revisionList", "items": items}

    # -- about and shared drives ------------------------------------------------------------------

    def _about_get(self, parts: Any, params: dict[str, Any], body: Any) -> dict[str, Any]:
        user = {"kind": "drive#user", "emailAddress": OWNER, "displayName": "Some One"}
        return {
            "kind": "drive#about",
            "name": "Some One",
            "user": user,
            "rootFolderId": self.store.root_id,
            "quotaBytesTotal": str(15 * 2**30),
        }

    def _drives_list(self, parts: Any, params: dict[str, Any], body: Any) -> dict[str, Any]:
        if "q" in params:
            raise invalid("searching shared drives is not served here")
        items, token = self._page(sorted(self.store.drives), params, 10, 100)
        answer = {
            "kind": "drive#driveList",
            "items": [self._drive(drive_id) for drive_id in items],
        }
        return answer | ({"nextPageToken": token} if token else {})

    def _drives_get(self, parts: dict[str, str], params: dict[str, Any], body: Any) -> Any:
        if parts["driveId"] not in self.store.drives:
            raise ApiError(404, "notFound", f"Shared drive not found: {parts['driveId']}")
        return self._drive(parts["driveId"])

    def _drive(self, drive_id: str) -> dict[str, Any]:
        created = self.store.files[drive_id].created
        name = self.store.drives[drive_id]
        return {"kind": "drive#drive", "id": drive_id, "name": name, "createdDate": created}
