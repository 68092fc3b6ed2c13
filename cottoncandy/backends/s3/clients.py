"""The boto3 clients and obstore stores of a connection, created when first needed, per process."""

from __future__ import annotations

import ctypes
import functools
import gzip
import json
import logging
import math
import os
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar
from urllib.parse import urlsplit

import botocore.exceptions as boto

from cottoncandy._version import __version__
from cottoncandy.backends.s3.errors import NO_CREDENTIALS, S3Location, redact, shown, translated
from cottoncandy.backends.s3.handlers import install_handlers
from cottoncandy.backends.s3.listing import install_parser
from cottoncandy.backends.s3.native import library
from cottoncandy.backends.s3.options import (
    Resolved,
    S3Options,
    is_aws,
    obstore_honors,
    proxy_for,
    resolve,
)
from cottoncandy.core.stats import Counter
from cottoncandy.core.threads import after_fork
from cottoncandy.exceptions import ConfigurationError, CottonCandyError, CredentialsError

if TYPE_CHECKING:
    import botocore.session
    from botocore.loaders import Loader

T = TypeVar("T")

Headers: TypeAlias = tuple[tuple[str, str], ...]

# How long obstore may use credentials that boto3 refreshes: botocore renews them ten minutes and
# more before they expire, so these are always valid for longer.
_CREDENTIAL_LIFETIME = timedelta(minutes=5)

# A part of 16 MiB at 50 kB/s: obstore's read timeout starts when it begins to send.
_SLOW_UPLOAD_S = 320

# How long a response may take, in read timeouts.
_MAX_DOWNLOAD_TIMEOUTS = 10


