"""Fixtures for all tests: isolation from the developer's account, servers, stores.

Servers start once per test run, when the first test asks; the workers of pytest-xdist share them.
If one is missing, its tests are skipped with the reason; with ``COTTONCANDY_REQUIRE_SERVERS=1``
(set by ``.ci/run``) they fail.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import gc
import importlib.util
import inspect
import itertools
import re
import shutil
import signal
import ssl
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings

# isort: split - cottoncandy, which the others import, looks into the home
from tests.environments import (
    COTTONCANDY_040,
    GCS_EMULATOR,
    ORIGINAL_ENVIRONMENT,
    EnvironmentUnavailableError,
)
from tests.harness import HARNESSES, StoreHarness
from tests.isolation import HOME, PATCH, isolate
from tests.servers import S3Server
from tests.servers.base import ManagedProcess, free_port
from tests.servers.ceph import CephServer, why_no_ceph
from tests.servers.moto import MotoServer
from tests.servers.proxy import FaultProxy
from tests.servers.shared import SharedServer
from tests.servers.tls import Authority

if TYPE_CHECKING:
    from tests.servers.drive import DriveServer
    from tests.servers.gcs import FakeGCSServer

_COUNTER = itertools.count()
_CEPH = pytest.StashKey["_Ceph"]()
_RSA_KEY = Path(__file__).parent / "vectors" / "fake_rsa.pem"
_AES_KEY = base64.b64encode(b"an obviously fake key, 32 bytes!").decode()

#: Fixtures, and names of stores, that need a server or another environment; so do all "…server".
_SERVERS = {"serve", "moto", "ceph", "ceph_users", "gcs", "gdrive", "python_040"}

#: Directories of tests that need large libraries, or walk over the whole source.
_APART = {"bridges", "compat", "docs"}

#: Modules that start processes, of half a second each.
_PROCESSES = {"subprocess", "multiprocessing", "pexpect", "distributed"}

#: What modules say all of whose tests need a server.
_OF_SERVERS = re.compile(r"^pytestmark = pytest\.mark\.server\b", re.MULTILINE)

#: Modules that pause before they send a request again: a second and more, which the tests need not.
_PAUSING = (
    "botocore.endpoint",
    "cottoncandy.backends.gdrive.upload",
    "cottoncandy.backends.reader",
    "cottoncandy.transfer.engine",
    "google.api_core.retry.retry_unary",
    "googleapiclient.http",
)


class _Clock:
    """The module ``time`` for those, with short pauses."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.05))


_CLOCK = _Clock()

# The same examples each time, so that a run can be repeated: 10, or 100 with "thorough", which
# .ci/run selects. The profile "search" draws others each time. A busy machine must not fail a test.
settings.register_profile(
    "desk",
    max_examples=10,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("desk"), max_examples=100)
settings.register_profile(
    "search", settings.get_profile("desk"), max_examples=500, derandomize=False, print_blob=True
)
settings.load_profile("desk")


def pytest_configure(config: pytest.Config) -> None:
    """Leave out the slow tests, and prepare the process."""
    # A shell's background job ignores Ctrl-C, and the tests that press it would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput"):
        # The process that distributes the tests is isolated, and so is what workers inherit.
        ORIGINAL_ENVIRONMENT.clear()
        ORIGINAL_ENVIRONMENT.update(config.workerinput["environment"])
    else:
        config.option.loadscopereorder = False  # tests that need Ceph stay the last ones
    config.add_cleanup(PATCH.undo)
    if "slow" not in config.option.markexpr:
        asked = f"({config.option.markexpr}) and " if config.option.markexpr else ""
        config.option.markexpr = f"{asked}not slow"
    config.add_cleanup(lambda: shutil.rmtree(HOME, ignore_errors=True))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist about the test run."""
    node.workerinput["environment"] = ORIGINAL_ENVIRONMENT
    node.workerinput["directory"] = str(HOME)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker the tests of a class or module at once: they share imports and fixtures.

    One at a time, they would cost xdist's controller a time that grows with their square.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            scope: str = super()._split_scope(nodeid)
            return f"{scope} on Ceph" if "ceph" in nodeid else scope

    return Scheduling(config, log) if config.getvalue("dist") == "load" else None


@pytest.hookimpl(tryfirst=True)  # before pytest looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a server; run those that need the slowest one last.

    If there is Ceph, the strict S3 server, its tests are slow ones on moto.
    """
    on_ceph = {item.nodeid for item in items if _wants_ceph(item) and why_no_ceph() is None}
    for item in items:
        twin = item.nodeid.replace("moto", "ceph").replace("Moto", "Ceph")
        if twin != item.nodeid and twin in on_ceph:
            item.add_marker(pytest.mark.slow)
        if item.path.parent.name in _APART or _servers(item) or _starts_processes(item):
            item.add_marker(pytest.mark.server)
    items.sort(key=_wants_ceph)


