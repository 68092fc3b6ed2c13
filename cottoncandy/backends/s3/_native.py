"""obstore's stores: what boto3 knows of credentials, addresses and options, in its words."""

from __future__ import annotations

import ipaddress
import os
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.credentials import RefreshableCredentials
from obstore.store import S3Store

from cottoncandy.backends.s3._errors import S3Location, translated
from cottoncandy.backends.s3._options import obstore_honors, proxy_for

if TYPE_CHECKING:
    from cottoncandy.backends.s3._connection import Connection
    from cottoncandy.backends.s3._options import S3Options

__all__ = ["CredentialLender", "NativeStores"]

# How long obstore may use credentials that boto3 refreshes: botocore renews them ten minutes and
# more before they expire, so these are always good for longer.
_LEND = timedelta(minutes=5)

# A part of 16 MiB at 50 kB/s: obstore's read timeout starts when it begins to send.
_SLOW_UPLOAD_S = 320

_native_process: int | None = None
_native_lock = threading.Lock()


def _runtime_usable() -> bool:
    """Tell whether obstore can be used: its threads don't survive a fork."""
    global _native_process  # a fact about the process, not a setting
    with _native_lock:
        if _native_process is None:
            _native_process = os.getpid()
        return _native_process == os.getpid()


class CredentialLender:
    """Hands boto3's credentials to obstore, refreshed where they expire. It pickles as options."""

    def __init__(self, connection: Connection) -> None:
        self._options = connection.options
        # Not the connection: it holds the stores that hold this lender, and the garbage collector
        # does not see into obstore, so none of them would ever go.
        self._credentials = connection.credentials()

    def __reduce__(self) -> tuple[Any, ...]:
        return _lender_of, (self._options,)

    def __call__(self) -> dict[str, Any]:
        frozen = self._credentials.get_frozen_credentials()
        refreshed = isinstance(self._credentials, RefreshableCredentials)
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _LEND if refreshed else None,
        }


def _lender_of(options: S3Options) -> CredentialLender:
    from cottoncandy.backends.s3._connection import Connection

    return CredentialLender(Connection(options))


class NativeStores:
    """The stores of one connection, one for each bucket.

    Parameters
    ----------
    connection : Connection
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._options = connection.options

    @property
    def usable(self) -> bool:
        """Whether obstore can do what the options ask for, in this process."""
        return not self.botocore_only and _runtime_usable()

    @property
    def botocore_only(self) -> bool:
        """Whether the options ask for what only botocore does."""
        return self._connection.once("botocore_only", self._is_botocore_only)

    def _is_botocore_only(self) -> bool:
        connection = self._connection
        return not obstore_honors(connection.client.meta.config, connection.endpoint)

    def store(self, bucket: str, *, acl: str | None = None, slow_upload: bool = False) -> S3Store:
        """Return obstore's store for a bucket; uploads through it get the ACL.

        Parameters
        ----------
        slow_upload : bool, default False
            True for large bodies, which take their time before there is an answer.
        """
        key = ("store", bucket, acl, slow_upload)
        return self._connection.once(key, lambda: self._make_store(bucket, acl, slow_upload))

    def _make_store(self, bucket: str, acl: str | None, slow_upload: bool) -> S3Store:
        if not self._options.unsigned:
            self._connection.credentials()  # a clear error now, instead of one from another thread
        region = self._connection.bucket_region(bucket)
        endpoint, virtual = self._address(bucket, region)
        with translated(S3Location(self._connection.endpoint, bucket)):
            return S3Store(
                bucket,
                # This one beats AWS_ENDPOINT_URL_S3, which obstore reads from the environment.
                aws_endpoint_url_s3=endpoint,
                virtual_hosted_style_request=virtual,
                region=region,
                skip_signature=self._options.unsigned,
                client_options=self._client_options(endpoint, acl, slow_upload),  # type: ignore[arg-type]  # a TypedDict made piece by piece
                retry_config=self._retries(),  # type: ignore[arg-type]  # the same
                # A provider in any case: obstore would pair our keys with the environment's token.
                credential_provider=(
                    None if self._options.unsigned else CredentialLender(self._connection)  # type: ignore[arg-type]  # the same
                ),
            )

    def _address(self, bucket: str, region: str) -> tuple[str, bool]:
        """Return the endpoint as obstore wants it, and whether the bucket is in the host's name."""
        connection = self._connection
        endpoint, on_aws = connection.endpoint, connection.on_aws
        resolved = on_aws and self._options.endpoint_url is None  # by boto3, for its own region
        if resolved and region != connection.region:
            endpoint = connection.endpoint_in(region)
        # A profile may have chosen it, too.
        style = (connection.client.meta.config.s3 or {}).get("addressing_style")
        if style is None:
            style = "auto" if resolved else "path"
        # A certificate for *.s3.amazonaws.com covers no further dots.
        virtual = style == "virtual" or (style == "auto" and "." not in bucket and on_aws)
        # As botocore has it: a name can't stand before an address.
        virtual = virtual and not _is_address(urlsplit(endpoint).hostname or "")
        if virtual:
            scheme, _, rest = endpoint.partition("://")
            endpoint = f"{scheme}://{bucket}.{rest}"
        return endpoint, virtual

    def _client_options(self, endpoint: str, acl: str | None, slow_upload: bool) -> dict[str, Any]:
        # The stubs don't know botocore's options as attributes.
        config: Any = self._options.botocore_config(custom_endpoint=True)
        read_timeout = float(config.read_timeout) + (_SLOW_UPLOAD_S if slow_upload else 0)
        options: dict[str, Any] = {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=float(config.connect_timeout)),
            "read_timeout": timedelta(seconds=read_timeout),
            # Of the whole request; botocore has no such limit, and large bodies take long.
            "timeout": timedelta(hours=6),
            "pool_max_idle_per_host": str(config.max_pool_connections),
            "user_agent": self._user_agent(config),
        }
        if acl is not None:
            options["default_headers"] = {"x-amz-acl": acl}
        if proxy := proxy_for(config, endpoint):
            options["proxy_url"] = proxy
        verify = self._connection.verify
        if verify is False:
            options["allow_invalid_certificates"] = True
        elif isinstance(verify, str):
            options["root_certificate"] = self._connection.certificates(verify)
        return options

    @staticmethod
    def _user_agent(config: Any) -> str:
        from cottoncandy._version import __version__

        agent = config.user_agent or f"cottoncandy/{__version__}"
        extra: str | None = config.user_agent_extra
        return f"{agent} {extra}" if extra else agent

    def _retries(self) -> dict[str, Any]:
        retries = self._options.config.get("retries") or {}
        attempts = 5
        if "total_max_attempts" in retries:
            attempts = retries["total_max_attempts"] - 1
        elif "max_attempts" in retries:
            # In botocore this counts retries, but requests in the file and the environment.
            attempts = retries["max_attempts"]
        return {
            "max_retries": max(int(attempts), 0),
            # Jittered: 0.2 s, then up to three times the pause before. A dead endpoint is
            # reported after 4 s on average.
            "backoff": {
                "init_backoff": timedelta(milliseconds=200),
                "max_backoff": timedelta(seconds=10),
                "base": 3,
            },
            "retry_timeout": timedelta(minutes=3),
        }


def _is_address(host: str) -> bool:
    """Tell whether a host is given by its IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