class _Once(Generic[T]):
    """A property of a connection whose value is created on first access, once per process."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make

    def __get__(self, connection: Connection, _: type) -> T:
        return connection.cached(self._make.__name__, self._make, connection)


class Connection:
    """All connections of one backend: boto3's clients, and obstore's stores.

    boto3 resolves credentials, addresses and options; obstore gets the results.

    Parameters
    ----------
    options : S3Options
    """

    def __init__(self, options: S3Options) -> None:
        self.options = options
        self.counter = Counter()
        self._reset()
        after_fork(self._reset_in_child)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._made: dict[Any, Any] = {}

    def _reset_in_child(self) -> None:
        """Give a forked child its own clients; freeing the parent's may block, so they leak."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._made))
        self._reset()

    def close(self) -> None:
        """Close the connections; the clients open new ones when they are used again."""
        with self._lock:
            for key, made in list(self._made.items()):
                if key[0] == "store":
                    del self._made[key]  # obstore closes its connections with the store
                elif meta := getattr(made, "meta", None):
                    getattr(meta, "client", made).close()

    def cached(self, key: Any, make: Callable[..., T], *arguments: Any) -> T:
        """Return the value for a key, made once per process."""
        try:
            made: T = self._made[key]
        except KeyError:
            with self._lock:
                if key not in self._made:
                    self._made[key] = make(*arguments)
                made = self._made[key]
        return made

    # -- the store -------------------------------------------------------------------------------

    @_Once
    def resolved(self) -> Resolved | None:
        """Return the settings that need no boto3, which is loaded when it is needed."""
        return resolve(self.options)

    @property
    def config(self) -> Any:
        """Configuration of all clients, as boto3 resolves it."""
        return self.resolved.config if self.resolved else self.client.meta.config

    @property
    def endpoint(self) -> str:
        """Address of the store, as boto3 resolves it."""
        if self.options.endpoint_url is not None:
            return self.options.endpoint_url
        url: str = self.resolved.endpoint if self.resolved else self.client.meta.endpoint_url
        return url

    @property
    def cached_endpoint(self) -> str | None:
        """Address of the store; None if only a client knows it and there is none yet."""
        return self.endpoint if self.options.endpoint_url or "client" in self._made else None

    def location(self, bucket: str = "", key: str = "") -> S3Location:
        """Return an object, a bucket or the store."""
        return S3Location(redact(self.endpoint), bucket, key)

    @_Once
    def on_aws(self) -> bool:
        """Return whether the store is Amazon's."""
        return is_aws(self.endpoint)

    @property
    def region(self) -> str:
        """The store's region in signatures."""
        if self.resolved:
            return self.resolved.region
        return self.options.region_name or self._core.get_config_variable("region") or "us-east-1"

    def bucket_region(self, bucket: str) -> str:
        """Return the region of a bucket."""
        if not self.on_aws:
            return self.region
        return self.cached(("region", bucket), self._request_region, bucket)

    def _request_region(self, bucket: str) -> str:
        try:
            response = self.call(self.location(bucket), "head_bucket")
        except CottonCandyError as exc:
            response = getattr(exc.__cause__, "response", {})  # it has the region too
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return headers.get("x-amz-bucket-region") or self.region

    @_Once
    def max_stall_s(self) -> float:
        """How long a body may stall before it is not resumed any more: two read timeouts."""
        timeout = self.config.read_timeout
        return math.inf if timeout is None else 2 * float(timeout)

    # -- boto3 -----------------------------------------------------------------------------------

    @_Once
    def client(self) -> Any:
        """Create the boto3 client."""
        try:
            known = self.options.endpoint_url is not None or self.resolved is not None
            client = self._new_client(custom=known)
            if not known and not is_aws(client.meta.endpoint_url):
                client = self._new_client(custom=True)  # the environment or a profile names it
        except ConfigurationError:
            raise  # it is a ValueError, too
        except (boto.BotoCoreError, ValueError) as exc:
            raise ConfigurationError(
                f"boto3 cannot create an S3 client: {redact(str(exc))}"
            ) from shown(exc)
        install_parser(client)
        install_handlers(client, self.counter, requester_pays=self.options.requester_pays)
        return client

    def call(self, location: S3Location, operation: str, **arguments: Any) -> Any:
        """Send a request about an object or a bucket, and translate its errors."""
        with translated(location):
            return getattr(self.client, operation)(**{**location.request, **arguments})

    @_Once
    def resource(self) -> Any:
        """Create the boto3 resource; clients need only the session of botocore: it loads sooner."""
        import boto3

        with translated(self.location()):
            session = boto3.Session(botocore_session=self._core)
            resource = self._new_client(custom=not self.on_aws, make=session.resource)
        client = resource.meta.client
        install_handlers(client, self.counter, requester_pays=self.options.requester_pays)
        return resource

    def signer(self, bucket: str) -> Any:
        """Return the client that signs URLs: unlike others, it must know the bucket's region.

        boto3 signs URLs with version 2, which newer regions do not accept.
        """
        region, version = self.bucket_region(bucket), self.options.signature_version or "s3v4"
        other = self._with(region_name=region, signature_version=version)
        return self.cached(("signer", region), lambda: other.client)

    def _with(self, **options: Any) -> Connection:
        """Return a connection with other options, and the same credentials."""
        other = Connection(replace(self.options, **options))
        other.cached("_core", lambda: self._core)
        return other

    def _new_client(self, *, custom: bool, make: Callable[..., Any] | None = None) -> Any:
        options = self.options
        return (make or self._core.create_client)(
            "s3",
            config=options.botocore_config(custom_endpoint=custom),
            endpoint_url=options.endpoint_url,
            region_name=self.region,
            use_ssl=options.use_ssl,
            verify=self.verify,
        )

    @_Once
    def credentials(self) -> Any:
        """Return boto3's credentials, or None."""
        with translated(S3Location("the credentials' source")):
            return self._core.get_credentials()

    @_Once
    def _core(self) -> botocore.session.Session:
        """Create the botocore session: profile, credentials and region."""
        import botocore.session

        options = self.options
        if options.settings.verbose_boto:
            # Levels only: the messages appear where the program's log does.
            for name in ("boto3", "botocore"):
                logging.getLogger(name).setLevel(logging.DEBUG)
        core = botocore.session.Session(profile=options.profile_name)
        loader = _loader(core.get_config_variable("data_path") or "")
        # Each session of boto3 adds one.
        loader.search_paths[:] = dict.fromkeys(loader.search_paths)
        core.register_component("data_loader", loader)
        if options.keys is not None:
            core.set_credentials(*options.keys)
        if options.region_name is not None:
            core.set_config_variable("region", options.region_name)
        return core

    @_Once
    def verify(self) -> bool | str:
        """Return whether certificates are checked, or the file of those that are trusted."""
        verify = self.options.verify
        if verify is None:
            # As in botocore, except that an empty variable is ignored; there, it means False.
            verify = (
                os.environ.get("AWS_CA_BUNDLE")
                or (None if self.resolved else self._core.get_config_variable("ca_bundle"))
                or os.environ.get("REQUESTS_CA_BUNDLE")
                or True
            )
        if isinstance(verify, str):
            self._certificates(verify)  # a clear error now, instead of a failed connection
        return verify

    def _certificates(self, path: str) -> bytes:
        # Read once: a file that is removed later must not look like an object that is missing.
        return self.cached(("certificates", path), _read_certificates, path)

    # -- obstore ---------------------------------------------------------------------------------

    @_Once
    def botocore_only(self) -> bool:
        """Return whether only botocore supports the options."""
        return not obstore_honors(self.config, self.endpoint)

    @property
    def obstore_usable(self) -> bool:
        """Whether obstore supports the options, and this process."""
        return not self.botocore_only and library() is not None

    def obstore(self, bucket: str, headers: Headers = (), slow_upload: bool = False) -> Any:
        """Return obstore's store for a bucket.

        Parameters
        ----------
        headers : tuple of (name, value)
            Sent, and signed, with every request: those of an upload that obstore has no option for.
        slow_upload : bool, default False
            True for large bodies, whose response takes longer to begin.
        """
        options = (bucket, headers, slow_upload)
        return self.cached(("store", *options), self._make_store, *options)

    def _make_store(self, bucket: str, headers: Headers, slow_upload: bool) -> Any:
        provider = self._provider()
        region = self.bucket_region(bucket)
        endpoint, virtual = self._address(bucket, region)
        return library().store.S3Store(
            bucket,
            # This one overrides AWS_ENDPOINT_URL_S3, which obstore reads from the environment.
            aws_endpoint_url_s3=endpoint,
            virtual_hosted_style_request=virtual,
            region=region,
            skip_signature=provider is None,
            request_payer=self.options.requester_pays,
            client_options=self._client_options(endpoint, headers, slow_upload),
            retry_config={"max_retries": 0},
            # Always set: obstore would pair our keys with the environment's token.
            credential_provider=provider,
        )

    def _provider(self) -> Callable[[], dict[str, Any]] | None:
        """Return the function that obstore calls for keys, which boto3 may have to refresh.

        It does not refer to the connection: that holds the stores, and the garbage collector does
        not see into obstore, so none of them would ever be freed.
        """
        if self.options.unsigned:
            return None
        refreshed = False
        if self.resolved:
            get_keys: Callable[[], Sequence[Any]] = partial(tuple, self.resolved.keys)
        elif self.credentials is not None:
            get_keys = self.credentials.get_frozen_credentials
            refreshed = hasattr(self.credentials, "refresh_needed")
        else:
            raise CredentialsError(NO_CREDENTIALS)

        def provide() -> dict[str, Any]:
            access_key, secret_key, token = get_keys()[:3]
            return {
                "access_key_id": access_key,
                "secret_access_key": secret_key,
                "token": token,
                "expires_at": datetime.now(UTC) + _CREDENTIAL_LIFETIME if refreshed else None,
            }

        return provide

    def _address(self, bucket: str, region: str) -> tuple[str, bool]:
        """Return the endpoint for obstore, and whether the bucket is part of the host name."""
        endpoint, on_aws = self.endpoint, self.on_aws
        resolved = on_aws and self.options.endpoint_url is None  # by boto3, for its region
        if resolved and region != self.region:
            endpoint = self._with(region_name=region).endpoint
        # A profile may set it, too.
        style = (self.config.s3 or {}).get("addressing_style")
        if style is None:
            style = "auto" if resolved else "path"
        # A wildcard certificate (*.s3.amazonaws.com) does not cover bucket names with dots.
        virtual = style == "virtual" or (style == "auto" and "." not in bucket and on_aws)
        # As in botocore: an IP address cannot have a subdomain.
        host = urlsplit(endpoint).hostname or ""
        if virtual and ":" not in host and not host.rpartition(".")[2].isdigit():
            scheme, _, rest = endpoint.partition("://")
            return f"{scheme}://{bucket}.{rest}", True
        return endpoint, False

    def _client_options(self, endpoint: str, headers: Headers, slow_upload: bool) -> dict[str, Any]:
        config, own = self.config, self.options.config
        read_timeout = float(config.read_timeout) + (_SLOW_UPLOAD_S if slow_upload else 0)
        agent = getattr(own, "user_agent", None) or f"cottoncandy/{__version__}"
        agents = (agent, getattr(own, "user_agent_extra", None))
        options: dict[str, Any] = {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=float(config.connect_timeout)),
            "read_timeout": timedelta(seconds=read_timeout),
            # For the whole request; botocore has no such limit, and large bodies take long. A
            # download is resumed where it ended, so a slow line may take longer, and a server that
            # sends a byte now and then is given up.
            "timeout": timedelta(hours=6)
            if slow_upload
            else timedelta(seconds=_MAX_DOWNLOAD_TIMEOUTS * read_timeout),
            "pool_max_idle_per_host": str(config.max_pool_connections),
            "user_agent": " ".join(filter(None, agents)),
        }
        if headers:
            options["default_headers"] = dict(headers)
        if proxy := proxy_for(config, endpoint):
            options["proxy_url"] = proxy
        if self.verify is False:
            options["allow_invalid_certificates"] = True
        elif isinstance(self.verify, str):
            options["root_certificate"] = self._certificates(self.verify)
        return options


