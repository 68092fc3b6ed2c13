"""The stores that the suites of other libraries run on, and how many of their tests passed.

``.ci/run`` runs all of them; ``docs/inside/foreign-suites.md`` has the numbers.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.harness import HARNESSES

#: Every kind of store, plain and encrypted; all but the first are slow.
EVERY_STORE: list[Any] = [
    pytest.param(place, encryption, marks=pytest.mark.slow)
    for place in ("memory", "local", "moto", "gdrive")
    for encryption in ("plain", "AES")
]
EVERY_STORE[0] = ("memory", "plain")

_COUNTER = itertools.count()
_SUITE = re.compile(r"test_(fsspec|zarr)\.py::Test\w+::.*\b(\w+)-(plain|AES|RSA)\b")


@pytest.fixture(params=["memory"])
def place(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A store with a fresh bucket, in memory unless the test names another."""
    harness = HARNESSES[request.param](request)
    yield harness
    harness.close()


@pytest.fixture
def cci(place: Any, factory: Any) -> Any:
    """An interface on that bucket, plain unless the test names an encryption."""
    return factory(place.bucket, verbose=False, backend=place.backend_name, **place.connection())


class _Apart:
    """The test that a harness expects, for a harness that outlives tests."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def getfixturevalue(self, name: str) -> Any:
        if name == "tmp_path":
            return self._request.getfixturevalue("tmp_path_factory").mktemp("place")
        return self._request.getfixturevalue(name)


@pytest.fixture(scope="session")
def suites(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Returns an interface on a place, the same each time."""
    made: dict[tuple[str, str], Any] = {}

    def interface(place: str, encryption: str, factory: Callable[..., Any]) -> Any:
        key = place, encryption
        if key not in made:
            at = HARNESSES[place](_Apart(request))  # type: ignore[arg-type]
            options = {"backend": at.backend_name, **at.connection()}
            made[key] = factory(at.bucket, verbose=False, **options)
            # The last ones added run first: before the server stops.
            request.session.addfinalizer(at.close)
            request.session.addfinalizer(made[key].close)
        return made[key]

    return interface


@pytest.fixture
def suite_cci(place: str, encryption: str, factory: Any, suites: Callable[..., Any]) -> Any:
    """An interface that the tests of a suite share, each below a separate prefix."""
    return suites(place, encryption, factory)


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test uses."""
    return f"below/this{next(_COUNTER)}"


@pytest.fixture
def page_and_count(request: pytest.FixtureRequest) -> tuple[str, int]:
    """The page with the numbers, and how many tests of this module's suite run in memory."""
    suite = [item for item in request.session.items if item.path == request.path]
    count = sum("memory-plain" in item.name for item in suite if getattr(item, "cls", None))
    if not count:
        pytest.skip("the suite is not selected")
    return (request.config.rootpath / "docs/inside/foreign-suites.md").read_text(), count


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the numbers; pytest prints the reasons of what was skipped."""
    counts = Counter(
        (*found.groups(), outcome)
        for outcome in ("passed", "skipped", "xfailed", "failed")
        for report in terminalreporter.stats.get(outcome, ())
        if (found := _SUITE.search(report.nodeid))
    )
    for (suite, *where, outcome), count in sorted(counts.items()):
        terminalreporter.write_line(
            f"the suite of {suite} on {', '.join(where)}: {count} {outcome}"
        )
