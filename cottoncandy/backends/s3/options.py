"""The options of a connection: arguments and settings, resolved into one value that pickles."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, Self, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies

from botocore import UNSIGNED

from cottoncandy.backends.base import ConnectionArguments
from cottoncandy.config.options import Settings
from cottoncandy.config.sources import HISTORICAL_ENDPOINT
from cottoncandy.exceptions import ConfigurationError

# Options of botocore's Config, and of its ``s3``, that obstore does not have. The others are passed
# to obstore, or have no effect there.
_BOTOCORE_ONLY = (
    *("auth_scheme_preference", "client_cert", "client_context_params", "proxies_config"),
    *("sigv4a_signing_region_set", "tcp_keepalive", "use_dualstack_endpoint", "use_fips_endpoint"),
    "user_agent_appid",
)
_BOTOCORE_ONLY_S3 = ("use_accelerate_endpoint", "use_dualstack_endpoint")
# Environment variables that obstore obeys and botocore ignores.
_OBSTORE_ONLY = frozenset(
    f"AWS_{name}"
    for name in (
        *("ALLOW_INVALID_CERTIFICATES", "CHECKSUM_ALGORITHM", "CONDITIONAL_PUT", "HTTP1_ONLY"),
        *("DEFAULT_CONTENT_TYPE", "HTTP2_ONLY", "PROXY_CA_CERTIFICATE", "PROXY_EXCLUDES"),
        *("PROXY_URL", "REQUEST_PAYER", "S3_EXPRESS", "SERVER_SIDE_ENCRYPTION"),
        *("SSE_BUCKET_KEY_ENABLED", "SSE_CUSTOMER_KEY_BASE64", "SSE_KMS_KEY_ID"),
        "UNSIGNED_PAYLOAD",
    )
)

_EXTRA = (
    *("anon", "aws_session_token", "config", "profile_name", "region_name", "request_payer"),
    *("use_ssl", "verify"),
)

Keys: TypeAlias = tuple[str, str, str | None]

_RETRY_VARIABLES = {"mode": "AWS_RETRY_MODE", "total_max_attempts": "AWS_MAX_ATTEMPTS"}

_DEFAULTS: dict[str, Any] = {
    "connect_timeout": 5,
    "read_timeout": 60,
    "max_pool_connections": 32,
    # Old servers (Ceph 16) reject the newer checksums. The signature covers bodies instead, by
    # their SHA-256.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}

# What ``resolve`` reads. Any other variable, or a file of AWS, needs botocore.
_RESOLVED_VARIABLES = frozenset(
    f"AWS_{name}"
    for name in (
        *("ACCESS_KEY", "ACCESS_KEY_ID", "CA_BUNDLE", "CONFIG_FILE", "DEFAULT_REGION"),
        *("EC2_METADATA_DISABLED", "ENDPOINT_URL", "ENDPOINT_URL_S3", "REGION"),
        *("SECRET_ACCESS_KEY", "SECRET_KEY", "SESSION_TOKEN", "SHARED_CREDENTIALS_FILE"),
    )
)
_FILES = {
    "AWS_CONFIG_FILE": "~/.aws/config",
    "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
}
_PLAIN_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?")
_PLAIN_REGION = re.compile(r"[a-z][a-z0-9-]{,61}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class S3Options:
    """The options of a connection. They pickle, secrets included, but their repr hides these.

    Parameters
    ----------
    keys : tuple of str, str, str or None, optional
        Access key, secret key and token. None leaves credentials to boto3's chain.
    endpoint_url : str, optional
        None leaves the endpoint to boto3 (``AWS_ENDPOINT_URL_S3``, profiles, AWS).
    config : botocore.config.Config, optional
        The user's, without the signature version.
    signature_version : str, optional
        None is the store's default, version 4.
    unsigned : bool
        Whether requests are sent without a signature. A flag, because botocore's ``UNSIGNED`` is a
        singleton that does not survive pickling.
    requester_pays : bool
        Whether requests declare that the reader is charged for them.
    """

    settings: Settings = field(repr=False, compare=False)  # sizes, threads and retries
    keys: Keys | None = field(default=None, repr=False)
    profile_name: str | None = None
    endpoint_url: str | None = field(default=None, repr=False)  # it may contain a password
    region_name: str | None = None
    use_ssl: bool = True
    verify: bool | str | None = None
    config: Any = field(default=None, repr=False)  # the stubs lack its attributes
    signature_version: str | None = None
    unsigned: bool = False
    requester_pays: bool = False

    @classmethod
    def of(cls, arguments: ConnectionArguments) -> Self:
        """Resolve the user's arguments and the settings.

        Raises
        ------
        ConfigurationError
            If an option is unknown, has the wrong type, or is half a pair of credentials.
        """
        extra = arguments.extra
        arguments.check_extra("s3", _EXTRA)
        _check_types(arguments)
        settings = arguments.settings
        config: Any = extra.get("config")
        signature = getattr(config, "signature_version", None) or settings.signature_version or None
        unsigned = signature is UNSIGNED or bool(extra.get("anon"))
        if extra.get("anon") and (arguments.access_key or arguments.secret_key):
            raise ConfigurationError(
                "anon=True sends no credentials; omit ACCESS_KEY and SECRET_KEY"
            )
        verify = extra.get("verify")
        keys = None if unsigned else _find_keys(arguments)
        if extra.get("aws_session_token") and not (keys or unsigned):
            raise ConfigurationError("aws_session_token= needs its ACCESS_KEY and SECRET_KEY")
        return cls(
            settings=settings.without_secrets(),
            keys=keys,
            profile_name=extra.get("profile_name"),
            endpoint_url=_endpoint(arguments),
            region_name=extra.get("region_name") or getattr(config, "region_name", None),
            use_ssl=extra.get("use_ssl", True),
            verify=os.fsdecode(verify) if isinstance(verify, os.PathLike) else verify,
            config=config and config.merge(type(config)(signature_version=None)),
            signature_version=None if unsigned else signature,
            unsigned=unsigned,
            requester_pays=extra.get("request_payer") is not None,
        )

    def without_credentials(self) -> Self | None:
        """Return the same options for requests that are not signed; None if these are anonymous."""
        if self.unsigned:
            return None
        return replace(self, keys=None, unsigned=True, signature_version=None, requester_pays=False)

    def botocore_config(self, *, custom_endpoint: bool) -> Any:
        """Return the user's Config on top of cottoncandy's defaults.

        Parameters
        ----------
        custom_endpoint : bool
            Whether the store is not Amazon's.
        """
        from botocore.config import Config

        config: Any = self.config or Config()
        s3: Any = {"payload_signing_enabled": True, **(config.s3 or {})}
        if custom_endpoint:
            s3.setdefault("addressing_style", "path")
        signature: dict[str, Any] = {}
        if self.unsigned or self.signature_version is not None:
            signature["signature_version"] = UNSIGNED if self.unsigned else self.signature_version
        # The pauses add up to 3.5 s on average. The standard mode of botocore 1.44 waits for 0.2 s
        # and gives all threads one quota: a server that restarts would end transfers.
        retries: Any = {"mode": "legacy", "total_max_attempts": 4}
        for name, variable in _RETRY_VARIABLES.items():
            if os.environ.get(variable):
                del retries[name]  # botocore reads it
        defaults = Config(retries=retries, **_DEFAULTS)
        return defaults.merge(config).merge(Config(s3=s3, **signature))


class Resolved(NamedTuple):
    """The connection that botocore would derive from options and environment, without loading it.

    Parameters
    ----------
    endpoint, region : str
    keys : tuple of str, str, str or None
        Access key, secret key and token; empty if requests are not signed.
    config
        The attributes of a ``botocore.config.Config`` that matter to obstore.
    """

    endpoint: str
    region: str
    keys: tuple[Any, ...]
    config: Any


def resolve(options: S3Options) -> Resolved | None:
    """Resolve a store other than Amazon's with given keys; None if that needs botocore.

    Loading botocore and creating a client takes longer than Python's start and a request together.
    """
    environment = os.environ
    names = {name for name in environment if name.startswith("AWS_")}
    endpoint = options.endpoint_url or environment.get(
        "AWS_ENDPOINT_URL_S3", environment.get("AWS_ENDPOINT_URL", "")
    )
    region = options.region_name or environment.get("AWS_DEFAULT_REGION", "us-east-1")
    variables = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    keys = options.keys or tuple(map(environment.get, variables))
    if (
        any((options.config, options.profile_name, options.signature_version))
        or options.settings.verbose_boto
        or not names <= _RESOLVED_VARIABLES
        or any(
            os.path.exists(os.path.expanduser(environment.get(name, usual)))  # noqa: PTH110, PTH111 - never raise
            for name, usual in _FILES.items()
        )
        or not _PLAIN_ENDPOINT.fullmatch(endpoint)
        or is_aws(endpoint)
        or not _PLAIN_REGION.fullmatch(region)
        or not (options.unsigned or all(keys[:2]))
    ):
        return None
    config = SimpleNamespace(
        **_DEFAULTS,
        proxies=None,
        s3={"addressing_style": "path", "payload_signing_enabled": True},
        signature_version=UNSIGNED if options.unsigned else "s3v4",
    )
    return Resolved(endpoint, region, () if options.unsigned else keys, config)


@lru_cache
def is_aws(endpoint: str) -> bool:
    """Return whether an endpoint is Amazon's."""
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def obstore_honors(config: Any, endpoint: str) -> bool:
    """Return whether obstore sends requests as botocore does.

    Parameters
    ----------
    config : botocore.config.Config
        The resolved one of a client, which includes profiles and the environment.
    endpoint : str
        URL of the store.
    """
    s3 = config.s3 or {}
    checksums = (config.request_checksum_calculation, config.response_checksum_validation)
    others = {name for name in getproxies() if name != "no"}
    return (
        config.signature_version in ("s3v4", "v4", UNSIGNED)
        and None not in (config.connect_timeout, config.read_timeout)
        and not any(getattr(config, name, None) for name in _BOTOCORE_ONLY)
        and not any(s3.get(name) for name in _BOTOCORE_ONLY_S3)
        and s3.get("payload_signing_enabled") is not False
        and checksums == ("when_required", "when_required")
        and _OBSTORE_ONLY.isdisjoint(os.environ)
        # Unless it is given a proxy, obstore reads the environment, and differently: ALL_PROXY,
        # ports in NO_PROXY, ...
        and (proxy_for(config, endpoint) is not None or not others)
    )


