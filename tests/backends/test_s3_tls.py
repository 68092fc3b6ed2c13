"""S3 over https: whom to trust, and what is said where that fails."""

from __future__ import annotations

import datetime
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cottoncandy.backends.base import PutOptions
from cottoncandy.backends.s3.backend import S3Backend
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import ConfigurationError, StoreUnreachableError
from tests.backends._s3 import QUICK, backend_at
from tests.servers import S3Server
from tests.servers.proxy import FaultProxy
from tests.servers.tls import Authority

pytestmark = pytest.mark.server

PLAIN = "plain"  # goes through obstore
ODD = "odd//name"  # goes through boto3
KEYS = pytest.mark.parametrize("key", [PLAIN, ODD])

Connect = Callable[..., S3Backend]


@pytest.fixture
def connect(tls_proxy: FaultProxy, moto_bucket: str) -> Connect:
    """Connect to moto over TLS; everything else must be passed."""

    def connect(server: S3Server = tls_proxy.server, **extra: Any) -> S3Backend:
        return backend_at(server, moto_bucket, config=QUICK, **extra)

    return connect


def check(backend: S3Backend) -> None:
    """Everything gets there, by both clients."""
    for key in (PLAIN, ODD):
        backend.put(key, Body.of(key.encode()), PutOptions({"what": "text"}))
        with backend.get(key) as reader:
            assert reader.read() == key.encode()
            assert reader.metadata == {"what": "text"}
        assert backend.head(key).size == len(key)
    assert sorted(each.key for each in backend.scan()) == sorted([PLAIN, ODD])
    assert backend.has_bucket(str(backend.bucket_name))


def requests_of(backend: S3Backend) -> list[Callable[[], object]]:
    """Return a request of each kind."""
    return [
        *(lambda key=key: backend.get(key) for key in (PLAIN, ODD)),  # type: ignore[misc]  # its default
        *(lambda key=key: backend.put(key, Body.of(b"x")) for key in (PLAIN, ODD)),  # type: ignore[misc]  # the same
        lambda: backend.has_bucket(str(backend.bucket_name)),
        lambda: list(backend.scan()),
        lambda: list(backend.delete([PLAIN])),
    ]


def refuses(backend: S3Backend, words: str, *, port: int) -> None:
    """Every request ends with an error that names the server and says what to do."""
    for request in requests_of(backend):
        with pytest.raises(StoreUnreachableError, match=words) as caught:
            request()
        assert str(port) in str(caught.value)
        assert isinstance(caught.value, ConnectionError)


# -- who is trusted ------------------------------------------------------------------------------


def test_trusted_by_a_file(connect: Connect, tls_proxy: FaultProxy, authority: Authority) -> None:
    check(connect(verify=str(authority.path)))
    check(connect(verify=authority.path))
    assert tls_proxy.endpoint_url.startswith("https://")
    assert tls_proxy.count() > 10


def test_trusted_after_a_pickle(connect: Connect, authority: Authority) -> None:
    check(pickle.loads(pickle.dumps(connect(verify=authority.path))))


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_trusted_by_the_environment(
    connect: Connect, authority: Authority, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, str(authority.path))
    check(connect())


def test_trusted_by_a_profile(
    connect: Connect, authority: Authority, isolated_environment: Path
) -> None:
    directory = isolated_environment / ".aws"
    directory.mkdir()
    (directory / "config").write_text(f"[profile lab]\nca_bundle = {authority.path}\n")
    check(connect(profile_name="lab"))