def _servers(item: pytest.Item) -> set[str]:
    """Return the servers that a test asks for: as a fixture, or by the name of a store."""
    named = set(getattr(item, "fixturenames", ()))
    named.add(getattr(getattr(item, "cls", None), "store_name", ""))
    if callspec := getattr(item, "callspec", None):
        named.update(value for value in callspec.params.values() if isinstance(value, str))
    return {name for name in named if name in _SERVERS or name.endswith("server")}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Spare the run without servers the imports of what it would leave out."""
    if "not server" not in config.option.markexpr:
        return None
    if collection_path.suffix == ".py":
        return _OF_SERVERS.search(collection_path.read_text("utf-8")) and True
    return True if collection_path.name in _APART else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Have every second worker import the modules of a whole run from the end.

    In a new clone, pytest compiles the assertions of each for seconds; so each worker does half.
    """
    config = session.config
    worker = getattr(config, "workerinput", {}).get("workerid", "gw0")
    if int(worker[2:]) % 2 == 0 or config.args != config.getini("testpaths"):
        return
    for path in sorted(Path(__file__).parent.rglob("test_*.py"), reverse=True):
        if not any(pytest_ignore_collect(each, config) for each in (path.parent, path)):
            with contextlib.suppress(Exception, pytest.skip.Exception):  # the collection reports it
                importlib.import_module(".".join(path.relative_to(config.rootpath).parts)[:-3])


def _starts_processes(item: pytest.Item) -> bool:
    """Return whether a test, its fixtures or the functions of the tests that they call do so."""
    fixtures = getattr(item, "_fixtureinfo", None)
    functions = [found[-1].func for found in getattr(fixtures, "name2fixturedefs", {}).values()]
    return any(map(_starts_process, [getattr(item, "function", None), *functions]))


@functools.cache
def _starts_process(function: Any) -> bool:
    pending, seen = [function], set()
    while pending:
        function = pending.pop()
        if function in seen or not inspect.isfunction(function):
            continue
        seen.add(function)
        function = inspect.unwrap(function)  # of tests.cases.each
        if function.__module__.startswith("tests."):
            names = _names(function.__code__)
            if not names.isdisjoint(_PROCESSES):
                return True
            pending += [
                found
                for name in names
                if inspect.isfunction(found := function.__globals__.get(name))
            ]
    return False


