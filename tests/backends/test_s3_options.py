"""What shapes a connection to S3: credentials, endpoints, botocore's Config, pickles and reprs."""

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
from cottoncandy.backends.s3.clients import Connection, credential_provider, key_provider
from cottoncandy.backends.s3.options import resolve
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    AccessDeniedError,
    ConfigurationError,
    CottonCandyError,
    CredentialsError,
    StoreTimeoutError,
)
from cottoncandy.options import Settings
from tests.cases import each
from tests.servers import S3Server
from tests.servers.base import wait_until
from tests.servers.proxy import FaultProxy

ACCESS = "FAKE-ACCESS-KEY"
SECRET = "FAKE-SECRET-KEY"
TOKEN = "FAKE-SESSION-TOKEN"


def connect(
    access_key: str | None = ACCESS,
    secret_key: str | None = SECRET,
    endpoint_url: str | None = "http://127.0.0.1:9",
    settings: Settings | None = None,
    **extra: Any,
) -> S3Backend:
    return S3Backend.connect(
        ConnectionArguments(
            "bucket", access_key, secret_key, endpoint_url, settings or Settings(), extra
        )
    )


@pytest.fixture
def _no_request_to_amazon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a bucket's region as the connection's, instead of asking Amazon."""
    monkeypatch.setattr(Connection, "_request_region", lambda self, bucket: self.region)


def keys_of(backend: S3Backend) -> tuple[str, str, str | None]:
    found = backend._connection.credentials.get_frozen_credentials()
    return found.access_key, found.secret_key, found.token


def test_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"'region_nam'.*'region_name'"):
        connect(region_nam="x")


@pytest.mark.parametrize("host", ["127.0.0.1:9", "[::1]:9"])
def test_no_bucket_before_an_address(host: str) -> None:
    """As botocore, which takes the path then; obstore panics."""
    backend = connect(
        endpoint_url=f"http://{host}", config=Config(s3={"addressing_style": "virtual"})
    )
    assert backend._connection._address("bucket", "r") == (f"http://{host}", False)


def test_describes_the_endpoint_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    backend = connect(endpoint_url=None)
    assert backend.describe() == "bucket:bucket on the default S3 endpoint"  # no client for a repr
    assert backend._connection.client.meta.region_name
    assert backend.describe() == "bucket:bucket on http://127.0.0.1:9"


@each(
    "arguments",
    [
        {"access_key": b"FAKE"},
        {"secret_key": 7},
        {"endpoint_url": b"http://127.0.0.1:9"},
        {"aws_session_token": b"FAKE"},
        {"region_name": 1},
        {"profile_name": b"lab"},
    ],
)
def test_credentials_that_are_not_text_are_rejected(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"must be a str, got a (bytes|int)"):
        connect(**arguments)


def test_anon_needs_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    backend = connect(None, None, anon=True, settings=Settings(access_key="a", secret_key="b"))
    assert backend._connection.options.unsigned
    assert backend._connection.client.meta.config.signature_version is UNSIGNED
    assert not connect(anon=False)._connection.options.unsigned
    with pytest.raises(ConfigurationError, match="anon=True"):
        connect(anon=True)


def test_password_in_the_endpoint_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
    url = "http://somebody:FAKEPASSWORD@127.0.0.1:9"
    backend = connect(endpoint_url=url, config=Config(retries={"max_attempts": 0}))
    settings = Settings(endpoint_url=url)
    shown = [backend.describe(), backend.status_message(), repr(backend), repr(settings)]
    shown += [repr(backend._connection.options), repr(ConnectionArguments("b", endpoint_url=url))]
    for call in (backend.list_buckets, lambda: backend.get("a"), lambda: list(backend.scan())):
        with pytest.raises(CottonCandyError) as caught:
            call()
        shown.append(str(caught.value))
    with pytest.raises(ConfigurationError) as wrong:
        connect(endpoint_url=url.removeprefix("http://"))
    shown.append(str(wrong.value))
    assert "***@127.0.0.1:9" in shown[0]
    assert [text for text in shown if "FAKEPASSWORD" in text] == []


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"AWS_DEFAULT_REGION": "eu-west-3", "AWS_REGION": "ignored", "AWS_CA_BUNDLE": ""},
        {"AWS_ENDPOINT_URL_S3": "http://localhost:9", "AWS_ENDPOINT_URL": "http://localhost:8"},
        {"AWS_ENDPOINT_URL": "https://s3.example.org"},
        {"AWS_ACCESS_KEY_ID": "OTHER", "AWS_SECRET_ACCESS_KEY": "FAKE", "AWS_SESSION_TOKEN": "T"},
    ],
    ids=lambda variables: "+".join(variables) or "options",
)
@pytest.mark.parametrize("keys", ["given", "environment", "anonymous"])
def test_resolves_as_boto3(
    variables: dict[str, str], keys: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without boto3, obstore gets the settings that boto3 would have resolved."""
    pair = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
    for name, value in ((pair if keys == "environment" else {}) | variables).items():
        monkeypatch.setenv(name, value)
    login = (ACCESS, SECRET) if keys == "given" else (None, None)
    endpoint = None if any("ENDPOINT" in name for name in variables) else "http://127.0.0.1:9"
    backend = connect(*login, endpoint, **({"anon": True} if keys == "anonymous" else {}))
    connection = backend._connection
    found = connection.resolved
    assert found is not None
    assert "client" not in connection._made
    client = connection.client
    assert (found.endpoint, found.region) == (client.meta.endpoint_url, connection.region)
    assert found.region == client.meta.region_name
    for name in (*vars(found.config).keys() - {"user_agent", "s3"},):
        assert getattr(found.config, name) == getattr(client.meta.config, name), name
    assert found.config.s3.items() <= client.meta.config.s3.items()
    if keys == "anonymous":
        assert found.keys == ()
    else:
        assert found.keys == keys_of(backend)
        boto3s = credential_provider(connection.credentials)()
        assert key_provider(found.keys)() == boto3s


