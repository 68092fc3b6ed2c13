"""Clients of boto3 and stores of obstore, made when first needed, one set per process."""

from __future__ import annotations

import ipaddress
import logging
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.exceptions as boto
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from obstore.store import S3Store

from cottoncandy.backends.s3._certificates import certificates_in
from cottoncandy.backends.s3._credentials import NO_CREDENTIALS
from cottoncandy.backends.s3._elsewhere import install_check
from cottoncandy.backends.s3._errors import Where, translated
from cottoncandy.backends.s3._listing import install_parser
from cottoncandy.backends.s3._loader import make_session
from cottoncandy.backends.s3._options import S3Options
from cottoncandy.exceptions import ConfigurationError, CredentialsError

__all__ = ["Connection", "native_runtime_usable"]

T = TypeVar("T")

# How long obstore may use credentials that boto3 refreshes: botocore renews them ten minutes and
# more before they expire, so these are always good for longer.
_LEND = timedelta(minutes=5)

# A part of 16 MiB at 50 kB/s: obstore's read timeout starts when it begins to send.
_SLOW_UPLOAD_S = 320

_UNSUPPORTED_S3 = frozenset({"use_accelerate_endpoint", "use_dualstack_endpoint"})

_native_process: int | None = None
_native_lock = threading.Lock()


def native_runtime_usable() -> bool:
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
    return CredentialLender(Connection(options))


