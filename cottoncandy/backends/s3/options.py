"""What shapes a connection: arguments and settings resolved into one value that pickles."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies

from botocore import UNSIGNED
from botocore.config import Config
from botocore.utils import get_environ_proxies

from cottoncandy.backends.base import ConnectionArguments
from cottoncandy.backends.s3.certificates import checked_verify
from cottoncandy.backends.s3.credentials import KeyPair, find_key_pair
from cottoncandy.config.options import Settings
from cottoncandy.exceptions import ConfigurationError

__all__ = ["S3Options", "obstore_honors", "proxy_for"]

# Options of botocore's Config, and of its ``s3``, that obstore does not have. The others are passed
# to obstore, or change nothing there.
_BOTOCORE_ONLY = (
    "auth_scheme_preference",
    "client_cert",
    "client_context_params",
    "proxies_config",
    "sigv4a_signing_region_set",
    "tcp_keepalive",
    "use_dualstack_endpoint",
    "use_fips_endpoint",
    "user_agent_appid",
)
_BOTOCORE_ONLY_S3 = ("use_accelerate_endpoint", "use_dualstack_endpoint")
# Environment variables that obstore obeys and botocore does not know.
_OBSTORE_ONLY = frozenset(
    f"AWS_{name}"
    for name in (
        "ALLOW_INVALID_CERTIFICATES",
        "CHECKSUM_ALGORITHM",
        "CONDITIONAL_PUT",
        "DEFAULT_CONTENT_TYPE",
        "HTTP1_ONLY",
        "HTTP2_ONLY",
        "PROXY_CA_CERTIFICATE",
        "PROXY_EXCLUDES",
        "PROXY_URL",
        "REQUEST_PAYER",
        "S3_EXPRESS",
        "SERVER_SIDE_ENCRYPTION",
        "SSE_BUCKET_KEY_ENABLED",
        "SSE_CUSTOMER_KEY_BASE64",
        "SSE_KMS_KEY_ID",
        "UNSIGNED_PAYLOAD",
    )
)

_EXTRA = ("anon", "aws_session_token", "config", "profile_name", "region_name", "use_ssl", "verify")

# Where AWS is, as it stands in options files since the first version; boto3 knows better (regions).
_HISTORICAL_ENDPOINT = "https://s3.amazonaws.com"


@dataclass(frozen=True, slots=True)
class S3Options:
    """All that shapes a connection. It pickles with the keys in it, and never shows them.

    Parameters
    ----------
    key_pair : KeyPair, optional
        None leaves credentials to boto3's chain.
    endpoint_url : str, optional
        None leaves the endpoint to boto3 (``AWS_ENDPOINT_URL_S3``, profiles, AWS).
    config : mapping
        What the user gave to ``botocore.config.Config``, without the signature's version.
    signature_version : str, optional
        None is the store's default, version 4.
    unsigned : bool
        Whether requests go without a signature. A flag, because botocore's mark for it is a
        singleton that doesn't survive pickling.
    """

    settings: Settings = field(repr=False)
    key_pair: KeyPair | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile_name: str | None = None
    endpoint_url: str | None = field(default=None, repr=False)  # it may contain a password
    region_name: str | None = None
    use_ssl: bool = True
    verify: bool | str | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    signature_version: str | None = None
    unsigned: bool = False

    @classmethod
    def of(cls, arguments: ConnectionArguments) -> Self:
        """Resolve what the user passed and what the settings say.

        Raises
        ------
        ConfigurationError
            On an unknown option, a value of the wrong type, or half a pair of credentials.
        """
        extra = dict(arguments.extra)
        arguments.check_extra("s3", _EXTRA)
        _check_types(arguments)
        settings = arguments.settings
        config = extra.get("config")
        if config is not None and not isinstance(config, Config):
            raise ConfigurationError(
                f"config= takes a botocore.config.Config, and a {type(config).__name__} was given"
            )
        # What the user set, as opposed to botocore's defaults; Config.merge() reads the same.
        given: dict[str, Any] = dict(getattr(config, "_user_provided_options", {}))
        signature = given.pop("signature_version", None) or settings.signature_version or None
        unsigned = signature is UNSIGNED or bool(extra.get("anon"))
        if extra.get("anon") and (arguments.access_key or arguments.secret_key):
            raise ConfigurationError(
                "anon=True sends no credentials; omit ACCESS_KEY and SECRET_KEY"
            )
        return cls(
            settings=settings.without_secrets(),
            key_pair=None if unsigned else _key_pair(arguments, extra.get("profile_name")),
            session_token=extra.get("aws_session_token"),
            profile_name=extra.get("profile_name"),
            endpoint_url=_endpoint(arguments),
            region_name=extra.get("region_name") or given.pop("region_name", None),
            use_ssl=extra.get("use_ssl", True),
            verify=checked_verify(extra.get("verify")),
            config=given,
            signature_version=None if unsigned else signature,
            unsigned=unsigned,
        )

    def botocore_config(self, *, custom_endpoint: bool, sign_bodies: bool = True) -> Config:
        """Return the user's Config on top of our defaults.

        Parameters
        ----------
        custom_endpoint : bool
            Whether the store is not Amazon's.
        sign_bodies : bool, default True
            False where requests have a header with the MD5 of their body, which is signed too.
        """
        options: dict[str, Any] = {
            "connect_timeout": 5,
            "read_timeout": 60,
            # The pauses add up to 3.5 s on average. The standard mode of botocore 1.44 waits for
            # 0.2 s and gives all threads one quota: a server that restarts would end transfers.
            "retries": {"mode": "legacy", "total_max_attempts": 4},
            "max_pool_connections": 32,
            # Old servers (Ceph 16) refuse the newer checksums. The signature covers bodies instead:
            # by their SHA-256, or by the MD5 of long ones.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
        options.update(self.config)
        s3 = {"payload_signing_enabled": sign_bodies, **(options.get("s3") or {})}
        if custom_endpoint:
            s3.setdefault("addressing_style", "path")
        options["s3"] = s3
        if self.unsigned:
            options["signature_version"] = UNSIGNED
        elif self.signature_version is not None:
            options["signature_version"] = self.signature_version
        return Config(**options)


def obstore_honors(config: Any, endpoint: str) -> bool:
    """Return whether obstore sends requests as botocore does.

    Parameters
    ----------
    config : botocore.config.Config
        The resolved one of a client: it has the options of profiles and of the environment, too.
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
        # Without a proxy of its own, obstore reads the environment, and differently: ALL_PROXY,
        # ports in NO_PROXY, ...
        and (proxy_for(config, endpoint) is not None or not others)
    )


