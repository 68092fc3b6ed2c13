"""Logging in to Google Drive: stored tokens, service accounts, browsers, and no terminal."""

from __future__ import annotations

import io
import json
import pickle
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("pydrive2", reason="pydrive2 is not installed")

from cottoncandy import options
from cottoncandy.backends.base import ConnectionArguments
from cottoncandy.backends.gdrive import auth
from cottoncandy.backends.gdrive.backend import GDriveBackend
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import ConfigurationError, CredentialsError, MissingDependencyError
from tests.servers.drive import DriveServer
from tests.servers.drive.harness import DriveHarness, write_credentials, write_secrets

pytestmark = pytest.mark.server

PAST = "2020-01-01T00:00:00Z"


@pytest.fixture
def server() -> Iterator[DriveServer]:
    with DriveServer() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "config"
    made.mkdir()
    return made


class Terminal(io.StringIO):
    """A terminal as stdin."""

    def isatty(self) -> bool:
        return True


def connect(server: DriveServer, folder: Path, **extra: Any) -> GDriveBackend:
    """Return a backend that is logged in, as it is after its first request."""
    backend = GDriveBackend.connect(
        ConnectionArguments(
            None,
            str(folder / "client_secrets.json"),
            str(folder / "credentials.txt"),
            server.url,
            extra=extra,
        )
    )
    assert backend._connection.auth is not None
    return backend


def is_private(path: Path) -> bool:
    return stat.S_IMODE(path.stat().st_mode) == 0o600


def test_files_in_the_configuration_folder(
    server: DriveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    userdir = Path(options.userdir)
    userdir.mkdir(parents=True, exist_ok=True)
    write_credentials(server, userdir / "credentials.txt")
    backend = GDriveBackend.connect(ConnectionArguments(None, endpoint_url=server.url))
    assert backend.exists("name") is False


def test_an_expired_token_is_renewed_and_saved(server: DriveServer, folder: Path) -> None:
    write_credentials(server, folder / "credentials.txt", token_expiry=PAST)
    server.tokens.expire()
    backend = connect(server, folder)
    assert backend.exists("name") is False
    assert server.operations().count("token") == 1
    assert server.tokens.issued == 1
    stored = json.loads((folder / "credentials.txt").read_text())
    assert stored["access_token"] != "fake-access-token-1"
    assert stored["token_expiry"] > PAST
    assert is_private(folder / "credentials.txt")
    assert [path.name for path in folder.iterdir()] == ["credentials.txt"]


def test_a_token_that_drive_refuses_is_renewed(server: DriveServer, folder: Path) -> None:
    write_credentials(server, folder / "credentials.txt")
    backend = connect(server, folder)
    backend.put("name", Body.of(b"1"))
    server.tokens.expire()
    server.forget()
    with backend.get("name") as reader:
        assert reader.read() == b"1"
    assert server.operations() == ["files.list", "token", "files.list", "files.get_media"]
    for body in (b"x" * 20, b"x" * 2**24 + b"y"):
        server.tokens.expire()
        backend.put("name", Body.of(body))
    assert server.tokens.issued == 3


def test_threads_renew_once(server: DriveServer, folder: Path) -> None:
    write_credentials(server, folder / "credentials.txt")
    backend = connect(server, folder)
    server.tokens.expire()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(backend.exists, ["name"] * 32)) == [False] * 32
    assert server.tokens.issued == 1


def test_a_login_that_was_withdrawn(server: DriveServer, folder: Path) -> None:
    write_credentials(server, folder / "credentials.txt", token_expiry=PAST)
    server.tokens.expire()
    backend = connect(server, folder)
    server.tokens.revoked = True
    with pytest.raises(CredentialsError, match=r"7 days.*Delete .*credentials\.txt") as caught:
        backend.exists("name")
    assert server.tokens.refresh_token not in str(caught.value)


def test_drive_insists_on_401(server: DriveServer, folder: Path) -> None:
    write_credentials(server, folder / "credentials.txt")
    backend = connect(server, folder)
    server.fail("files.list", 401, "authError", times=3)
    with pytest.raises(CredentialsError, match="log in again"):
        backend.exists("name")


def test_failing_token_endpoint_is_retried(
    server: DriveServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_credentials(server, folder / "credentials.txt", token_expiry=PAST)
    server.tokens.expire()
    waits: list[float] = []
    monkeypatch.setattr("googleapiclient.http.time", SimpleNamespace(sleep=waits.append))
    backend = connect(server, folder)
    server.fail("token", 503, times=2)
    assert backend.exists("name") is False
    assert len(waits) == 2


def test_nothing_there_and_nobody_to_ask(
    server: DriveServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CredentialsError, match=r"Google Cloud console.*docs/gdrive\.md"):
        connect(server, folder)
    write_secrets(server, folder / "client_secrets.json")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(CredentialsError, match="no terminal") as caught:
        connect(server, folder)
    assert str(folder / "credentials.txt") in str(caught.value)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CredentialsError, match="no terminal"):
        connect(server, folder)
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setenv("GDRIVE_NON_INTERACTIVE", "1")
    with pytest.raises(CredentialsError, match="no terminal"):
        connect(server, folder)
    assert server.operations() == []


@pytest.mark.parametrize("text", ["", "{}", "[]", "no JSON", '{"other": {}}'])
def test_secrets_that_are_none(server: DriveServer, folder: Path, text: str) -> None:
    (folder / "client_secrets.json").write_text(text)
    with pytest.raises(CredentialsError, match="Desktop app"):
        connect(server, folder)


@pytest.mark.parametrize("text", ["", "{}", "no JSON", '{"_module": "os", "_class": "path"}'])
def test_damaged_credentials(server: DriveServer, folder: Path, text: str) -> None:
    (folder / "credentials.txt").write_text(text)
    with pytest.raises(CredentialsError, match="damaged"):
        connect(server, folder)