def proxy_for(config: Any, endpoint: str) -> str | None:
    """Return the URL of the proxy that botocore uses for an endpoint; None without one."""
    scheme = urlsplit(endpoint).scheme
    proxies = getproxies() if config.proxies is None else config.proxies
    if config.proxies is None and scheme in proxies:
        from botocore.utils import get_environ_proxies

        proxies = get_environ_proxies(endpoint)
    proxy: str | None = proxies.get(scheme)
    if not proxy:
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _check_types(arguments: ConnectionArguments) -> None:
    """Raise if an option has the wrong type."""
    extra = arguments.extra
    texts = {
        "ACCESS_KEY": arguments.access_key,
        "SECRET_KEY": arguments.secret_key,
        "endpoint_url": arguments.endpoint_url,
        **{name: extra.get(name) for name in ("aws_session_token", "profile_name", "region_name")},
    }
    for name, value in texts.items():
        if value is None:
            continue
        if not isinstance(value, str):
            raise ConfigurationError(f"{name} must be a str, got a {type(value).__name__}")
        if value != value.strip():  # no header, which looks like no network
            raise ConfigurationError(f"{name} begins or ends with white space: remove it")
    config, verify = extra.get("config"), extra.get("verify")
    if config is not None:
        from botocore.config import Config

        if not isinstance(config, Config):
            raise ConfigurationError(
                f"config must be a botocore.config.Config, got a {type(config).__name__}"
            )
    if verify is not None and not isinstance(verify, bool | str | os.PathLike):
        raise ConfigurationError(
            f"verify must be True, False or the path of a certificate file, got a "
            f"{type(verify).__name__}"
        )


