"""The HTTP server, its faults and its record of requests."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.servers.drive import uploads
from tests.servers.drive.api import Api
from tests.servers.drive.errors import ApiError, invalid
from tests.servers.drive.schema import BASE, check_body, check_parameters, route
from tests.servers.drive.store import Store, resource
from tests.servers.drive.tokens import Tokens

UPLOAD = "/upload" + BASE


@dataclass(frozen=True)
class Recorded:
    """One request as received; ``operation`` is like ``files.list``."""

    operation: str
    verb: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests that match.

    ``status`` answers with an error; ``drop`` closes the connection without an answer, after the
    work was done if ``after``; ``truncate`` sends that many bytes of the body, then closes;
    ``accept`` keeps that many bytes of an upload's chunk.
    """

    operation: str
    status: int = 0
    reason: str = "backendError"
    times: int = 1
    skip: int = 0
    drop: bool = False
    after: bool = False
    truncate: int | None = None
    accept: int | None = None
    domain: str = "global"
    met: int = 0


@dataclass
class Answer:
    """What goes back."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class DriveServer:
    """One Drive, on a free port of the loopback interface; a context manager."""

    def __init__(self) -> None:
        self.store = Store()
        self.tokens = Tokens()
        self.api = Api(self.store)
        self.requests: list[Recorded] = []
        self.faults: list[Fault] = []
        self.sessions: dict[str, uploads.Session] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"drive": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self.store.url = self.url
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    # -- for tests --------------------------------------------------------------------------------

    def fail(
        self, operation: str, status: int = 0, reason: str = "backendError", **how: Any
    ) -> Fault:
        """Break coming requests whose operation is ``operation`` (a regular expression)."""
        fault = Fault(operation, status, reason, **how)
        with self._lock:
            self.faults.append(fault)
        return fault

    def operations(self) -> list[str]:
        """Return the operations of the requests so far."""
        with self._lock:
            return [request.operation for request in self.requests]

    def forget(self) -> None:
        """Empty the record of requests."""
        with self._lock:
            self.requests.clear()

    # -- answering --------------------------------------------------------------------------------

    def fault_for(self, operation: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and re.fullmatch(fault.operation, operation):
                    if fault.skip > 0:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    fault.met += 1
                    return fault
        return None

    def answer(
        self, verb: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[Answer, Fault | None]:
        split = urlsplit(target)
        # The client library turns a GET with a very long address into a POST.
        if verb == "POST" and headers.get("x-http-method-override") == "GET":
            verb, query, body = "GET", body.decode(), b""
        else:
            query = split.query
        pairs = parse_qsl(query, keep_blank_values=True)
        params = dict(pairs)
        operation, run = self._plan(verb, split.path, params, headers, body)
        with self._lock:
            self.requests.append(Recorded(operation, verb, split.path, params, headers, body))
        fault = self.fault_for(operation)
        if fault is not None and fault.status:
            raise ApiError(fault.status, fault.reason, f"a fault: {fault.reason}", fault.domain)
        if len(pairs) != len(params):
            raise invalid("a parameter was given twice")
        if fault is not None and fault.drop and not fault.after:
            return Answer(), fault
        if split.path != "/token":
            self.tokens.check(headers.get("authorization"))
        with self.store.lock:
            return run(fault), fault

    def _plan(
        self, verb: str, path: str, params: dict[str, str], headers: dict[str, str], body: bytes
    ) -> tuple[str, Any]:
        """Return the operation's name, and what carries it out."""
        if (verb, path) == ("POST", "/token"):
            return "token", lambda fault: self._token(body)
        try:
            if path.startswith(UPLOAD):
                return self._plan_upload(verb, path.removeprefix(UPLOAD), params, headers, body)
            if not path.startswith(BASE):
                raise ApiError(400, "badRequest", f"nothing is at {path}")
            method, parts = route(verb, path.removeprefix(BASE))
        except ApiError as error:
            return "unknown", _raising(error)

        def run(fault: Fault | None) -> Answer:
            typed = check_parameters(method, params)
            if params.get("uploadType"):
                raise invalid("uploads go to /upload")
            if typed.get("alt", "json") == "media":
                if not method.spec.get("supportsMediaDownload"):
                    raise invalid(f"{method.name} has no media")
                return self._media(parts, typed, headers)
            data: dict[str, Any] = {}
            if "request" in method.spec:
                if not headers.get("content-type", "").startswith("application/json"):
                    raise invalid("the body is application/json")
                data = _parse(body)
                check_body(data, method.spec["request"])
            elif body:
                raise invalid(f"{method.name} takes no body")
            found = self.api.call(method, {k: unquote(v) for k, v in parts.items()}, typed, data)
            return Answer(204) if found is None else _json(found)

        name = method.name
        return ("files.get_media" if params.get("alt") == "media" else name), run

    def _token(self, body: bytes) -> Answer:
        status, answer = self.tokens.answer(dict(parse_qsl(body.decode())))
        return _json(answer, status)

    def _media(
        self, parts: dict[str, str], params: dict[str, Any], headers: dict[str, str]
    ) -> Answer:
        file = self.store.find(
            unquote(parts["fileId"]), all_drives=params.get("supportsAllDrives", False)
        )
        if not file.revisions:
            raise ApiError(403, "fileNotDownloadable", "Only files with binary content")
        revision = params.get("revisionId", file.head)
        if revision != file.head and not file.can_read_revisions:
            raise ApiError(403, "insufficientFilePermissions", "no permission to read revisions")
        if revision not in file.revisions:
            raise ApiError(404, "notFound", f"Revision not found: {revision}")
        content = file.revisions[revision]
        kind = {"Content-Type": file.mime_type}
        wanted = headers.get("range")
        if wanted is None:
            return Answer(200, content, kind)
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
        if match is None:
            raise invalid(f"bad Range {wanted}")
        start, stop = int(match[1]), min(int(match[2]) + 1, len(content))
        if start >= len(content):
            raise ApiError(416, "requestedRangeNotSatisfiable", "Request range not satisfiable")
        kind["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return Answer(206, content[start:stop], kind)

    # -- uploads ----------------------------------------------------------------------------------

    def _plan_upload(
        self, verb: str, path: str, params: dict[str, str], headers: dict[str, str], body: bytes
    ) -> tuple[str, Any]:
        if "upload_id" in params:
            return "upload.chunk" if verb == "PUT" else "upload.cancel", (
                lambda fault: self._chunk(verb, params["upload_id"], headers, body, fault)
            )
        method, parts = route(verb, path)
        if "mediaUpload" not in method.spec:
            raise invalid(f"{method.name} takes no upload")
        kind = params.get("uploadType")
        if kind not in ("media", "multipart", "resumable"):
            raise invalid(f"uploadType cannot be {kind!r}")

        def run(fault: Fault | None) -> Answer:
            typed = check_parameters(method, params)
            file_id = parts.get("fileId")
            if kind == "resumable":
                return self._start(method, typed, file_id, headers, body)
            content_type = headers.get("content-type", "")
            if kind == "multipart":
                data, content, mime_type = uploads.split_multipart(content_type, body)
            else:
                data, content, mime_type = {}, body, content_type
            check_body(data, method.spec["request"])
            return _json(self.api.upload(method, file_id, typed, data, content, mime_type))

        return f"{method.name}.{kind}", run

    def _start(
        self,
        method: Any,
        params: dict[str, Any],
        file_id: str | None,
        headers: dict[str, str],
        body: bytes,
    ) -> Answer:
        data = _parse(body) if body else {}
        check_body(data, method.spec["request"])
        self.api.check_upload(method, file_id, params, data)
        length = headers.get("x-upload-content-length")
        session = uploads.Session(
            f"fakeUploadSession{len(self.sessions)}",
            method,
            file_id,
            params,
            data,
            headers.get("x-upload-content-type"),
            int(length) if length else None,
        )
        self.sessions[session.id] = session
        where = f"{self.url}{UPLOAD}files?uploadType=resumable&upload_id={session.id}"
        return Answer(200, b"", {"Location": where})

    def _chunk(
        self, verb: str, upload_id: str, headers: dict[str, str], body: bytes, fault: Fault | None
    ) -> Answer:
        session = self.sessions.get(upload_id)
        if session is None:
            raise ApiError(404, "notFound", "no such upload session")
        if verb == "DELETE":
            del self.sessions[upload_id]
            return Answer(499)
        if session.answer is None:
            accept = fault.accept if fault is not None else None
            done = uploads.receive(session, headers.get("content-range", ""), body, accept)
            if not done:
                held = len(session.received)
                return Answer(308, b"", {"Range": f"bytes=0-{held - 1}"} if held else {})
            session.answer = self.api.upload(
                session.operation,
                session.file_id,
                session.params,
                session.body,
                bytes(session.received),
                session.mime_type,
            )
        return _json(session.answer)

    def file_at(self, path: str) -> dict[str, Any]:
        """Return the newest file at a path below My Drive, as the API would show it."""
        with self.store.lock:
            here = self.store.files[self.store.root_id]
            for title in path.split("/"):
                found = [
                    file
                    for file in self.store.children(here.id)
                    if file.title == title and not self.store.is_trashed(file)
                ]
                if not found:
                    raise FileNotFoundError(path)
                here = max(found, key=lambda file: file.modified)
            return resource(self.store, here)


def _raising(error: ApiError) -> Any:
    def run(fault: Fault | None) -> Answer:
        raise error

    return run


def _parse(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except ValueError:
        raise ApiError(400, "parseError", "Parse Error") from None
    if not isinstance(data, dict):
        raise ApiError(400, "parseError", "Parse Error")
    return data


def _json(value: Any, status: int = 200) -> Answer:
    body = json.dumps(value).encode()
    return Answer(status, body, {"Content-Type": "application/json; charset=UTF-8"})


class _Handler(BaseHTTPRequestHandler):
    drive: DriveServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = None
        try:
            answer, fault = self.drive.answer(self.command, self.path, headers, body)
        except ApiError as error:
            answer = _json(error.body(), error.status)
        if fault is not None and fault.drop:
            self.close_connection = True
            return
        head = [f"HTTP/1.1 {answer.status} Status"]
        fields = {**answer.headers, "Content-Length": str(len(answer.body))}
        head += [f"{name}: {value}" for name, value in fields.items()]
        data = answer.body
        if fault is not None and fault.truncate is not None:
            data, self.close_connection = data[: fault.truncate], True
        self.wfile.write("\r\n".join([*head, "", ""]).encode() + data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, *args: Any) -> None:
        """Log nothing."""
