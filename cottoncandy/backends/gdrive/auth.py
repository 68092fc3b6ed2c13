"""Options and login: stored credentials, service accounts, the browser."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import webbrowser
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pydrive2.auth as pydrive
from oauth2client import client

from cottoncandy.backends.base import ConnectionArguments
from cottoncandy.config.location import user_directory
from cottoncandy.core.files import write_private
from cottoncandy.exceptions import ConfigurationError, CredentialsError

_log = logging.getLogger(__name__)

SCOPE = "https://www.googleapis.com/auth/drive"
METHODS = ("local", "console")
_PORTS = [8080, 8090, 8100, 8110]
_HELP = "docs/gdrive.md describes the set-up step by step"
_OPTIONS = ("auth_method", "http_timeout", "retries", "root")


@dataclass(frozen=True)
class GDriveOptions:
    """The options of a connection, as which it is pickled. They contain no secrets.

    Parameters
    ----------
    secrets : Path
        Client secrets of a desktop application, or the key of a service account (both JSON).
    credentials : Path
        File of the user's tokens; created by logging in.
    method : {None, "local", "console"}
        How to log in. None: in the browser, if there is one.
    timeout_s : float
        Timeout of connections, in seconds.
    endpoint_url : str, optional
        Address of a proxy or a test server; Google's by default.
    root : str
        Id or path of the folder that ``My Drive`` means.
    retries : int
        Retries of one request after transient errors, after random pauses of up to 2, 4, 8, ... s.
    upload_chunk_bytes, download_chunk_bytes : int
        How much is sent, or requested, at once.
    """

    secrets: Path = field(repr=False)
    credentials: Path = field(repr=False)
    method: str | None
    timeout_s: float
    endpoint_url: str | None
    root: str
    retries: int
    upload_chunk_bytes: int
    download_chunk_bytes: int

    @classmethod
    def of(cls, arguments: ConnectionArguments) -> GDriveOptions:
        """Validate and resolve the arguments passed to the factory.

        Raises
        ------
        ConfigurationError
            If an option is unknown or invalid.
        """
        extra, settings = arguments.extra, arguments.settings
        arguments.check_extra("gdrive", _OPTIONS)
        method = extra.get("auth_method")
        if method is not None and method not in METHODS:
            raise ConfigurationError(
                f"auth_method must be one of {', '.join(map(repr, METHODS))}, got {method!r}"
            )
        timeout = extra.get("http_timeout", 60.0)
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout <= 0:
            raise ConfigurationError(f"http_timeout must be a number of seconds, got {timeout!r}")
        retries = extra.get("retries", 6)
        if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= 20:
            raise ConfigurationError(f"retries must be a number from 0 to 20, got {retries!r}")
        root = extra.get("root", "root")
        if not isinstance(root, str) or not root:
            raise ConfigurationError(
                f"root must be the id of a folder, or a path that begins with '/', got {root!r}"
            )
        return cls(
            secrets=_in_config_folder(arguments.access_key or settings.gdrive_secrets),
            credentials=_in_config_folder(arguments.secret_key or settings.gdrive_credentials),
            method=method,
            timeout_s=float(timeout),
            endpoint_url=arguments.endpoint_url,
            root=root,
            retries=retries,
            upload_chunk_bytes=settings.mpu_chunksize_bytes,
            download_chunk_bytes=settings.mpd_chunksize_bytes,
        )


def _in_config_folder(name: str) -> Path:
    """Return the path of a file; a relative one is in the folder of the options file."""
    path = Path(name).expanduser()
    return path if path.is_absolute() else user_directory() / path


def make_auth(options: GDriveOptions) -> Any:
    """Return pydrive2's ``GoogleAuth`` with credentials in it.

    Nothing is sent, unless the user has to log in.

    Raises
    ------
    CredentialsError
        If there are none and the user cannot be prompted, or the files are malformed.
    """
    if options.credentials.exists():
        return _stored(options)
    return _service(options) if _is_service(options) else _ask(options)


class _QuietAuth(pydrive.GoogleAuth):  # type: ignore[misc]  # the library has no types
    """pydrive2's login, without its open connection and its message."""

    def Auth(self, code: str) -> None:  # noqa: N802 - pydrive2's name
        http = self._build_http()
        try:
            self.credentials = self.flow.step2_exchange(code, http=http)
        except client.FlowExchangeError as exc:
            raise pydrive.AuthenticationError(f"the code is rejected: {exc}") from exc
        finally:
            http.close()


def _auth(options: GDriveOptions, **settings: Any) -> Any:
    defaults = {
        "client_config_backend": "file",
        "client_config_file": str(options.secrets),
        "save_credentials": False,
        "get_refresh_token": True,
        "oauth_scope": [SCOPE],
    }

    return _QuietAuth(settings=defaults | settings, http_timeout=options.timeout_s)


def _stored(options: GDriveOptions) -> Any:
    auth = _auth(options)
    storage = _FileStorage(options.credentials)
    credentials = storage.get()
    if credentials is None:
        raise CredentialsError(
            f"the credentials file {options.credentials} is damaged; delete it and log in again"
        )
    auth.credentials = credentials
    return auth


