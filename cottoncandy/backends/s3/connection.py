"""Clients of boto3, made when first needed, one set per process; obstore's stores follow them."""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.exceptions as boto
import botocore.session
from botocore.config import Config

from cottoncandy.backends.s3.certificates import certificates_in
from cottoncandy.backends.s3.credentials import NO_CREDENTIALS
from cottoncandy.backends.s3.errors import S3Location, redact, translated
from cottoncandy.backends.s3.listing import install_parser
from cottoncandy.backends.s3.loader import make_session
from cottoncandy.backends.s3.obstore import ObstoreStores
from cottoncandy.backends.s3.options import S3Options
from cottoncandy.backends.s3.redirects import install_redirect_check
from cottoncandy.core.threads import after_fork
from cottoncandy.exceptions import ConfigurationError, CredentialsError

__all__ = ["Connection"]

T = TypeVar("T")


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
        after_fork(self._reset_in_child)

    def __reduce__(self) -> tuple[Any, ...]:
        return Connection, (self.options,)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._made: dict[Any, Any] = {}

    def _reset_in_child(self) -> None:
        """Give a forked child clients of its own; the parent's are never freed, which may block."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._made))
        self._reset()

    def cached(self, key: Any, make: Callable[[], T]) -> T:
        """Return what was made for a key, making it once per process."""
        try:
            made: T = self._made[key]
        except KeyError:
            with self._lock:
                if key not in self._made:
                    self._made[key] = make()
                made = self._made[key]
        return made

    @property
    def client(self) -> Any:
        """The boto3 client."""
        return self.cached("client", self._make_client)

    @property
    def body_client(self) -> Any:
        """The boto3 client for requests that carry the MD5 of their body."""
        return self.cached("body_client", lambda: self._make_client(sign_bodies=False))

    def signs_md5(self, bucket: str) -> bool:
        """Tell whether bodies in a bucket are protected by their MD5, with ``body_client``."""
        # S3 Express refuses it; who chose botocore's checksums has them.
        chosen = self.options.config.get("request_checksum_calculation")
        return chosen != "when_supported" and not bucket.endswith("--x-s3")

    @property
    def resource(self) -> Any:
        """The boto3 resource, on the same session."""
        return self.cached("resource", self._make_resource)

    @property
    def endpoint(self) -> str:
        """Address of the store, as boto3 resolves it."""
        if self.options.endpoint_url is not None:
            return self.options.endpoint_url
        url: str = self.client.meta.endpoint_url
        return url

    def endpoint_in(self, region: str) -> str:
        """Return the address of Amazon's own store in a region."""
        arguments = {**self._arguments(), "region_name": region}
        client = self.session.client("s3", config=self._config(False), **arguments)
        url: str = client.meta.endpoint_url
        return url

    @property
    def cached_endpoint(self) -> str | None:
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
        with translated(S3Location("the credentials' source")):
            found = self.cached("credentials", lambda: self.session.get_credentials())
        if found is None:
            raise CredentialsError(NO_CREDENTIALS)
        return found

    @property
    def session(self) -> boto3.Session:
        """The boto3 session: profile, credentials and region."""
        return self._sessions[0]

    @property
    def _sessions(self) -> tuple[boto3.Session, botocore.session.Session]:
        return self.cached("sessions", self._make_sessions)

    def _make_sessions(self) -> tuple[boto3.Session, botocore.session.Session]:
        pair = self.options.key_pair
        if self.options.settings.verbose_boto:
            # Levels, no handlers: it shows where the program shows its log.
            for name in ("boto3", "botocore"):
                logging.getLogger(name).setLevel(logging.DEBUG)
        try:
            core = make_session(self.options.profile_name)
            session = boto3.Session(
                botocore_session=core,
                aws_access_key_id=pair.access_key if pair else None,
                aws_secret_access_key=pair.secret_key if pair else None,
                aws_session_token=self.options.session_token,
                region_name=self.options.region_name,
            )
        except boto.BotoCoreError as exc:
            raise ConfigurationError(f"boto3 can't make a session: {exc}") from exc
        return session, core

    def _arguments(self) -> dict[str, Any]:
        options = self.options
        return {
            "endpoint_url": options.endpoint_url,
            "region_name": self.region,
            "use_ssl": options.use_ssl,
            "verify": self.verify,
        }

    @property
    def verify(self) -> bool | str:
        """Whether certificates are checked, or the file of those that are trusted."""
        return self.cached("verify", self._resolve_verify)

    def _resolve_verify(self) -> bool | str:
        verify = self.options.verify
        if verify is None:
            # As botocore has it. An empty variable says nothing; to botocore it says False.
            verify = (
                self._sessions[1].get_config_variable("ca_bundle")
                or os.environ.get("REQUESTS_CA_BUNDLE")
                or True
            )
        if isinstance(verify, str):
            self.certificates(verify)  # a clear error now, instead of a failed connection
        return verify

    def certificates(self, path: str) -> bytes:
        """Return the certificates that are trusted, from the file of that name."""
        return self.cached("certificates", lambda: certificates_in(path))

    @property
    def region(self) -> str:
        """Where the store is, as signatures name it."""
        return self.options.region_name or self.session.region_name or "us-east-1"

    def _make_client(self, *, sign_bodies: bool = True) -> Any:
        arguments = self._arguments()
        try:
            custom = self.options.endpoint_url is not None
            config = self._config(custom, sign_bodies)
            client = self.session.client("s3", config=config, **arguments)
            if not custom and not _is_aws(client.meta.endpoint_url):
                # The environment or a profile names another store.
                config = self._config(True, sign_bodies)
                client = self.session.client("s3", config=config, **arguments)
        except (boto.BotoCoreError, ValueError) as exc:
            raise ConfigurationError(f"boto3 can't make an S3 client: {exc}") from exc
        install_parser(client)
        return self._prepared(client)

    def _make_resource(self) -> Any:
        custom = self.options.endpoint_url is not None or not self.on_aws
        resource = self.session.resource("s3", config=self._config(custom), **self._arguments())
        self._prepared(resource.meta.client)
        return resource

    @staticmethod
    def _prepared(client: Any) -> Any:
        """Return a client after teaching it what botocore does not do for other stores."""
        _sign_for_ceph(client)
        endpoint: str = client.meta.endpoint_url
        if not _is_aws(endpoint):
            install_redirect_check(client, redact(endpoint))
        return client

    def _config(self, custom: bool, sign_bodies: bool = True) -> Config:
        return self.options.botocore_config(custom_endpoint=custom, sign_bodies=sign_bodies)

    def bucket_region(self, bucket: str) -> str:
        """Return the region of a bucket."""
        if not self.on_aws:
            return self.region
        return self.cached(("region", bucket), lambda: self._ask_region(bucket))

    def _ask_region(self, bucket: str) -> str:
        """Ask AWS where a bucket is; answers of refusal say so too."""
        try:
            response = self.client.head_bucket(Bucket=bucket)
        except boto.ClientError as exc:
            response = exc.response
        except boto.BotoCoreError:
            return self.region
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return headers.get("x-amz-bucket-region") or self.region

    @property
    def obstore(self) -> ObstoreStores:
        """The same store by obstore."""
        return self.cached("obstore", lambda: ObstoreStores(self))

    # -- facts learned on the way ----------------------------------------------------------------

    def process_cache(self, name: str) -> dict[Any, Any]:
        """Return a dictionary of this process for what was learned of the store under a name."""
        return self.cached(("cache", name), dict)


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