def _find_keys(arguments: ConnectionArguments) -> Keys | None:
    """Return the first complete pair: arguments, options file, ``~/.passwd-s3fs``, environment.

    None leaves it to boto3's chain: its variables, profiles and roles.

    Raises
    ------
    ConfigurationError
        If a place has one of the two keys.
    """
    settings, environment = arguments.settings, os.environ.get
    origins: dict[str, tuple[str | None, str | None]] = {
        "the arguments": (arguments.access_key, arguments.secret_key),
        "[login] of the options file": (settings.access_key, settings.secret_key),
        "~/.passwd-s3fs": _read_passwd_s3fs(),
        "AWS_ACCESS_KEY and AWS_SECRET_KEY": (
            environment("AWS_ACCESS_KEY"),
            environment("AWS_SECRET_KEY"),
        ),
    }
    for origin, (access_key, secret_key) in origins.items():
        if access_key and secret_key:
            return access_key, secret_key, arguments.extra.get("aws_session_token")
        if access_key or secret_key:
            missing = "secret" if access_key else "access"
            raise ConfigurationError(
                f"{origin}: half of the credentials, the {missing} key is missing"
            )
        if arguments.extra.get("profile_name") is not None:
            break  # an explicit profile takes precedence over files
    return None


def _read_passwd_s3fs() -> tuple[str | None, str | None]:
    """Read the default line of s3fs's password file: ``ACCESS:SECRET``."""
    try:
        lines = Path("~/.passwd-s3fs").expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, RuntimeError, UnicodeDecodeError):  # RuntimeError: there is no home folder
        return None, None
    for line in lines:
        fields = line.strip().split(":")
        # Lines of three fields begin with a bucket, and are for it alone.
        if not line.lstrip().startswith("#") and len(fields) == 2 and all(fields):
            return fields[0], fields[1]
    return None, None


def _endpoint(arguments: ConnectionArguments) -> str | None:
    url = arguments.endpoint_url or arguments.settings.endpoint_url
    if not url or url.rstrip("/") == HISTORICAL_ENDPOINT:
        return None
    if "://" not in url:
        host = url.rpartition("@")[2]  # without a user name and a password
        raise ConfigurationError(
            f"endpoint_url={host!r} has no scheme; write 'https://{host}' (or 'http://…')"
        )
    return url.rstrip("/")