class Connection:
    """All connections of one backend.

    Parameters
    ----------
    options : S3Options
        What shapes them; all that is pickled.
    """

    def __init__(self, options: S3Options) -> None:
        self.options = options
        self._reset()

    def __reduce__(self) -> tuple[Any, ...]:
        return Connection, (self.options,)

    def _reset(self) -> None:
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._made: dict[Any, Any] = {}

    def _once(self, key: Any, make: Callable[[], T]) -> T:
        """Return what was made for a key, making it once per process."""
        if self._process != os.getpid():
            self._reset()
        try:
            made: T = self._made[key]
        except KeyError:
            with self._lock:
                if key not in self._made:
                    self._made[key] = make()
                made = self._made[key]
        return made

    # -- boto3 -----------------------------------------------------------------------------------

    @property
    def client(self) -> Any:
        """The boto3 client."""
        return self._once("client", self._make_client)

    @property
    def body_client(self) -> Any:
        """The boto3 client for requests that carry the MD5 of their body."""
        return self._once("body_client", lambda: self._make_client(sign_bodies=False))

    def signs_md5(self, bucket: str) -> bool:
        """Tell whether bodies in a bucket are protected by their MD5, with ``body_client``."""
        # S3 Express refuses it; who chose botocore's checksums has them.
        chosen = self.options.config.get("request_checksum_calculation")
        return chosen != "when_supported" and not bucket.endswith("--x-s3")

    @property
    def resource(self) -> Any:
        """The boto3 resource, on the same session."""
        return self._once("resource", self._make_resource)

    @property
    def endpoint(self) -> str:
        """Address of the store, as boto3 resolves it."""
        if self.options.endpoint_url is not None:
            return self.options.endpoint_url
        url: str = self.client.meta.endpoint_url
        return url

    @property
    def known_endpoint(self) -> str | None:
        """Address of the store; None where it takes a client to tell, and there is none yet."""
        return self.endpoint if self.options.endpoint_url or "client" in self._made else None

    @property
    def on_aws(self) -> bool:
        """Whether the store is Amazon's own."""
        return _is_aws(self.endpoint)

    def credentials(self) -> Any:
        """Return boto3's credentials.

        Raises
        ------
        CredentialsError
            If there are none.
        """
        with translated(Where("the credentials' source")):
            found = self._once("credentials", lambda: self._session.get_credentials())
        if found is None:
            raise CredentialsError(NO_CREDENTIALS)
        return found

    @property
    def _session(self) -> boto3.Session:
        return self._once("session", self._make_session)

    def _make_session(self) -> boto3.Session:
        pair = self.options.key_pair
        if self.options.settings.verbose_boto:
            # Levels, no handlers: it shows where the program shows its log.
            for name in ("boto3", "botocore"):
                logging.getLogger(name).setLevel(logging.DEBUG)
        try:
            return make_session(
                aws_access_key_id=pair.access_key if pair else None,
                aws_secret_access_key=pair.secret_key if pair else None,
                aws_session_token=self.options.session_token,
                region_name=self.options.region_name,
                profile_name=self.options.profile_name,
            )
        except boto.BotoCoreError as exc:
            raise ConfigurationError(f"boto3 can't make a session: {exc}") from exc

    def _arguments(self) -> dict[str, Any]:
        options = self.options
        return {
            "endpoint_url": options.endpoint_url,
            "region_name": self._region,
            "use_ssl": options.use_ssl,
            "verify": self._verify,
        }

    @property
    def _verify(self) -> bool | str:
        """Whether certificates are checked, or the file of those that are trusted."""
        return self._once("verify", self._resolve_verify)

    def _resolve_verify(self) -> bool | str:
        verify = self.options.verify
        if verify is None:
            # As botocore has it. An empty variable says nothing; to botocore it says False.
            verify = (
                self._session._session.get_config_variable("ca_bundle")
                or os.environ.get("REQUESTS_CA_BUNDLE")
                or True
            )
        if isinstance(verify, str):
            self._certificates(verify)  # a clear error now, instead of a failed connection
        return verify

    def _certificates(self, path: str) -> bytes:
        return self._once("certificates", lambda: certificates_in(path))

    @property
    def _region(self) -> str:
        return self.options.region_name or self._session.region_name or "us-east-1"

    def _make_client(self, *, sign_bodies: bool = True) -> Any:
        arguments = self._arguments()
        try:
            custom = self.options.endpoint_url is not None
            config = self._config(custom, sign_bodies)
            client = self._session.client("s3", config=config, **arguments)
            if not custom and not _is_aws(client.meta.endpoint_url):
                # The environment or a profile names another store.
                config = self._config(True, sign_bodies)
                client = self._session.client("s3", config=config, **arguments)
        except (boto.BotoCoreError, ValueError) as exc:
            raise ConfigurationError(f"boto3 can't make an S3 client: {exc}") from exc
        install_parser(client)
        return self._prepared(client)

    def _make_resource(self) -> Any:
        custom = self.options.endpoint_url is not None or not self.on_aws
        resource = self._session.resource("s3", config=self._config(custom), **self._arguments())
        self._prepared(resource.meta.client)
        return resource

    @staticmethod
    def _prepared(client: Any) -> Any:
        """Return a client after teaching it what botocore does not do for other stores."""
        _sign_for_ceph(client)
        endpoint: str = client.meta.endpoint_url
        if not _is_aws(endpoint):
            install_check(client, endpoint)
        return client

    def _config(self, custom: bool, sign_bodies: bool = True) -> Config:
        return self.options.botocore_config(custom_endpoint=custom, sign_bodies=sign_bodies)

    # -- obstore ---------------------------------------------------------------------------------

    @property
    def botocore_only(self) -> bool:
        """Whether the options ask for what only botocore does."""
        return self._once("botocore_only", self._is_botocore_only)

    def _is_botocore_only(self) -> bool:
        config = self.options.config
        s3 = config.get("s3") or {}
        proxies = config.get("proxies")
        return bool(
            self.options.signature_version not in (None, "s3v4", "v4")
            or config.get("client_cert")
            or config.get("proxies_config")
            or config.get("use_dualstack_endpoint")
            or config.get("use_fips_endpoint")
            or any(s3.get(name) for name in _UNSUPPORTED_S3)
            or len({*(proxies or {}).values()}) > 1
            # No proxy for this store, whatever the environment says.
            or (proxies is not None and not proxies.get(urlsplit(self.endpoint).scheme))
        )

    def store(self, bucket: str, *, acl: str | None = None, slow_upload: bool = False) -> S3Store:
        """Return obstore's store for a bucket; uploads through it get the ACL.

        Parameters
        ----------
        slow_upload : bool, default False
            True for large bodies, which take their time before there is an answer.
        """
        key = ("store", bucket, acl, slow_upload)
        return self._once(key, lambda: self._make_store(bucket, acl, slow_upload))

    def _make_store(self, bucket: str, acl: str | None, slow_upload: bool) -> S3Store:
        if not self.options.unsigned:
            self.credentials()  # a clear error now, instead of one from another thread
        region = self._bucket_region(bucket)
        endpoint, virtual = self._address(bucket, region)
        with translated(Where(self.endpoint, bucket)):
            return S3Store(
                bucket,
                # This one beats AWS_ENDPOINT_URL_S3, which obstore reads from the environment.
                aws_endpoint_url_s3=endpoint,
                virtual_hosted_style_request=virtual,
                region=region,
                skip_signature=self.options.unsigned,
                client_options=self._client_options(endpoint, acl, slow_upload),  # type: ignore[arg-type]  # a TypedDict made piece by piece
                retry_config=self._retries(),  # type: ignore[arg-type]  # the same
                # A provider in any case: obstore would pair our keys with the environment's token.
                credential_provider=(
                    None if self.options.unsigned else CredentialLender(self)  # type: ignore[arg-type]  # the same
                ),
            )

    def _address(self, bucket: str, region: str) -> tuple[str, bool]:
        """Return the endpoint as obstore wants it, and whether the bucket is in the host's name."""
        endpoint = self.endpoint
        if self.on_aws and self.options.endpoint_url is None and region != self._region:
            arguments = {**self._arguments(), "region_name": region}
            endpoint = self._session.client(
                "s3", config=self._config(False), **arguments
            ).meta.endpoint_url
        style = (self.options.config.get("s3") or {}).get("addressing_style")
        if style is None:
            style = "auto" if self.on_aws and self.options.endpoint_url is None else "path"
        # A certificate for *.s3.amazonaws.com covers no further dots.
        virtual = style == "virtual" or (style == "auto" and "." not in bucket and self.on_aws)
        # As botocore has it: a name can't stand before an address.
        virtual = virtual and not _is_address(urlsplit(endpoint).hostname or "")
        if virtual:
            scheme, _, rest = endpoint.partition("://")
            endpoint = f"{scheme}://{bucket}.{rest}"
        return endpoint, virtual

    def _bucket_region(self, bucket: str) -> str:
        if not self.on_aws:
            return self._region
        return self._once(("region", bucket), lambda: self._ask_region(bucket))

    def _ask_region(self, bucket: str) -> str:
        """Ask AWS where a bucket is; answers of refusal say so too."""
        try:
            response = self.client.head_bucket(Bucket=bucket)
        except boto.ClientError as exc:
            response = exc.response
        except boto.BotoCoreError:
            return self._region
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return headers.get("x-amz-bucket-region") or self._region

    def _client_options(self, endpoint: str, acl: str | None, slow_upload: bool) -> dict[str, Any]:
        # The stubs don't know botocore's options as attributes.
        config: Any = self.options.botocore_config(custom_endpoint=True)
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
        if proxies := self.options.config.get("proxies"):
            proxy = proxies[urlsplit(endpoint).scheme]
            options["proxy_url"] = proxy if "://" in proxy else f"http://{proxy}"
        verify = self._verify
        if verify is False:
            options["allow_invalid_certificates"] = True
        elif isinstance(verify, str):
            options["root_certificate"] = self._certificates(verify)
        return options

    @staticmethod
    def _user_agent(config: Any) -> str:
        from cottoncandy._version import __version__

        agent = config.user_agent or f"cottoncandy/{__version__}"
        extra: str | None = config.user_agent_extra
        return f"{agent} {extra}" if extra else agent

    def _retries(self) -> dict[str, Any]:
        retries = self.options.config.get("retries") or {}
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

    # -- facts learned on the way ----------------------------------------------------------------

    def facts(self, name: str) -> dict[Any, Any]:
        """Return a dictionary of this process for what was learned of the store under a name."""
        return self._once(("facts", name), dict)


def _sign_for_ceph(client: Any) -> None:
    """With signatures of version 2, have buckets' URLs end as the path that is signed."""
    if client.meta.config.signature_version == "s3":
        client.meta.events.register("before-sign.s3", _end_as_signed)


def _end_as_signed(request: Any, **_: Any) -> None:
    # botocore sends ``/bucket`` and signs ``/bucket/``, as AWS wants it; Ceph wants what was sent.
    url = urlsplit(request.url)
    if (request.auth_path or "").endswith("/") and not url.path.endswith("/"):
        request.url = url._replace(path=f"{url.path}/").geturl()


def _is_aws(endpoint: str) -> bool:
    """Tell whether an endpoint is Amazon's own."""
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _is_address(host: str) -> bool:
    """Tell whether a host is given by its IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