@pytest.mark.parametrize("pasted", ["http://localhost:8080/?state=1&code=fake-code", "fake-code"])
def test_console_login(
    server: DriveServer,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    pasted: str,
) -> None:
    write_secrets(server, folder / "client_secrets.json")
    monkeypatch.setattr(sys, "stdin", Terminal(pasted + "\n"))
    backend = connect(server, folder, auth_method="console")
    said = capsys.readouterr()
    assert f"{server.url}/auth?" in said.err
    assert "access_type=offline" in said.err
    assert is_private(folder / "credentials.txt")
    assert backend.exists("name") is False
    # No second prompt.
    monkeypatch.setattr(sys, "stdin", None)
    assert connect(server, folder).exists("name") is False


def test_console_login_refused(
    server: DriveServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_secrets(server, folder / "client_secrets.json")
    for pasted, words in (
        ("http://localhost:8080/?error=access_denied", "denied"),
        ("?", "failed"),
    ):
        monkeypatch.setattr(sys, "stdin", Terminal(pasted + "\n"))
        with pytest.raises(CredentialsError, match=words):
            connect(server, folder, auth_method="console")
    assert not (folder / "credentials.txt").exists()


def test_incomplete_secrets(
    server: DriveServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {"client_id": "fake", "client_secret": "fake", "auth_uri": "x", "token_uri": "y"}
    (folder / "client_secrets.json").write_text(json.dumps({"installed": secrets}))
    monkeypatch.setattr(sys, "stdin", Terminal("fake-code\n"))
    with pytest.raises(CredentialsError, match="incomplete"):
        connect(server, folder, auth_method="console")


def test_browser_login(server: DriveServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's browser is sent back to a web server of pydrive2's."""
    import threading
    import urllib.request
    import webbrowser
    from urllib.parse import parse_qs, urlsplit

    write_secrets(server, folder / "client_secrets.json")
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(auth, "_PORTS", [0])

    def redirect_server(address: tuple[str, int], handler: Any) -> Any:
        from oauth2client.tools import ClientRedirectServer

        made = ClientRedirectServer(address, handler)
        opened.append(made)
        return made

    def browse(url: str, **_: Any) -> bool:
        assert parse_qs(urlsplit(url).query)["client_id"] == [server.tokens.client_id]
        back = f"http://localhost:{opened[0].server_port}/?code=fake-code"
        visit = threading.Thread(target=lambda: urllib.request.urlopen(back).read())
        visit.start()
        visits.append(visit)
        return True

    opened: list[Any] = []
    visits: list[threading.Thread] = []
    monkeypatch.setattr("pydrive2.auth.ClientRedirectServer", redirect_server)
    monkeypatch.setattr(webbrowser, "open", browse)
    backend = connect(server, folder, auth_method="local")
    visits[0].join()
    opened[0].server_close()
    assert backend.exists("name") is False
    assert is_private(folder / "credentials.txt")


@pytest.mark.filterwarnings("ignore:.*sign.* is deprecated:DeprecationWarning")
def test_service_account(server: DriveServer, folder: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    server.tokens.public_key = key.public_key()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    content = {
        "type": "service_account",
        "project_id": "fake-project",
        "private_key_id": "fake-key-id",
        "private_key": pem.decode(),
        "client_email": server.tokens.service_account,
        "client_id": "fake-client-id",
        "token_uri": f"{server.url}/token",
    }
    (folder / "client_secrets.json").write_text(json.dumps(content))
    backend = connect(server, folder)
    assert server.operations() == []
    backend.put("name", Body.of(b"x"))
    assert backend.head("name").size == 1
    assert server.tokens.issued == 1
    server.tokens.expire()
    assert pickle.loads(pickle.dumps(backend)).exists("name")
    content["private_key"] = "no key"
    (folder / "client_secrets.json").write_text(json.dumps(content))
    with pytest.raises(CredentialsError, match="is malformed"):
        connect(server, folder)


def test_credentials_that_cannot_be_saved(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be saved"):
        auth._write_private(folder / "file" / "credentials.txt", "{}")


def test_a_renewed_login_that_cannot_be_saved(
    server: DriveServer,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_credentials(server, folder / "credentials.txt", token_expiry=PAST)
    server.tokens.expire()
    backend = connect(server, folder)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(auth, "write_private", refuse)
    assert backend.exists("name") is False
    assert "cannot be saved" in caplog.text
    assert backend.exists("name") is False
    assert server.tokens.issued == 1


def test_no_secrets_in_sight(server: DriveServer, tmp_path: Path) -> None:
    harness = DriveHarness(server, tmp_path)
    backend = harness.backend()
    backend.exists("name")
    tokens = server.tokens
    seen = repr(backend) + backend.describe() + repr(vars(backend)) + repr(pickle.dumps(backend))
    for secret in (tokens.client_secret, tokens.refresh_token, "fake-access-token"):
        assert secret not in seen


def test_pydrive_is_imported_when_used_and_missed_clearly(tmp_path: Path) -> None:
    code = (
        "import sys; import cottoncandy\n"
        "cottoncandy.get_interface('b', backend='memory', verbose=False)\n"
        "unwanted = {'pydrive2', 'googleapiclient', 'httplib2', 'oauth2client'}\n"
        "assert not unwanted & set(sys.modules)\n"
        "sys.modules['pydrive2'] = None\n"
        "from cottoncandy.exceptions import MissingDependencyError\n"
        "try: cottoncandy.get_interface(backend='gdrive')\n"
        "except MissingDependencyError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "cottoncandy[gdrive]"' in done.stdout
    assert issubclass(MissingDependencyError, ImportError)
