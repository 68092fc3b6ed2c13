"""From a cloud path to a store, and the stores that are kept for the next call."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cottoncandy.cloudfiles import secrets as credentials
from cottoncandy.cloudfiles.exceptions import UnsupportedProtocolError
from cottoncandy.cloudfiles.paths import (
    ExtractedPath,
    asprotocolpath,
    extract,
    service_provider,
    to_https_protocol,
)
from cottoncandy.config.options import Settings
from cottoncandy.core.names import prefix_of
from cottoncandy.core.threads import ForkSafeLock
from cottoncandy.exceptions import ConfigurationError, InvalidArgumentError
from cottoncandy.stores.connect import connect_to
from cottoncandy.stores.store import Store
from cottoncandy.stores.urls import StoreURL, mask, parse_url

#: Scheme of a URL -> protocol of a cloud path, where they differ.
_PROTOCOLS = {"gcs": "gs", "memory": "mem"}
_MAX_KEPT = 64

#: Stores by everything that shapes them; a store of S3 holds connections.
_stores: OrderedDict[tuple[Any, ...], Store] = OrderedDict()
_lock = ForkSafeLock()


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a ``CloudFiles`` that shape its connection."""

    secrets: str | Mapping[str, Any] | None = field(default=None, repr=False)
    use_https: bool = False
    endpoint: str | None = None
    request_payer: str | None = None
    composite_upload_threshold: int = 100_000_000
    no_sign_request: bool = False
    retries: int | None = None


def open_store(cloudpath: str, options: Options) -> tuple[Store, str]:
    """Return the store of a cloud path, and the prefix of its keys; no request is sent."""
    address = to_https_protocol(cloudpath) if options.use_https else cloudpath
    if address != cloudpath or options.no_sign_request:
        options = replace(options, secrets=None, no_sign_request=True)
    path = extract(address)
    given = _given(options.secrets)
    login_of = _LOGINS.get(path.protocol)
    extra = {} if login_of is None else login_of(path, options, given)
    if path.protocol == "file":
        url, extra = StoreURL("files", path.path), {"lazy": True}
    elif path.bucket is None:  # a web server, where the whole path is the bucket
        url = parse_url(f"{path.host}/{path.path}")
    else:
        url = parse_url(asprotocolpath(path._replace(path="")))
    settings = Settings.load()
    retries = settings.retries if options.retries is None else options.retries
    threshold = int(options.composite_upload_threshold)
    settings = replace(settings, mpu_use_threshold_bytes=threshold, retries=retries)
    # The type of credentials is enough: the secrets describe them.
    shape = json.dumps((extra, given), sort_keys=True, default=lambda value: type(value).__name__)
    kind = replace(url, bucket=path.host or "")
    identity = (kind, shape, settings, frozenset(os.environ.items()))
    with _lock:
        store = _stores.pop(identity, None)
        if store is None:
            store = connect_to(url, settings, **extra)
        _stores[identity] = store
        if len(_stores) > _MAX_KEPT:
            _stores.popitem(last=False)
    if store.bucket != url.bucket:
        store = store.in_bucket(url.bucket)
    if store.backend.creates_buckets and not store.backend.has_bucket(url.bucket):
        store.create_bucket()
    return store, "" if path.bucket is None else prefix_of(path.path.rstrip("/"))


def reset_connection_pools() -> None:
    """Forget all connections; the next call makes new ones."""
    with _lock:
        _stores.clear()


def factory_arguments(cloudpath: str, options: Options) -> dict[str, Any]:
    """Return the options for a cloud path, and its secrets, as arguments of a factory."""
    scheme, separator, rest = cloudpath.partition("://")
    protocol = scheme.lower()  # as parse_url() has it
    try:
        path = extract(_PROTOCOLS.get(protocol, protocol) + separator + rest)
    except UnsupportedProtocolError:
        return {}
    if path.protocol == "file":
        return {}
    if options.no_sign_request and "@" in (path.host or ""):
        raise InvalidArgumentError(
            f"the URL {mask(cloudpath)!r} contains a login; remove it to read public data"
        )
    login_of = _LOGINS.get(path.protocol)
    if login_of is None:
        return {"anon": True} if options.no_sign_request else {}  # which the backend rejects
    return login_of(path, options, _given(options.secrets))


def _s3_login(path: ExtractedPath, options: Options, given: dict[str, Any]) -> dict[str, Any]:
    if not given and not options.no_sign_request:
        given = credentials.aws_secrets(path.bucket or "", service_provider(path))
    arguments = {
        "ACCESS_KEY": given.get("AWS_ACCESS_KEY_ID"),
        "SECRET_KEY": given.get("AWS_SECRET_ACCESS_KEY"),
        "endpoint_url": path.host or options.endpoint,
        "anon": options.no_sign_request,
        "aws_session_token": given.get("AWS_SESSION_TOKEN"),
        "region_name": given.get("AWS_DEFAULT_REGION"),
        "request_payer": options.request_payer,
    }
    return {name: value for name, value in arguments.items() if value}


def _google_login(path: ExtractedPath, options: Options, given: dict[str, Any]) -> dict[str, Any]:
    extra: dict[str, Any] = {"anon": options.no_sign_request}
    if given:
        extra["credentials"] = credentials.service_account(given)
        extra["project"] = given.get("project_id")
    elif not options.no_sign_request:
        extra["credentials"] = credentials.google_secret_path(path.bucket or "")
    if options.request_payer:  # a project
        extra["request_payer"] = "requester"
        if options.request_payer != "requester":
            extra["project"] = options.request_payer
    return {name: value for name, value in extra.items() if value}


def _web_login(path: ExtractedPath, options: Options, given: dict[str, Any]) -> dict[str, Any]:
    if options.no_sign_request or "@" in (path.host or ""):
        return {}
    found = given or credentials.http_credentials() or {}
    return {"ACCESS_KEY": found.get("user"), "SECRET_KEY": found.get("password")}


def _cave_login(path: ExtractedPath, options: Options, given: dict[str, Any]) -> dict[str, Any]:
    if options.no_sign_request:
        return {}
    server = (path.host or "").partition("://")[2]
    token = (given or credentials.cave_credentials(server) or {}).get("token")
    return {"headers": {"Authorization": f"Bearer {token}"}} if token else {}


#: Protocol -> function that returns credentials and other options, as arguments of a factory.
_LOGINS: dict[str, Callable[[ExtractedPath, Options, dict[str, Any]], dict[str, Any]]] = {
    "gs": _google_login,
    "http": _web_login,
    "https": _web_login,
    "middleauth+https": _cave_login,
    "s3": _s3_login,
}


def _given(secrets: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the secrets that the user passed: a dictionary, JSON, or the path of a file of it."""
    if not isinstance(secrets, str):
        return dict(secrets or {})
    try:
        text = secrets if secrets.lstrip().startswith("{") else Path(secrets).read_text("utf-8")
        found = json.loads(text)
    except (OSError, ValueError):
        found = None  # not chained: messages repeat the text
    if not isinstance(found, dict):
        raise ConfigurationError("secrets must be a dict, a JSON object, or the path of one")
    return found
