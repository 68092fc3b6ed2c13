"""Which options reach both clients of S3, which one of them, and what a connection keeps."""

from __future__ import annotations

import gc
import logging
import pickle
import weakref
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.config import Config

import cottoncandy
from cottoncandy.backends.base import ConnectionArguments, PutOptions
from cottoncandy.backends.s3.backend import S3Backend
from cottoncandy.backends.s3.clients import Connection
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    AccessDeniedError,
    ConfigurationError,
    StoreTimeoutError,
)
from cottoncandy.options import Settings
from tests.backends._s3 import ACCESS, SECRET, TOKEN, backend_at, connect, keys_of
from tests.cases import each
from tests.servers import S3Server
from tests.servers.base import wait_until
from tests.servers.proxy import FaultProxy


@pytest.fixture
def _no_request_to_amazon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a bucket's region as the connection's, instead of asking Amazon."""
    monkeypatch.setattr(Connection, "_request_region", lambda self, bucket: self.region)


def test_addressing_style() -> None:
    style = Config(s3={"addressing_style": "virtual"})
    backend = connect(endpoint_url="http://s3.example:9", config=style)
    assert backend._connection._address("b", "us-east-1") == ("http://b.s3.example:9", True)
    assert connect()._connection._address("b", "us-east-1") == ("http://127.0.0.1:9", False)
    on_aws = connect(endpoint_url=None, region_name="eu-central-1")._connection
    assert on_aws._address("b", "eu-central-1") == (
        "https://b.s3.eu-central-1.amazonaws.com",
        True,
    )
    assert on_aws._address("b.c", "us-west-2") == (
        "https://s3.us-west-2.amazonaws.com",
        False,
    )


def test_config_reaches_both_clients() -> None:
    config = Config(
        connect_timeout=1.5,
        read_timeout=7,
        retries={"max_attempts": 2},
        max_pool_connections=3,
        user_agent_extra="lab/1",
        proxies={"http": "http://127.0.0.1:3128", "https": "http://127.0.0.1:3128"},
    )
    connection = connect(config=config, verify=False)._connection
    options = connection._client_options(
        "http://127.0.0.1:9", (("x-amz-acl", "public-read"),), False
    )
    assert options["connect_timeout"] == timedelta(seconds=1.5)
    assert options["read_timeout"] == timedelta(seconds=7)
    assert options["proxy_url"] == "http://127.0.0.1:3128"
    assert options["pool_max_idle_per_host"] == "3"
    assert options["user_agent"].endswith(" lab/1")
    assert options["default_headers"] == {"x-amz-acl": "public-read"}
    assert options["allow_invalid_certificates"]
    assert options["allow_http"]
    theirs = connection.client.meta.config
    assert (theirs.read_timeout, theirs.connect_timeout) == (7, 1.5)
    assert theirs.max_pool_connections == 3
    assert not connection.botocore_only


# Every documented option of Config, with a value that is not its default -> whether obstore sends
# the bodies. A new option of botocore makes the test below fail, until it is decided here.
CONFIG_OPTIONS: dict[str, tuple[Any, bool]] = {
    "account_id_endpoint_mode": ("required", True),  # not for S3
    "auth_scheme_preference": ("sigv4a", False),
    "client_cert": ("cert.pem", False),
    "client_context_params": ({"disable_s3_express_session_auth": True}, False),
    "connect_timeout": (None, False),
    "defaults_mode": ("standard", True),  # only sets what we set ourselves
    "disable_request_compression": (True, True),  # not for S3
    "endpoint_discovery_enabled": (True, True),  # not for S3
    "ignore_configured_endpoint_urls": (True, True),  # boto3 resolves the endpoint
    "inject_host_prefix": (False, True),  # not for S3
    "max_pool_connections": (3, True),
    "parameter_validation": (False, True),  # of arguments, before anything is sent
    "proxies": ({"http": "http://127.0.0.1:1", "https": "http://127.0.0.1:2"}, True),
    "proxies_config": ({"proxy_use_forwarding_for_https": True}, False),
    "read_timeout": (None, False),
    "region_name": ("eu-west-3", True),
    "request_checksum_calculation": ("when_supported", False),
    "request_min_compression_size_bytes": (1, True),  # not for S3
    "response_checksum_validation": ("when_supported", False),
    "retries": ({"max_attempts": 2}, True),
    "s3": ({"use_accelerate_endpoint": True}, False),
    "s3_disable_express_session_auth": (True, True),  # S3 Express is left to botocore
    "signature_version": ("s3", False),
    "sigv4a_signing_region_set": ("eu-west-3", False),
    "tcp_keepalive": (True, False),
    "use_dualstack_endpoint": (True, False),
    "use_fips_endpoint": (True, False),
    "user_agent": ("lab/1", True),
    "user_agent_appid": ("lab", False),
    "user_agent_extra": ("lab/1", True),
}


def test_retries_outlast_a_server_that_restarts() -> None:
    retries = connect()._connection.client.meta.config.retries
    assert retries == {"mode": "legacy", "total_max_attempts": 4}


def test_every_config_option_is_decided() -> None:
    assert set(Config.OPTION_DEFAULTS) <= set(CONFIG_OPTIONS)


@pytest.mark.server  # a client for each, which takes long to make
@pytest.mark.usefixtures("_no_request_to_amazon")
@pytest.mark.parametrize(
    "name", [name for name in CONFIG_OPTIONS if name in Config.OPTION_DEFAULTS]
)
def test_config_option_reaches_both_clients_or_is_left_to_botocore(name: str) -> None:
    value, by_obstore = CONFIG_OPTIONS[name]
    # FIPS and dual-stack are for Amazon's own endpoints.
    connection = connect(endpoint_url=None, config=Config(**{name: value}))._connection
    assert connection.botocore_only is not by_obstore
    if by_obstore:
        connection.obstore("b")  # obstore accepts what it is given
    if name == "region_name":
        assert connection.region == "eu-west-3"
        assert connection.client.meta.region_name == "eu-west-3"


@each(
    "options, by_obstore",
    [
        ({"addressing_style": "virtual"}, True),
        ({"payload_signing_enabled": True}, True),
        ({"payload_signing_enabled": False}, False),
        ({"use_accelerate_endpoint": True}, False),
        ({"use_dualstack_endpoint": True}, False),
        ({"us_east_1_regional_endpoint": "legacy"}, True),
        ({"use_arn_region": True}, True),  # ARNs are left to botocore
    ],
)
def test_s3_option_reaches_both_clients_or_is_left_to_botocore(
    options: dict[str, Any], by_obstore: bool
) -> None:
    connection = connect(endpoint_url=None, config=Config(s3=options))._connection
    assert connection.botocore_only is not by_obstore


# The same for environment variables, by their values.
VARIABLES: dict[str, tuple[str, bool]] = {
    "AWS_ALLOW_HTTP": ("false", True),  # the endpoint's scheme decides
    "AWS_ALLOW_INVALID_CERTIFICATES": ("true", False),
    "AWS_BUCKET": ("another", True),  # the bucket is passed
    "AWS_CHECKSUM_ALGORITHM": ("sha256", False),
    "AWS_CONDITIONAL_PUT": ("etag", False),
    "AWS_DEFAULTS_MODE": ("standard", True),
    "AWS_DEFAULT_CONTENT_TYPE": ("text/plain", False),
    "AWS_DEFAULT_REGION": ("eu-west-3", True),
    "AWS_MAX_ATTEMPTS": ("2", True),
    "AWS_REQUEST_CHECKSUM_CALCULATION": ("when_supported", True),  # we pass our own
    "AWS_REQUEST_PAYER": ("requester", False),
    "AWS_RETRY_MODE": ("standard", True),
    "AWS_S3_EXPRESS": ("true", False),
    "AWS_S3_USE_ARN_REGION": ("true", True),
    "AWS_SDK_UA_APP_ID": ("lab", False),
    "AWS_SERVER_SIDE_ENCRYPTION": ("AES256", False),
    "AWS_SKIP_SIGNATURE": ("true", True),  # passed
    "AWS_SSE_BUCKET_KEY_ENABLED": ("true", False),
    "AWS_SSE_CUSTOMER_KEY_BASE64": ("RkFLRQ==", False),
    "AWS_SSE_KMS_KEY_ID": ("fake", False),
    "AWS_UNSIGNED_PAYLOAD": ("true", False),
    "AWS_USE_DUALSTACK_ENDPOINT": ("true", False),
    "AWS_USE_FIPS_ENDPOINT": ("true", False),
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": ("true", True),  # passed
    "AWS_PROXY_URL": ("http://127.0.0.1:1", False),
    "HTTPS_PROXY": ("http://127.0.0.1:1", True),
    "https_proxy": ("127.0.0.1:1", True),
    "HTTP_PROXY": ("http://127.0.0.1:1", False),
    "ALL_PROXY": ("http://127.0.0.1:1", False),
    "NO_PROXY": ("*", True),
}


@pytest.mark.server  # a client for each, which takes long to make
@pytest.mark.usefixtures("_no_request_to_amazon")
@pytest.mark.parametrize("name", VARIABLES)
def test_variable_reaches_both_clients_or_is_left_to_botocore(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, by_obstore = VARIABLES[name]
    monkeypatch.setenv(name, value)
    connection = connect(endpoint_url=None)._connection
    assert connection.botocore_only is not by_obstore
    if by_obstore:
        connection.obstore("b")


def test_variables_of_retries_are_honored(monkeypatch: pytest.MonkeyPatch) -> None:
    assert connect()._connection.client.meta.config.retries["total_max_attempts"] == 4
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setenv("AWS_RETRY_MODE", "standard")
    retries = connect()._connection.client.meta.config.retries
    assert (retries["mode"], retries["total_max_attempts"]) == ("standard", 2)


@pytest.mark.parametrize("exempt", ["*", "127.0.0.1:9", "127.0.0.1", "example.org,127.0.0.1:9"])
def test_exemption_from_the_proxy_is_left_to_botocore(
    exempt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", exempt)
    assert connect()._connection.botocore_only
    monkeypatch.setenv("NO_PROXY", "127.0.0.1:10")
    connection = connect()._connection
    assert not connection.botocore_only
    options = connection._client_options("http://127.0.0.1:9", (), False)
    assert options["proxy_url"] == "http://127.0.0.1:1"


def test_style_of_a_profile_reaches_both_clients(
    isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = isolated_environment / "config"
    path.write_text("[default]\ns3 =\n    addressing_style = path\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    native = connect(endpoint_url=None, region_name="eu-west-3")._connection
    assert native._address("b", "eu-west-3") == ("https://s3.eu-west-3.amazonaws.com", False)


def test_custom_certificates_that_are_not_there() -> None:
    backend = connect(verify="/nonexistent/ca.pem")
    with pytest.raises(ConfigurationError, match=r"ca\.pem"):
        backend.get("x")


def test_read_timeout_is_honoured(fault_proxy: FaultProxy, moto_bucket: str) -> None:
    rule = fault_proxy.on("GET", "slow").hang()
    config = Config(read_timeout=0.3, retries={"max_attempts": 0})
    backend = backend_at(fault_proxy.server, moto_bucket, config=config)
    with pytest.raises(StoreTimeoutError, match=r"'slow'.*read_timeout"):
        backend.get("slow")
    rule.release()


@pytest.mark.parametrize("config", [Config(read_timeout=None), Config(connect_timeout=None)])
def test_no_timeout_is_honoured(moto: S3Server, moto_bucket: str, config: Config) -> None:
    arguments = moto.interface_arguments()
    cci = cottoncandy.get_interface(moto_bucket, config=config, verbose=False, **arguments)
    cci.upload_object("name", b"body")
    assert cci.download_object("name") == b"body"


def test_pickle_keeps_options_and_not_connections() -> None:
    backend = connect(
        aws_session_token=TOKEN, config=Config(read_timeout=9, signature_version="s3v4")
    )
    _ = backend._connection.client
    again = pickle.loads(pickle.dumps(backend))
    assert again.bucket_name == "bucket"
    assert keys_of(again) == (ACCESS, SECRET, TOKEN)
    assert again._connection.client.meta.config.read_timeout == 9
    assert again._connection.client.meta.config.signature_version == "s3v4"


def test_unsigned_survives_a_pickle() -> None:
    backend = connect(None, None, config=Config(signature_version=UNSIGNED))
    again = pickle.loads(pickle.dumps(backend))
    assert again._connection.client.meta.config.signature_version is UNSIGNED
    assert again._connection.options.unsigned


@pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
def test_unsigned_reads_public_objects(store: Any) -> None:
    """Without credentials: public objects only."""
    server, public_body = store.server, b"for everybody"
    owner = store.backend()
    owner.put("public", Body.of(public_body), PutOptions(acl="public-read"))
    owner.put("private", Body.of(b"mine"), PutOptions(acl="private"))
    anonymous = S3Backend.connect(
        ConnectionArguments(
            store.bucket,
            endpoint_url=server.endpoint_url,
            settings=Settings(),
            extra={"config": Config(signature_version=UNSIGNED)},
        )
    )
    assert anonymous.get("public").read() == public_body
    assert anonymous.head("public").size == len(public_body)
    for read in (anonymous.get, anonymous.head):
        with pytest.raises(AccessDeniedError, match="'private'"):
            read("private")


def test_nothing_shows_secrets() -> None:
    backend = connect(aws_session_token=TOKEN, config=Config(retries={"max_attempts": 0}))
    options = backend._connection.options
    shown = [
        repr(backend),
        repr(options),
        backend.describe(),
        backend.status_message(),
        repr(backend._connection),
    ]
    with pytest.raises(Exception, match="cannot connect to") as caught:
        backend.get("x")
    shown += [str(caught.value), repr(caught.value)]
    for text in shown:
        for secret in (ACCESS, SECRET, TOKEN):
            assert secret not in text
    assert backend.describe() == "bucket:bucket on http://127.0.0.1:9"


def test_connect_sends_nothing(fault_proxy: FaultProxy) -> None:
    backend_at(fault_proxy.server, "b")
    assert fault_proxy.requests == []


def test_two_backends_that_differ_in_one_respect(
    ceph: S3Server, ceph_other_user: S3Server, ceph_bucket: str
) -> None:
    """The same endpoint and bucket, other keys: nothing is shared."""
    mine, theirs = backend_at(ceph, ceph_bucket), backend_at(ceph_other_user, ceph_bucket)
    mine.put("private", Body.of(b"mine"), PutOptions(acl="private"))
    assert mine.get("private").read() == b"mine"
    with pytest.raises(AccessDeniedError):
        theirs.get("private")
    assert theirs.has_bucket(ceph_bucket)


@pytest.fixture
def refreshable(monkeypatch: pytest.MonkeyPatch) -> Callable[[S3Backend], list[int]]:
    """Put credentials that are refreshed into a backend; return the calls that refresh."""
    from datetime import UTC, datetime

    from botocore.credentials import RefreshableCredentials

    def put(backend: S3Backend) -> list[int]:
        calls: list[int] = []

        def refresh() -> dict[str, str]:
            calls.append(1)
            expiry = datetime.now(UTC) + timedelta(minutes=1)
            return {
                "access_key": f"{ACCESS}-{len(calls)}",
                "secret_key": SECRET,
                "token": TOKEN,
                "expiry_time": expiry.isoformat(),
            }

        credentials = RefreshableCredentials.create_from_metadata(refresh(), refresh, "test")
        backend._connection._made["credentials"] = credentials
        return calls

    return put


def test_refreshed_credentials_reach_obstore(
    refreshable: Callable[[S3Backend], list[int]],
) -> None:
    backend = connect(None, None)
    calls = refreshable(backend)
    provide = backend._connection._provider()
    assert provide is not None
    first, second = provide(), provide()
    assert len(calls) == 3
    assert first["access_key_id"] != second["access_key_id"]
    assert first["token"] == TOKEN
    assert first["expires_at"] is not None


def test_connections_end_with_their_backend(moto: S3Server, moto_bucket: str) -> None:
    backend = backend_at(moto, moto_bucket)
    backend.put("name", Body.of(b"x"))
    with backend.get("name") as reader:
        assert reader.read() == b"x"
    connection = weakref.ref(backend._connection)
    client = weakref.ref(backend._connection.client)
    del backend, reader

    def gone() -> bool:
        gc.collect()  # it does nothing while another thread collects
        return connection() is client() is None

    wait_until(gone, "the end of the connection")


def test_verbose_boto_logs_requests(
    moto: S3Server,
    moto_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    loggers = [logging.getLogger(name) for name in ("boto3", "botocore")]
    levels = [logger.level for logger in loggers]
    try:
        for wanted in ("False", "True"):
            monkeypatch.setenv("COTTONCANDY_LOGIN_VERBOSE_BOTO", wanted)
            caplog.clear()
            cottoncandy.get_interface(moto_bucket, verbose=False, **moto.interface_arguments())
            assert any(r.name.startswith("botocore") for r in caplog.records) == (wanted == "True")
            assert moto.secret_key not in caplog.text
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
