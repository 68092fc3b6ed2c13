"""What shapes a connection to S3: credentials and endpoints, and what shows of them."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.config import Config

from cottoncandy.backends.base import ConnectionArguments
from cottoncandy.backends.s3.backend import S3Backend
from cottoncandy.backends.s3.options import resolve
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    ConfigurationError,
    CottonCandyError,
    CredentialsError,
    ObjectNotFoundError,
)
from cottoncandy.options import Settings
from tests.backends._s3 import ACCESS, SECRET, TOKEN, backend_at, connect, keys_of
from tests.cases import each
from tests.servers import S3Server


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
    made: list[Any] = []
    new_client = backend._connection._new_client

    def make(**options: Any) -> Any:
        made.append(new_client(**options))
        return made[-1]

    monkeypatch.setattr(backend._connection, "_new_client", make)
    assert [backend._connection.client] == made  # one: each takes as long as several requests
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


def test_a_token_without_keys_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match="needs its ACCESS_KEY and SECRET_KEY"):
        connect(None, None, aws_session_token="FAKE")


def test_the_line_end_of_a_key_is_named() -> None:
    with pytest.raises(ConfigurationError, match="ACCESS_KEY begins or ends with white space"):
        connect("FAKE\n")


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
    url = "http://somebody:FAKE@PASSWORD@127.0.0.1:9"
    backend = connect(endpoint_url=url, config=Config(retries={"max_attempts": 0}))
    settings = Settings(endpoint_url=url)
    shown = [backend.describe(), backend.status_message(), repr(backend), repr(settings)]
    shown += [repr(backend._connection.options), repr(ConnectionArguments("b", endpoint_url=url))]
    for call in (backend.list_buckets, lambda: backend.get("a"), lambda: list(backend.scan())):
        with pytest.raises(CottonCandyError) as caught:
            call()
        shown.append("".join(traceback.format_exception(caught.value)))
    for damaged in (url.removeprefix("http://"), url.removesuffix("127.0.0.1:9")):
        with pytest.raises(ConfigurationError) as wrong:
            connect(endpoint_url=damaged).list_buckets()
        shown.append("".join(traceback.format_exception(wrong.value)))
    assert "***@127.0.0.1:9" in shown[0]
    assert [text for text in shown if "PASSWORD" in text] == []


def test_password_is_in_no_cause(moto: S3Server) -> None:
    url = moto.endpoint_url.replace("://", "://somebody:FAKEPASSWORD@")
    bucket = moto.borrow_bucket()
    backend = backend_at(S3Server(url, moto.access_key, moto.secret_key), bucket)
    with pytest.raises(ObjectNotFoundError) as caught:
        backend.get("a")
    moto.return_bucket(bucket)
    assert "FAKEPASSWORD" not in "".join(traceback.format_exception(caught.value))


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
    assert connect(settings=Settings(retries=1)).can_copy_from(connect())


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
    provide = backend._connection._provider()
    assert provide is not None
    assert provide()["token"] is None
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
    backend = backend_at(moto, moto_bucket)
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
