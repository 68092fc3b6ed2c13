"""S3 over https through an institution's web proxy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from botocore.config import Config

from cottoncandy.backends.s3.backend import S3Backend
from cottoncandy.core.buffers import Body, MiB
from cottoncandy.exceptions import StoreUnreachableError
from cottoncandy.testing.harness import pattern
from tests.backends._s3 import backend_at
from tests.servers import S3Server
from tests.servers.base import wait_until
from tests.servers.connect_proxy import TunnelProxy
from tests.servers.proxy import FaultProxy
from tests.servers.tls import Authority

pytestmark = pytest.mark.server

DATA = pattern(6 * MiB + 5)  # one MiB comes with the head, the rest is long enough for boto3
FAKE_LOGIN = "somebody:FAKE-PASSWORD"

Connect = Callable[..., S3Backend]


@pytest.fixture
def tunnel() -> Iterator[TunnelProxy]:
    with TunnelProxy() as proxy:
        yield proxy


@pytest.fixture
def locked_tunnel() -> Iterator[TunnelProxy]:
    """It wants a user's name and password."""
    with TunnelProxy(FAKE_LOGIN) as proxy:
        yield proxy


@pytest.fixture
def connect(tls_proxy: FaultProxy, moto_bucket: str, authority: Authority) -> Connect:
    def connect(proxies: dict[str, str] | None = None) -> S3Backend:
        config = Config(retries={"max_attempts": 0}, read_timeout=60, proxies=proxies)
        return backend_at(tls_proxy.server, moto_bucket, config=config, verify=authority.path)

    return connect


def check(backend: S3Backend) -> None:
    """Everything gets there, by obstore and by boto3."""
    for key in ("plain", "odd//name"):
        backend.put(key, Body.of(b"body"))
        assert backend.get(key).read() == b"body"
    backend.put("large", Body.of(DATA), threads=2)
    out = bytearray(len(DATA))
    backend.get("large", threads=1).read_into(memoryview(out))
    assert out == DATA
    assert sorted(each.key for each in backend.scan()) == ["large", "odd//name", "plain"]


def all_came_through(tunnel: TunnelProxy, tls_proxy: FaultProxy) -> None:
    """Wait until as many connections as the tunnel opened have reached the server; no others do."""
    host, port = tls_proxy.server.address
    wait_until(
        lambda: tunnel.targets == [f"{host}:{port}"] * tls_proxy.connections != [],
        "the way through the tunnel",
    )


def test_by_config(connect: Connect, tunnel: TunnelProxy, tls_proxy: FaultProxy) -> None:
    check(connect({"https": tunnel.url}))
    all_came_through(tunnel, tls_proxy)


def test_without_a_scheme(connect: Connect, tunnel: TunnelProxy, tls_proxy: FaultProxy) -> None:
    check(connect({"https": f"127.0.0.1:{tunnel.port}"}))
    all_came_through(tunnel, tls_proxy)


def test_by_the_environment(
    connect: Connect, tunnel: TunnelProxy, tls_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", tunnel.url)
    check(connect())
    all_came_through(tunnel, tls_proxy)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    before = len(tunnel.targets)
    check(connect())
    assert len(tunnel.targets) == before


def test_with_a_login(
    connect: Connect,
    locked_tunnel: TunnelProxy,
    tls_proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = locked_tunnel.url.replace("//", f"//{FAKE_LOGIN}@")
    check(connect({"https": url}))
    all_came_through(locked_tunnel, tls_proxy)


@pytest.mark.parametrize("proxies", [{}, {"http": "http://127.0.0.1:9"}])
def test_one_for_http_is_none_for_https(
    connect: Connect,
    tunnel: TunnelProxy,
    monkeypatch: pytest.MonkeyPatch,
    proxies: dict[str, str],
) -> None:
    """The Config takes precedence over the environment."""
    monkeypatch.setenv("HTTPS_PROXY", tunnel.url)
    check(connect(proxies))
    assert tunnel.targets == []


def test_one_for_https_is_none_for_http(
    moto: S3Server, moto_bucket: str, tunnel: TunnelProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", tunnel.url)
    config = Config(retries={"max_attempts": 0}, proxies={"https": tunnel.url})
    check(backend_at(moto, moto_bucket, config=config))
    assert tunnel.targets == []
    # Threads of other tests in this process may read the variable, too.
    assert not [target for target in tunnel.refused if moto_bucket in target]


@pytest.mark.parametrize("key", ["plain", "odd//name"])
def test_a_proxy_that_refuses(connect: Connect, locked_tunnel: TunnelProxy, key: str) -> None:
    for login in ("", "somebody:FAKE-WRONG-PASSWORD@"):
        url = locked_tunnel.url.replace("//", f"//{login}")
        backend = connect({"https": url})
        with pytest.raises(StoreUnreachableError, match="proxy") as caught:
            backend.get(key)
        assert "FAKE" not in str(caught.value)
    assert locked_tunnel.targets == []


@pytest.mark.parametrize("key", ["plain", "odd//name"])
def test_a_proxy_that_is_not_there(connect: Connect, key: str) -> None:
    backend = connect({"https": f"http://{FAKE_LOGIN}@127.0.0.1:9"})
    with pytest.raises(StoreUnreachableError, match="proxy") as caught:
        backend.get(key)
    assert "FAKE" not in str(caught.value)
