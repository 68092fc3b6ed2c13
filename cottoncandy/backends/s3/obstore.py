"""obstore's stores: what boto3 knows of credentials, addresses and options, in its words."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.credentials import RefreshableCredentials
from obstore.store import S3Store

from cottoncandy.backends.s3.options import obstore_honors, proxy_for

if TYPE_CHECKING:
    from cottoncandy.backends.s3.connection import Connection

__all__ = ["ObstoreStores", "credential_provider"]

# How long obstore may use credentials that boto3 refreshes: botocore renews them ten minutes and
# more before they expire, so these are always good for longer.
_CREDENTIAL_LIFETIME = timedelta(minutes=5)

# A part of 16 MiB at 50 kB/s: obstore's read timeout starts when it begins to send.
_SLOW_UPLOAD_S = 320

# The process that first used obstore: its threads do not survive a fork.
_owner: list[int] = []


def _runtime_usable() -> bool:
    """Return whether obstore can be used in this process."""
    if not _owner:
        _owner.append(os.getpid())
    return _owner[0] == os.getpid()


def credential_provider(credentials: Any) -> Callable[[], dict[str, Any]]:
    """Return a function that obstore calls for boto3's credentials, refreshed if they expire."""

    def provide() -> dict[str, Any]:
        frozen = credentials.get_frozen_credentials()
        refreshed = isinstance(credentials, RefreshableCredentials)
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _CREDENTIAL_LIFETIME if refreshed else None,
        }

    return provide


class ObstoreStores:
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
        return self._connection.cached("botocore_only", self._is_botocore_only)

    def _is_botocore_only(self) -> bool:
        connection = self._connection
        return not obstore_honors(connection.client.meta.config, connection.endpoint)

    def store(self, bucket: str, acl: str | None = None, slow_upload: bool = False) -> S3Store:
        """Return obstore's store for a bucket; uploads through it get the ACL.

        Parameters
        ----------
        slow_upload : bool, default False
            True for large bodies, which take their time before there is a response.
        """
        key = ("store", bucket, acl, slow_upload)
        return self._connection.cached(key, lambda: self._make_store(bucket, acl, slow_upload))

    def _make_store(self, bucket: str, acl: str | None, slow_upload: bool) -> S3Store:
        unsigned = self._options.unsigned
        # The provider does not refer to the connection: that holds the stores, and the garbage
        # collector does not see into obstore, so none of them would ever be freed.
        # A provider in any case: obstore would pair our keys with the environment's token.
        provider = None if unsigned else credential_provider(self._connection.credentials())
        region = self._connection.bucket_region(bucket)
        endpoint, virtual = self._address(bucket, region)
        return S3Store(
            bucket,
            # This one beats AWS_ENDPOINT_URL_S3, which obstore reads from the environment.
            aws_endpoint_url_s3=endpoint,
            virtual_hosted_style_request=virtual,
            region=region,
            skip_signature=unsigned,
            client_options=self._client_options(endpoint, acl, slow_upload),  # type: ignore[arg-type]  # a TypedDict made piece by piece
            retry_config={"max_retries": 0},
            credential_provider=provider,  # type: ignore[arg-type]  # the same
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


def _is_address(host: str) -> bool:
    """Tell whether a host is given by its IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