def test_one_of_several_in_a_file(connect: Connect, authority: Authority, tmp_path: Path) -> None:
    """As the system's own file of certificates has them, with comments."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(b"# one\n" + Authority(tmp_path).pem + b"\n# two\n" + authority.pem)
    check(connect(verify=str(bundle)))


def test_by_a_name_instead_of_an_address(
    connect: Connect, tls_proxy: FaultProxy, authority: Authority
) -> None:
    server = tls_proxy.server.at(tls_proxy.endpoint_url.replace("127.0.0.1", "localhost"))
    check(connect(server, verify=authority.path))


def test_certificates_that_nobody_checks(connect: Connect) -> None:
    """The warning of urllib3 is for the user to see, and to filter."""
    with pytest.warns(Warning, match="Unverified HTTPS request"):
        check(connect(verify=False))


def test_the_warning_as_an_error_is_told_for_what_it_is(connect: Connect) -> None:
    with pytest.raises(ConfigurationError, match=r"warning was turned into an error: .*Unverified"):
        connect(verify=False).get(ODD)


# -- who is not ----------------------------------------------------------------------------------


def test_an_unknown_authority(
    connect: Connect, tls_proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = r"not trusted here \([^)]+\); pass verify='/path/to/ca.pem'"
    port = tls_proxy.server.address[1]
    other = Authority(tmp_path).path
    refuses(connect(), words, port=port)
    refuses(connect(verify=True), words, port=port)
    refuses(connect(verify=other), words, port=port)
    # An empty variable is not a reason to trust everybody.
    monkeypatch.setenv("AWS_CA_BUNDLE", "")
    refuses(connect(), words, port=port)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(other))
    refuses(connect(), words, port=port)
    assert tls_proxy.count() == 0


def test_a_certificate_of_another_host(
    connect: Connect, make_proxy: Callable[..., FaultProxy], moto: S3Server, authority: Authority
) -> None:
    server = make_proxy(moto, authority.context("elsewhere.example.org")).server
    backend = connect(server, verify=authority.path)
    refuses(backend, "is for another host .*; set endpoint_url", port=server.address[1])


def test_an_expired_certificate(
    connect: Connect, make_proxy: Callable[..., FaultProxy], moto: S3Server, authority: Authority
) -> None:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    server = make_proxy(moto, authority.context(not_after=past)).server
    backend = connect(server, verify=authority.path)
    refuses(backend, "has expired or is not valid yet .*clock", port=server.address[1])


def test_https_where_http_is_spoken(connect: Connect, moto: S3Server) -> None:
    server = moto.at(moto.endpoint_url.replace("http://", "https://"))
    refuses(connect(server), "does not speak TLS; write http:// instead", port=server.address[1])


def test_http_where_https_is_spoken(connect: Connect, tls_proxy: FaultProxy) -> None:
    server = tls_proxy.server.at(tls_proxy.endpoint_url.replace("https://", "http://"))
    words = r"closed the connection without a response.*endpoint_url \(port, http or https\)"
    refuses(connect(server), words, port=server.address[1])


# -- files of certificates that are none ---------------------------------------------------------


@pytest.mark.parametrize("by", ["verify", "AWS_CA_BUNDLE"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"^the certificates in '.*ca\.pem' .*cannot be read: .*No such file"),
        (b"", r"^there are no certificates in '.*ca\.pem' .*BEGIN CERTIFICATE"),
        (b"-----BEGIN PRIVATE KEY-----\n", r"^there are no certificates in '.*ca\.pem'"),
        (
            b"-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n",
            r"^there are no certificates in '.*ca\.pem' .*, or damaged ones",
        ),
    ],
)
def test_a_file_without_certificates(
    connect: Connect,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
    content: bytes | None,
    words: str,
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    if by != "verify":
        monkeypatch.setenv(by, str(path))
    for request in requests_of(connect(verify=path) if by == "verify" else connect()):
        with pytest.raises(ConfigurationError, match=words):
            request()


def test_certificates_that_are_removed_later(
    connect: Connect, authority: Authority, tmp_path: Path
) -> None:
    """An object that exists is not reported as missing."""
    path = tmp_path / "ca.pem"
    path.write_bytes(authority.pem)
    backend = connect(verify=path)
    backend.put(PLAIN, Body.of(b"x"), PutOptions({"what": "text"}))
    path.unlink()
    backend.close()
    with backend.get(PLAIN) as reader:
        assert reader.read() == b"x"


def test_a_directory_of_certificates(connect: Connect, tmp_path: Path) -> None:
    for request in requests_of(connect(verify=tmp_path)):
        with pytest.raises(ConfigurationError, match=r"cannot be read: .*[Dd]irectory"):
            request()


def test_verify_takes_nothing_else(connect: Connect) -> None:
    with pytest.raises(ConfigurationError, match=r"must be True, False or the path .* int"):
        connect(verify=1)