def proxy_for(config: Any, endpoint: str) -> str | None:
    """Return the URL of the proxy that botocore uses for an endpoint; None without one."""
    proxies = get_environ_proxies(endpoint) if config.proxies is None else config.proxies
    proxy: str | None = proxies.get(urlsplit(endpoint).scheme)
    if not proxy:
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _check_types(arguments: ConnectionArguments) -> None:
    """Raise if text is expected and something else is passed."""
    extra = arguments.extra
    for name, value in (
        ("ACCESS_KEY", arguments.access_key),
        ("SECRET_KEY", arguments.secret_key),
        ("endpoint_url", arguments.endpoint_url),
        *((name, extra.get(name)) for name in ("aws_session_token", "profile_name", "region_name")),
    ):
        if value is not None and not isinstance(value, str):
            raise ConfigurationError(f"{name} must be a str, got a {type(value).__name__}")


def _key_pair(arguments: ConnectionArguments, profile_name: str | None) -> KeyPair | None:
    given = ("the arguments", arguments.access_key, arguments.secret_key)
    if profile_name is not None and not (arguments.access_key or arguments.secret_key):
        return None  # a profile that was asked for beats what lies in files
    settings = arguments.settings
    stored = ("[login] of the options file", settings.access_key, settings.secret_key)
    return find_key_pair(given, stored)


def _endpoint(arguments: ConnectionArguments) -> str | None:
    for url in (arguments.endpoint_url, arguments.settings.endpoint_url):
        if url and url.rstrip("/") != _HISTORICAL_ENDPOINT:
            if "://" not in url:
                raise ConfigurationError(
                    f"endpoint_url={_host(url)!r} has no scheme; write 'https://{_host(url)}' (or "
                    f"'http://…')"
                )
            return url.rstrip("/")
        if url:
            return None
    return None


def _host(url: str) -> str:
    """Return a URL without a scheme, a user name and a password."""
    return url.rpartition("@")[2]