@functools.cache
def _names(code: types.CodeType) -> frozenset[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return frozenset(code.co_names).union(*map(_names, inner))


def _wants_ceph(item: pytest.Item) -> bool:
    return not _servers(item).isdisjoint({"ceph", "ceph_users"})


class _Ceph:
    """A Ceph node that starts while other tests run: for a dozen seconds it only waits."""

    def __init__(self, config: pytest.Config) -> None:
        self._started: Future[tuple[S3Server, ...]] = Future()
        self._stop = threading.Event()
        # Its daemons end with the thread that started them, so that one waits until the end.
        self._thread = threading.Thread(target=self._run, args=[config], name="Ceph", daemon=True)
        self._thread.start()

    def _run(self, config: pytest.Config) -> None:
        try:
            server = _shared(config, "ceph", CephServer)
        except BaseException as error:
            self._started.set_exception(error)
            return
        self._started.set_result(server.users)
        self._stop.wait()
        server.stop()

    def users(self) -> tuple[S3Server, ...]:
        return self._started.result()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def _shared(config: pytest.Config, name: str, start: Callable[[], Any]) -> SharedServer:
    """Return a server that all workers of pytest-xdist share."""
    worker = getattr(config, "workerinput", None)
    return SharedServer(start, Path(worker["directory"] if worker else HOME) / name)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop Ceph, if it was started, after the fixtures of the session."""
    if ceph := session.stash.get(_CEPH, None):
        ceph.stop()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to start what takes long; keep thousands of tests out of the garbage collections."""
    if any(_wants_ceph(item) for item in session.items) and why_no_ceph() is None:
        session.stash[_CEPH] = _Ceph(session.config)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # clients of boto3 are made of many small objects


def _unavailable(reason: str) -> NoReturn:
    """Skip, or fail where servers are required."""
    if ORIGINAL_ENVIRONMENT.get("COTTONCANDY_REQUIRE_SERVERS") == "1":
        pytest.fail(f"a required server is missing: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def tmp_path(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A directory for the test, removed unless the test fails.

    Pytest's own looks for a free number among all directories, which takes longer than most tests.
    """
    name = re.sub(r"\W", "_", request.node.name)[:30]
    path = tmp_path_factory.getbasetemp() / f"{next(_COUNTER)}-{name}"
    path.mkdir()
    failed = request.session.testsfailed
    yield path
    if request.session.testsfailed == failed:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(autouse=True)
def _isolated(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Give the test a new home, which most never make, and no credentials."""
    home = tmp_path_factory.getbasetemp() / f"home-{next(_COUNTER)}"
    isolate(monkeypatch, home)
    for name in _PAUSING:
        if module := sys.modules.get(name):
            monkeypatch.setattr(module, "time", _CLOCK)
    yield home
    if home.exists():
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def no_collection() -> Iterator[None]:
    """No finalizer of an earlier test's object runs while a test fills the stack."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def isolated_environment(_isolated: Path) -> Path:
    """Return the new home."""
    _isolated.mkdir()
    return _isolated


@pytest.fixture(scope="session")
def moto(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[S3Server]:
    """S3 by moto: quick, everywhere, any credentials."""
    directory = tmp_path_factory.mktemp("moto")
    try:
        server = _shared(pytestconfig, "moto", lambda: MotoServer(directory))
    except EnvironmentUnavailableError as error:
        _unavailable(f"moto's server can't be installed: {error}")
    yield server.users[0]
    server.stop()


@pytest.fixture(scope="session")
def ceph_users(request: pytest.FixtureRequest) -> tuple[S3Server, ...]:
    """One Ceph node, entered by each of its users; most tests want ``ceph``."""
    reason = why_no_ceph()
    if reason is not None:
        _unavailable(reason)
    if _CEPH not in request.session.stash:  # a fixture asked that no test names
        request.session.stash[_CEPH] = _Ceph(request.config)
    return request.session.stash[_CEPH].users()


@pytest.fixture(scope="session")
def ceph(ceph_users: tuple[S3Server, ...]) -> S3Server:
    """S3 by Ceph's gateway: strict about signatures, users and ACLs."""
    return ceph_users[0]


@pytest.fixture(scope="session")
def ceph_other_user(ceph_users: tuple[S3Server, ...]) -> S3Server:
    """The same gateway, entered by a user who owns nothing that ``ceph`` has made."""
    return ceph_users[1]


@pytest.fixture(scope="session")
def drive_server() -> Iterator[DriveServer]:
    """Google Drive on loopback. Tests that break it, or count its requests, make their own."""
    if importlib.util.find_spec("pydrive2") is None:
        _unavailable("pydrive2 is not installed (the extra gdrive)")
    from tests.servers.drive import DriveServer

    with DriveServer() as server:
        yield server


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGCSServer]:
    """Google Cloud Storage on loopback."""
    if importlib.util.find_spec("google.cloud.storage") is None:
        _unavailable("google-cloud-storage is not installed (the extra gcs)")
    from tests.servers.gcs import FakeGCSServer, why_no_gcs

    if reason := why_no_gcs():
        _unavailable(reason)
    server = FakeGCSServer(tmp_path_factory.mktemp("gcs"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def other_emulator_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """gcp-storage-emulator, which ignores conditions and requests for the end of a body."""
    directory = tmp_path_factory.mktemp("gcsemu")
    try:
        python = GCS_EMULATOR.python()
    except EnvironmentUnavailableError as error:
        _unavailable(f"gcp-storage-emulator can't be installed: {error}")
    port = free_port()
    command = [python.parent / "gcp-storage-emulator", "start", "--host=127.0.0.1"]
    process = ManagedProcess([*command, f"--port={port}", "--in-memory"], directory / "log")
    process.wait_for(port)
    yield f"http://127.0.0.1:{port}"
    process.stop()


@pytest.fixture
def moto_bucket(moto: S3Server) -> Iterator[str]:
    """An empty bucket on moto."""
    name = moto.borrow_bucket()
    yield name
    moto.return_bucket(name)


@pytest.fixture
def ceph_bucket(ceph: S3Server) -> Iterator[str]:
    """An empty bucket on Ceph."""
    name = ceph.borrow_bucket()
    yield name
    ceph.return_bucket(name)


@pytest.fixture
def make_proxy() -> Iterator[Callable[..., FaultProxy]]:
    """Put a fault proxy in front of a server: ``proxy = make_proxy(ceph)``.

    ``make_proxy(ceph, authority.context())`` speaks TLS to its clients.
    """
    proxies: list[FaultProxy] = []

    def make(server: S3Server, tls: ssl.SSLContext | None = None) -> FaultProxy:
        proxies.append(FaultProxy(server, tls))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.stop()


@pytest.fixture
def fault_proxy(make_proxy: Callable[[S3Server], FaultProxy], moto: S3Server) -> FaultProxy:
    """A fault proxy in front of moto; ``fault_proxy.server`` is what to connect to."""
    return make_proxy(moto)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the certificates of test servers."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def tls_proxy(
    make_proxy: Callable[..., FaultProxy], moto: S3Server, authority: Authority
) -> FaultProxy:
    """A fault proxy in front of moto that speaks TLS; trust it with ``authority.path``."""
    return make_proxy(moto, authority.context())


@pytest.fixture(params=["memory"])
def store(request: pytest.FixtureRequest) -> Iterator[StoreHarness]:
    """A store with a fresh bucket, in memory unless the test names others: :mod:`tests.harness`.

    Where the promise depends on the store: ``@on_every_store``, or
    ``@pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)``.
    """
    harness = HARNESSES[request.param](request)
    yield harness
    for interface in harness.opened:
        interface.close()
    harness.close()


@pytest.fixture(params=["plain"])
def encryption(request: pytest.FixtureRequest) -> str:
    """How the interface keeps bodies: "plain" unless the test names "AES" or "RSA"."""
    return request.param


@pytest.fixture
def factory(encryption: str) -> Callable[..., Any]:
    """What builds interfaces of that kind."""
    import cottoncandy

    if encryption == "plain":
        return cottoncandy.get_interface
    key = _AES_KEY if encryption == "AES" else _RSA_KEY
    return functools.partial(
        cottoncandy.get_encrypted_interface, encryption=encryption, encryptionKey=key
    )


@pytest.fixture(scope="session")
def python_040() -> Path:
    """The interpreter of an environment with the real cottoncandy 0.4.0."""
    try:
        return COTTONCANDY_040.python()
    except EnvironmentUnavailableError as error:
        _unavailable(f"cottoncandy 0.4.0 can't be installed: {error}")