@functools.cache
def _loader(search_paths: str) -> Loader:
    """Return the loader of botocore's service descriptions, which keeps what it has parsed.

    Otherwise the first client of every session parses them again, which takes 80 ms. Each interface
    has a session, and a dask worker unpickles many.
    """
    from botocore.loaders import Loader

    found = [os.path.expandvars(part) for part in search_paths.split(os.pathsep) if part]
    files: Any = _Json()
    return Loader([os.path.expanduser(part) for part in found], files)  # noqa: PTH111 - as botocore does it


class _Json:
    """Reads botocore's descriptions into dicts, in a third of the time of its OrderedDicts."""

    _OPEN = ((".json", open), (".json.gz", gzip.open))

    def exists(self, path: str) -> bool:
        return any(os.path.isfile(path + suffix) for suffix, _ in self._OPEN)  # noqa: PTH113 - much faster

    def load_file(self, path: str) -> Any:
        for suffix, opened in self._OPEN:
            with suppress(FileNotFoundError), opened(path + suffix, "rb") as file:
                return json.loads(file.read())
        return None


def _read_certificates(path: str) -> bytes:
    """Return the contents of a file, or raise if OpenSSL and rustls don't accept it."""
    try:
        found = Path(path).read_bytes()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        # OpenSSL accepts other kinds as well; rustls only this one.
        if b"-----BEGIN CERTIFICATE-----" not in found:
            raise ssl.SSLError("not PEM")
    except ssl.SSLError as exc:
        raise ConfigurationError(
            f"there are no certificates in {path!r} (verify=, AWS_CA_BUNDLE), or damaged ones; it "
            f"must be a PEM file, in which each certificate begins with -----BEGIN CERTIFICATE-----"
        ) from exc
    except OSError as exc:
        raise ConfigurationError(
            f"the certificates in {path!r} (verify=, AWS_CA_BUNDLE) cannot be read: {exc}"
        ) from exc
    return found