def _is_service(options: GDriveOptions) -> bool:
    """Return whether the secrets belong to a service account, and not to a user."""
    try:
        content = json.loads(options.secrets.read_text("utf-8"))
    except FileNotFoundError:
        raise CredentialsError(
            f"there are no credentials for Google Drive: neither {options.credentials} nor "
            f"{options.secrets} exists. Download the client secrets from the Google Cloud console "
            f"and save them there; {_HELP}"
        ) from None
    except OSError as exc:
        raise CredentialsError(f"{options.secrets} cannot be read: {exc.strerror}") from exc
    except ValueError:
        content = None
    if isinstance(content, dict):
        if content.get("type") == "service_account":
            return True
        if "installed" in content or "web" in content:
            return False
    raise CredentialsError(
        f"{options.secrets} does not contain client secrets; it must be the JSON file that the "
        f"Google Cloud console offers for an OAuth client of type 'Desktop app', or the key of a "
        f"service account; {_HELP}"
    )


def _service(options: GDriveOptions) -> Any:
    config = {"client_json_file_path": str(options.secrets), "client_user_email": None}
    auth = _auth(options, client_config_backend="service", service_config=config)
    try:
        auth.ServiceAuth()
    except Exception as exc:  # noqa: BLE001 - of four libraries; nothing is sent
        # The cause is not chained: it may quote the private key.
        raise CredentialsError(
            f"the service account's key in {options.secrets} is malformed "
            f"({type(exc).__name__}); create a new key in the Google Cloud console"
        ) from None
    return auth


def _ask(options: GDriveOptions) -> Any:
    if os.environ.get("GDRIVE_NON_INTERACTIVE") or not _is_interactive():
        raise CredentialsError(
            f"not logged in to Google Drive, and there is no terminal to prompt in; "
            f"run cottoncandy.get_interface(backend='gdrive') once in a terminal, which creates "
            f"{options.credentials}; or copy that file from another computer; or save a service "
            f"account's key as {options.secrets}. {_HELP}"
        )
    auth = _auth(options)
    method = options.method or ("local" if _has_browser() else "console")
    try:
        if method == "local":
            with contextlib.redirect_stdout(sys.stderr):  # pydrive2 prints the address
                auth.LocalWebserverAuth(port_numbers=_PORTS)
        else:
            _console(auth)
    except pydrive.AuthenticationRejected as exc:
        raise CredentialsError("the login to Google Drive was denied in the browser") from exc
    except pydrive.InvalidConfigError as exc:
        raise CredentialsError(f"{options.secrets} is incomplete: {exc}; {_HELP}") from exc
    except pydrive.AuthError as exc:
        raise CredentialsError(f"the login to Google Drive failed: {exc}; {_HELP}") from exc
    auth.credentials.set_store(_FileStorage(options.credentials))
    _write_private(options.credentials, auth.credentials.to_json())
    return auth


def _is_interactive() -> bool:
    """Return whether the user can answer, in a terminal or a notebook."""
    ipython = sys.modules.get("IPython")
    if ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None:
        return True
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def _console(auth: Any) -> None:
    """Log in with a browser on another computer: the user pastes the resulting address.

    Google no longer shows a code to copy, and redirects the browser to localhost instead. On
    another computer that page does not load, but its address contains the code.
    """
    auth.GetFlow()
    auth.flow.redirect_uri = f"http://localhost:{_PORTS[0]}/"
    sys.stderr.write(
        f"Open this page in a browser, on any computer, and log in:\n\n    {auth.GetAuthUrl()}\n\n"
        f"The browser then goes to a page that may not load. Copy its address from the browser.\n"
    )
    sys.stderr.flush()
    pasted = input("Address (or code): ").strip()
    found = parse_qs(urlsplit(pasted).query)
    if "error" in found:
        raise CredentialsError(f"the login to Google Drive was denied: {found['error'][0]}")
    auth.Auth(found["code"][0] if "code" in found else pasted)


def _has_browser() -> bool:
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


class _FileStorage(client.Storage):  # type: ignore[misc]  # the library has no types
    """A credential store that writes files atomically, readable by the user only."""

    def __init__(self, path: Path) -> None:
        super().__init__(lock=threading.Lock())
        self._path = path

    def locked_get(self) -> Any:
        try:
            credentials = client.Credentials.new_from_json(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise CredentialsError(f"{self._path} cannot be read: {exc.strerror}") from exc
        except (ValueError, KeyError, TypeError, AttributeError, ImportError):
            return None  # malformed, or an unknown kind
        credentials.set_store(self)
        return credentials

    def locked_put(self, credentials: Any) -> None:
        try:
            _write_private(self._path, credentials.to_json())
        except ConfigurationError as exc:
            _log.warning("%s; the renewed login is valid for this program only", exc)

    def locked_delete(self) -> None:
        self._path.unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    """Replace a file atomically; mode 0600."""
    try:
        path.resolve().parent.mkdir(parents=True, exist_ok=True)
        write_private(path, text.encode(), replace=True)
    except OSError as exc:
        raise ConfigurationError(
            f"the credentials for Google Drive cannot be saved as {path}: {exc.strerror}"
        ) from exc