@each(
    "arguments, variables",
    [
        ({"config": Config(read_timeout=3)}, {}),
        ({"profile_name": "lab"}, {}),
        ({"endpoint_url": "https://s3.eu-west-1.amazonaws.com"}, {}),
        ({"endpoint_url": "http://user:FAKE@127.0.0.1:9"}, {}),
        ({"endpoint_url": None}, {}),
        ({"region_name": "not a region"}, {}),
        ({"access_key": None, "secret_key": None}, {}),
        ({"access_key": None, "secret_key": None}, {"AWS_ACCESS_KEY_ID": "half"}),
        ({"settings": Settings(signature_version="s3")}, {}),
        ({"settings": Settings(verbose_boto=True)}, {}),
        ({}, {"AWS_PROFILE": "lab"}),
        ({}, {"AWS_MAX_ATTEMPTS": "7"}),
        ({}, {"AWS_CONFIG_FILE": __file__}),
        ({}, {"AWS_SHARED_CREDENTIALS_FILE": __file__}),
    ],
)
def test_leaves_the_rest_to_boto3(
    arguments: dict[str, Any], variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        assert resolve(connect(**arguments)._connection.options) is None


def test_stores_with_equal_options_copy_from_each_other() -> None:
    def slow() -> Config:
        return Config(read_timeout=3)

    assert connect().can_copy_from(connect())
    assert connect(config=slow()).can_copy_from(connect(config=slow()))
    assert not connect(config=slow()).can_copy_from(connect())
    assert not connect().can_copy_from(connect("OTHER"))


def test_config_of_another_type() -> None:
    with pytest.raises(ConfigurationError, match=r"botocore\.config\.Config.*dict"):
        connect(config={"read_timeout": 3})


def test_endpoint_without_scheme() -> None:
    with pytest.raises(ConfigurationError, match="https://store"):
        connect(endpoint_url="store.example.org")


def test_half_a_pair() -> None:
    with pytest.raises(ConfigurationError, match="secret key is missing"):
        connect(secret_key=None)


def test_unknown_profile() -> None:
    backend = connect(None, None, profile_name="nobody")
    with pytest.raises(ConfigurationError, match="nobody"):
        backend.list_buckets()


@pytest.mark.parametrize("where", ["argument", "settings", "passwd", "environment", "boto3"])
def test_order_of_credentials(
    where: str, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source is found where those before it are silent."""
    order = ["argument", "settings", "passwd", "environment", "boto3"]
    given = order[order.index(where) :]
    if "passwd" in given:
        (isolated_environment / ".passwd-s3fs").write_text("#a:b\nmine:x:y\npasswd:secret\n")
    if "environment" in given:
        monkeypatch.setenv("AWS_ACCESS_KEY", "environment")
        monkeypatch.setenv("AWS_SECRET_KEY", "secret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "boto3")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    settings = Settings()
    if "settings" in given:
        settings = Settings(access_key="settings", secret_key="secret")
    pair = ("argument", "secret") if "argument" in given else (None, None)
    assert keys_of(connect(*pair, settings=settings)) == (where, "secret", None)


def test_token_of_the_environment_is_not_paired_with_given_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "FAKE-TOKEN-OF-SOMEBODY-ELSE")
    backend = connect()
    assert keys_of(backend) == (ACCESS, SECRET, None)
    assert credential_provider(backend._connection.credentials)()["token"] is None
    assert keys_of(connect(aws_session_token=TOKEN)) == (ACCESS, SECRET, TOKEN)


def test_profile_beats_the_options_file(
    isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = isolated_environment / "credentials"
    path.write_text("[lab]\naws_access_key_id = lab\naws_secret_access_key = FAKE-LAB-SECRET\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    settings = Settings(access_key="file", secret_key="FAKE-FILE-SECRET")
    backend = connect(None, None, settings=settings, profile_name="lab")
    assert keys_of(backend) == ("lab", "FAKE-LAB-SECRET", None)


def test_no_credentials_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between retries
    backend = connect(None, None)
    for request in (
        lambda: backend.get("x"),
        lambda: backend.put("x", Body.of(b"1")),
        lambda: list(backend.scan()),
    ):
        with pytest.raises(CredentialsError, match="anon=True"):
            request()


@pytest.mark.parametrize("url", ["https://s3.amazonaws.com", "https://s3.amazonaws.com/"])
def test_historical_default_endpoint_is_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert connect(endpoint_url=url)._connection.options.endpoint_url is None
    assert connect(endpoint_url=None, settings=Settings(endpoint_url=url))._connection.on_aws
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9999")
    backend = connect(endpoint_url=None)
    assert backend._connection.endpoint == "http://127.0.0.1:9999"
    assert not backend._connection.on_aws


def test_endpoint_of_the_argument_beats_the_environment(
    moto: S3Server, moto_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both clients use the argument; obstore alone reads the environment."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    backend = S3Backend.connect(
        ConnectionArguments(moto_bucket, moto.access_key, moto.secret_key, moto.endpoint_url)
    )
    backend.put("key", Body.of(b"bytes"))
    assert backend.get("key").read() == b"bytes"
    assert [each.key for each in backend.scan()] == ["key"]


def test_endpoint_of_the_environment(
    moto: S3Server, moto_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    backend = S3Backend.connect(ConnectionArguments(moto_bucket, settings=Settings()))
    backend.put("key", Body.of(b"bytes"))
    assert backend.get("key").read() == b"bytes"


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
    server = fault_proxy.server
    backend = S3Backend.connect(
        ConnectionArguments(
            moto_bucket,
            server.access_key,
            server.secret_key,
            server.endpoint_url,
            extra={"config": Config(read_timeout=0.3, retries={"max_attempts": 0})},
        )
    )
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
    server = fault_proxy.server
    S3Backend.connect(
        ConnectionArguments("b", server.access_key, server.secret_key, server.endpoint_url)
    )
    assert fault_proxy.requests == []


def make_backend(server: S3Server, bucket: str) -> S3Backend:
    return S3Backend.connect(
        ConnectionArguments(
            bucket, server.access_key, server.secret_key, server.endpoint_url, Settings()
        )
    )


def test_two_backends_that_differ_in_one_respect(
    ceph: S3Server, ceph_other_user: S3Server, ceph_bucket: str
) -> None:
    """The same endpoint and bucket, other keys: nothing is shared."""
    mine, theirs = make_backend(ceph, ceph_bucket), make_backend(ceph_other_user, ceph_bucket)
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
    backend = connect()
    calls = refreshable(backend)
    provide = credential_provider(backend._connection.credentials)
    first, second = provide(), provide()
    assert len(calls) == 3
    assert first["access_key_id"] != second["access_key_id"]
    assert first["token"] == TOKEN
    assert first["expires_at"] is not None


def test_connections_end_with_their_backend(moto: S3Server, moto_bucket: str) -> None:
    backend = S3Backend.connect(
        ConnectionArguments(moto_bucket, moto.access_key, moto.secret_key, moto.endpoint_url)
    )
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
